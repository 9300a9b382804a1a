/* Q1_0 and Q2_0: the sign alone, and four levels.
 *
 *     Q1_0  | d: f16 | qs: 16 bytes |    18 bytes   128 weights, w = bit ? d : -d
 *     Q2_0  | d: f16 | qs: 16 bytes |    18 bytes    64 weights, w = d * (q - 1)
 *
 * qs in order, the first weight in the lowest bits. d is the mean magnitude (Q1_0) or the largest.
 *
 * quantize_row_q1_0_ref and quantize_row_q2_0_ref of ggml-quants.c; importance does not matter. */
#include "tile.h"

enum { BYTES = 18 };

static void encode_q1_0(const vf *x, const vf *w, uint8_t *out, int n) {
    (void)w;
    vf sum = vf_all(0);
    vi words[4];
    for (int j = 0; j < 128; j++) sum += abs_f(x[j]);
    for (int k = 0; k < 4; k++) {
        words[k] = vi_all(0);
        for (int j = 0; j < 32; j++) words[k] |= ((x[32 * k + j] >= 0.f) & 1) << j;
    }
    store_half(f16_from_f32(sum / 128.f), out, BYTES, n);
    store_words(words, 4, out + 2, BYTES, n);
}

static void encode_q2_0(const vf *x, const vf *w, uint8_t *out, int n) {
    (void)w;
    vf d = vf_all(0);
    vi words[4];
    for (int j = 0; j < 64; j++) d = max_f(abs_f(x[j]), d);
    const vf id = (vf)((vi)(1.f / d) & (d > 0.f));
    const vi finite = id <= FLT_MAX; /* else ggml's (int)inf is clamped to level 0 */
    for (int k = 0; k < 4; k++) {
        words[k] = vi_all(0);
        for (int j = 0; j < 16; j++)
            words[k] |= (clamp_i(round_away(x[16 * k + j] * id) + 1, 0, 3) & finite) << (2 * j);
    }
    store_half(f16_from_f32(d), out, BYTES, n);
    store_words(words, 4, out + 2, BYTES, n);
}

EXPORT void encode_Q1_0(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    (void)importance;
    encode_blocks(encode_q1_0, 128, BYTES, rows, NULL, out, n_rows, n_cols);
}

EXPORT void encode_Q2_0(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    (void)importance;
    encode_blocks(encode_q2_0, 64, BYTES, rows, NULL, out, n_rows, n_cols);
}
