/* Q6_K: 256 weights in 16 sub-blocks of 16, w = d * scale * (q - 32), scales signed bytes.
 *
 *     | ql: 128 bytes | qh: 64 bytes | scales: 16 bytes | d: f16 |        210 bytes
 *
 * For each half h of 128 weights, l = 0..31, weight k = 128*h + 32*k + l:
 *     ql byte 64*h + l         low nibble weight 0, high nibble weight 2: the lower four bits
 *     ql byte 64*h + 32 + l    low nibble weight 1, high nibble weight 3
 *     qh byte 32*h + l         bits 2*k, 2*k + 1 weight k: the upper two bits
 *
 * quantize_row_q6_K_ref and quantize_row_q6_K_impl of ggml-quants.c. */
#include "search_qx.h"
#include "tile.h"

enum { SUBS = 16, SUB = 16, NMAX = 32, BYTES = 210, WORDS = 52 };

/* The 128 levels of one half to 16 words of ql and 8 words of qh. */
INLINE void pack_half(const vi *q, vi *ql, vi *qh) {
    vi b[96];
    for (int l = 0; l < 32; l++) {
        b[l] = (q[l] & 15) | ((q[l + 64] & 15) << 4);
        b[l + 32] = (q[l + 32] & 15) | ((q[l + 96] & 15) << 4);
        b[l + 64] = (q[l] >> 4) | ((q[l + 32] >> 4) << 2) | ((q[l + 64] >> 4) << 4) |
                    ((q[l + 96] >> 4) << 6);
    }
    for (int k = 0; k < 16; k++) ql[k] = word4(b + 4 * k);
    for (int k = 0; k < 8; k++) qh[k] = word4(b + 64 + 4 * k);
}

static void encode_q6_k(const vf *x, const vf *importance, uint8_t *out, int n) {
    symmetric sub[SUBS];
    vf scales[SUBS], x2[SUB];
    for (int j = 0; j < SUBS; j++) {
        for (int i = 0; i < SUB; i++) x2[i] = x[SUB * j + i] * x[SUB * j + i];
        sub[j] = make_qx_quants(SUB, NMAX, x + SUB * j, importance ? importance + SUB * j : x2);
        scales[j] = sub[j].scale;
    }
    const vf max_scale = largest(SUBS, scales), iscale = -128.f / max_scale;
    const vi some = ~(abs_f(max_scale) < GROUP_MAX_EPS); /* else the whole block is zero bytes */
    const vi half = f16_from_f32(1.f / iscale) & some;

    vi words[WORDS], bytes[SUBS];
    for (int h = 0; h < 2; h++) {
        vi q[128];
        for (int j = 8 * h; j < 8 * h + 8; j++) {
            const vi l = nearest_int(iscale * scales[j]);
            const vi scale = ((select_i(l > 127, vi_all(127), l) << 24) >> 24) & some;
            bytes[j] = scale & 255;
            const vf d = f32_from_f16(half) * to_float(scale);
            const vi zero = d == 0.f; /* here the levels of the search stay */
            const vf *xs = x + SUB * j;
            vi *qs = q + SUB * (j - 8 * h);
            for (int i = 0; i < SUB; i++)
                qs[i] = clamp_i(nearest_int(xs[i] / d), -NMAX, NMAX - 1) + NMAX;
            if (any(zero))
                for (int i = 0; i < SUB; i++)
                    qs[i] = select_i(zero, symmetric_level(&sub[j], xs[i], NMAX), qs[i]) & some;
        }
        pack_half(q, words + 16 * h, words + 32 + 8 * h);
    }
    for (int k = 0; k < 4; k++) words[48 + k] = word4(bytes + 4 * k);
    store_words(words, WORDS, out, BYTES, n);
    store_half(half, out + 4 * WORDS, BYTES, n);
}

EXPORT void encode_Q6_K(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    encode_blocks(encode_q6_k, 256, BYTES, rows, importance, out, n_rows, n_cols);
}
