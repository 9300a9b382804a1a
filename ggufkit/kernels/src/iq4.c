/* IQ4_NL and IQ4_XS: a 4-bit index into 16 unevenly spaced levels.
 *
 *     IQ4_NL  | d: f16 | qs: 16 bytes |                                              18 bytes
 *     IQ4_XS  | d: f16 | scales_h: u16 | scales_l: 4 bytes | qs: 128 bytes |        136 bytes
 *
 * IQ4_NL: 32 weights, w = d * level[q]. IQ4_XS: 256 in sub-blocks of 32,
 * w = d * (scale - 32) * level[q].
 *     qs: byte 16*b + j: low nibble weight 32*b + j, high nibble weight 32*b + j + 16
 *     scales_l: byte k: low nibble sub-block 2*k, high nibble 2*k + 1: the lower four bits
 *     scales_h: bits 2*b, 2*b + 1: the upper two bits of sub-block b
 *
 * quantize_row_iq4_nl_impl of ggml-quants.c, with ntry = 7. */
#include "lookup.h"
#include "tile.h"

enum { SUB = 32, NTRY = 7 };

/* weight of x: x^2, or importance * sqrt(sigma2 + x^2), sigma2 twice the mean square of n. */
INLINE void weigh(int n, const vf *x, const vf *importance, vf *w) {
    vf sigma2 = vf_all(0);
    for (int j = 0; j < n; j++) sigma2 += x[j] * x[j];
    sigma2 *= 2.f / (float)n;
    for (int j = 0; j < n; j++)
        w[j] = importance ? importance[j] * sqrt_f(sigma2 + x[j] * x[j]) : x[j] * x[j];
}

/* The scale of a sub-block: the best of 16, each put through the weighted least squares. */
INLINE vf search_scale(const vf *x, const vf *w) {
    vf max = vf_all(0), amax = vf_all(0), scale = vf_all(0), best = vf_all(0);
    for (int j = 0; j < SUB; j++) {
        const vf ax = abs_f(x[j]);
        max = select_f(ax > amax, x[j], max);
        amax = max_f(ax, amax);
    }
    for (int itry = -NTRY - 1; itry <= NTRY; itry++) {
        const int first = itry == -NTRY - 1; /* the largest weight at +127, taken as it is */
        const vf id = first ? 1.f / (-max / -127.f) : (float)(itry - 127) / max;
        vf sumqx = vf_all(0), sumq2 = vf_all(0);
        for (int j = 0; j < SUB; j++) {
            const vf q = nearest_iq4(id * x[j]).value, wq = w[j] * q;
            sumqx += wq * x[j];
            sumq2 += wq * q;
        }
        const vf fit = sumqx / sumq2;
        vi better = sumq2 > 0.f;
        if (!first) better &= sumqx * sumqx > best * sumq2;
        scale = select_f(better, fit, scale);
        best = select_f(better, fit * sumqx, best);
    }
    return (vf)((vi)scale & ~(amax < GROUP_MAX_EPS));
}

/* The indices of 32 weights to four words of qs. */
INLINE void write_indices(const vf *x, vf id, vi *qs) {
    vi b[16];
    for (int j = 0; j < 16; j++)
        b[j] = nearest_iq4(id * x[j]).index | (nearest_iq4(id * x[j + 16]).index << 4);
    for (int k = 0; k < 4; k++) qs[k] = word4(b + 4 * k);
}

static void encode_iq4_nl(const vf *x, const vf *importance, uint8_t *out, int n) {
    vf w[SUB];
    vi qs[4];
    weigh(SUB, x, importance, w);
    const vf d = search_scale(x, w);
    write_indices(x, reciprocal_or_0(d), qs);
    store_half(f16_from_f32(d), out, 18, n);
    store_words(qs, 4, out + 2, 18, n);
}

static void encode_iq4_xs(const vf *x, const vf *importance, uint8_t *out, int n) {
    vf w[256], scales[8], max_scale = vf_all(0), amax_scale = vf_all(0);
    weigh(256, x, importance, w);
    for (int b = 0; b < 8; b++) {
        scales[b] = search_scale(x + SUB * b, w + SUB * b);
        const vf a = abs_f(scales[b]);
        max_scale = select_f(a > amax_scale, scales[b], max_scale);
        amax_scale = max_f(a, amax_scale);
    }
    const vf d = -max_scale / 32.f, id = reciprocal_or_0(d);
    vi words[34], high = vi_all(0), low = vi_all(0);
    for (int b = 0; b < 8; b++) {
        const vi l = clamp_i(nearest_int(id * scales[b]), -32, 31);
        write_indices(x + SUB * b, reciprocal_or_0(d * to_float(l)), words + 2 + 4 * b);
        high |= ((l + 32) >> 4) << (2 * b);
        low |= ((l + 32) & 15) << (4 * b);
    }
    words[0] = f16_from_f32(d) | (high << 16);
    words[1] = low;
    store_words(words, 34, out, 136, n);
}

EXPORT void encode_IQ4_NL(const float *rows, const float *importance, uint8_t *out,
                          int64_t n_rows, int64_t n_cols) {
    encode_blocks(encode_iq4_nl, SUB, 18, rows, importance, out, n_rows, n_cols);
}

EXPORT void encode_IQ4_XS(const float *rows, const float *importance, uint8_t *out,
                          int64_t n_rows, int64_t n_cols) {
    encode_blocks(encode_iq4_xs, 256, 136, rows, importance, out, n_rows, n_cols);
}
