/* Q8_0: 32 weights share one float16 scale, w = d * q.
 *
 *     | d: f16 | qs: 32 signed bytes |        34 bytes
 *
 * quantize_row_q8_0_ref of ggml-quants.c; importance does not matter. */
#include "tile.h"

enum { SIZE = 32, BYTES = 34 };

static void encode_q8_0(const vf *x, const vf *w, uint8_t *out, int n) {
    (void)w;
    vf amax = vf_all(0);
    for (int j = 0; j < SIZE; j++) amax = max_f(amax, abs_f(x[j]));
    const vf d = amax / 127.f;
    const vf id = finite_reciprocal_or_0(d);
    vi words[SIZE / 4];
    for (int k = 0; k < SIZE / 4; k++) {
        vi b[4];
        for (int i = 0; i < 4; i++) b[i] = round_away(x[4 * k + i] * id) & 255;
        words[k] = word4(b);
    }
    store_half(f16_from_f32(d), out, BYTES, n);
    store_words(words, SIZE / 4, out + 2, BYTES, n);
}

EXPORT void encode_Q8_0(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    (void)importance;
    encode_blocks(encode_q8_0, SIZE, BYTES, rows, NULL, out, n_rows, n_cols);
}
