/* TQ1_0 and TQ2_0: 256 weights of -1, 0 or 1 times d, the largest magnitude.
 *
 *     TQ1_0  | qs: 48 bytes | qh: 4 bytes | d: f16 |        54 bytes
 *     TQ2_0  | qs: 64 bytes | d: f16 |                      66 bytes
 *
 * TQ2_0: two bits per weight; byte 32*h + l: bits 2*k, 2*k + 1 weight 128*h + 32*k + l.
 * TQ1_0: five base-3 digits per byte, the first the most significant, as the fraction
 * ceil(256 * digits / 243); four digits and a 0 in qh. Digit k is weight
 *     qs byte j < 32     32*k + j              qs byte 32 + j     160 + 16*k + j
 *     qh byte j          240 + 4*k + j
 *
 * quantize_row_tq1_0_ref and quantize_row_tq2_0_ref of ggml-quants.c. */
#include "tile.h"

/* d, and the digits 0, 1, 2 of all weights. */
INLINE vf digits(const vf *x, vi *q) {
    vf amax = vf_all(0);
    for (int j = 0; j < 256; j++) amax = max_f(amax, abs_f(x[j]));
    const vf id = finite_reciprocal_or_0(amax);
    for (int j = 0; j < 256; j++) q[j] = round_away(x[j] * id) + 1;
    return amax;
}

/* ceil(256 * n / 243); the float quotient is never within rounding of a wrong integer. */
INLINE vi fraction(vi n) { return to_int(to_float(n * 256 + 242) / 243.f); }

static void encode_tq1_0(const vf *x, const vf *w, uint8_t *out, int n) {
    (void)w;
    vi q[256], b[52], words[13];
    const vf d = digits(x, q);
    for (int j = 0; j < 52; j++) {
        const int from = j < 32 ? j : j < 48 ? 160 + j - 32 : 240 + j - 48;
        const int step = j < 32 ? 32 : j < 48 ? 16 : 4;
        vi number = vi_all(0);
        for (int k = 0; k < 5; k++) {
            number *= 3;
            if (j < 48 || k < 4) number += q[from + k * step];
        }
        b[j] = fraction(number);
    }
    for (int k = 0; k < 13; k++) words[k] = word4(b + 4 * k);
    store_words(words, 13, out, 54, n);
    store_half(f16_from_f32(d), out + 52, 54, n);
}

static void encode_tq2_0(const vf *x, const vf *w, uint8_t *out, int n) {
    (void)w;
    vi q[256], words[16];
    const vf d = digits(x, q);
    for (int h = 0; h < 2; h++) pack_2_bits(q + 128 * h, words + 8 * h);
    store_words(words, 16, out, 66, n);
    store_half(f16_from_f32(d), out + 64, 66, n);
}

EXPORT void encode_TQ1_0(const float *rows, const float *importance, uint8_t *out,
                         int64_t n_rows, int64_t n_cols) {
    (void)importance;
    encode_blocks(encode_tq1_0, 256, 54, rows, NULL, out, n_rows, n_cols);
}

EXPORT void encode_TQ2_0(const float *rows, const float *importance, uint8_t *out,
                         int64_t n_rows, int64_t n_cols) {
    (void)importance;
    encode_blocks(encode_tq2_0, 256, 66, rows, NULL, out, n_rows, n_cols);
}
