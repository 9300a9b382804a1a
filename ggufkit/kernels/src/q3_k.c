/* Q3_K: 256 weights in 16 sub-blocks of 16, w = d * (scale - 32) * (q - 4).
 *
 *     | hmask: 32 bytes | qs: 64 bytes | scales: 12 bytes | d: f16 |        110 bytes
 *
 * qs: byte 32*h + l: bits 2*k, 2*k + 1 are the low bits of weight 128*h + 32*k + l
 * hmask: byte l: bit k is the high bit of weight 32*k + l
 * scales: 16 of 6 bits,
 *     byte j (0..7)       low nibble scale j, high nibble scale j + 8: the lower four bits
 *     byte 8 + j (0..3)   bits 2*k, 2*k + 1 the upper two bits of scale 4*k + j
 *
 * quantize_row_q3_K_ref and quantize_row_q3_K_impl of ggml-quants.c. */
#include "search_qx.h"
#include "tile.h"

enum { SUBS = 16, SUB = 16, NMAX = 4, BYTES = 110, WORDS = 27 };

typedef struct {
    vi L[256];   /* levels of the search, 0..7 */
    vf d;
    vi ls[SUBS]; /* 6-bit scales, + 32 */
} found;

INLINE void search_plain(found *f, const vf *x) {
    vf scales[SUBS];
    for (int j = 0; j < SUBS; j += Q3_ABREAST)
        make_q3_quants(NMAX, x + SUB * j, f->L + SUB * j, scales + j);
    const vf max_scale = largest(SUBS, scales), iscale = -32.f / max_scale;
    const vi some = max_scale != 0.f;
    for (int j = 0; j < SUBS; j++) {
        const vi l = (nearest_int(iscale * scales[j]) << 24) >> 24; /* ggml's int8_t */
        f->ls[j] = (clamp_i(l, -32, 31) + 32) & some;
    }
    f->d = (vf)((vi)(1.f / iscale) & some);
}

INLINE void search_weighted(found *f, const vf *x, const vf *importance) {
    vf sum_x2 = vf_all(0), scales[SUBS], sw[SUBS];
    for (int i = 0; i < 256; i++) sum_x2 += x[i] * x[i];
    const vf sigma2 = 2.f * sum_x2 / 256.f;
    for (int j = 0; j < SUBS; j++) {
        const vf *xs = x + SUB * j;
        vf w[SUB];
        sw[j] = vf_all(0);
        for (int i = 0; i < SUB; i++) {
            w[i] = importance[SUB * j + i] * sqrt_f(sigma2 + xs[i] * xs[i]);
            sw[j] += w[i];
        }
        const symmetric s = make_qx_quants(SUB, NMAX, xs, w);
        for (int i = 0; i < SUB; i++) f->L[SUB * j + i] = symmetric_level(&s, xs[i], NMAX);
        scales[j] = s.scale;
    }
    const symmetric s = make_qx_quants(SUBS, 32, scales, sw);
    for (int j = 0; j < SUBS; j++) f->ls[j] = symmetric_level(&s, scales[j], 32);
    f->d = s.scale;
}

INLINE void pack_scales(const vi *ls, vi words[3]) {
    vi b[12];
    for (int j = 0; j < 8; j++) b[j] = (ls[j] & 15) | ((ls[j + 8] & 15) << 4);
    for (int j = 0; j < 4; j++) {
        b[8 + j] = vi_all(0);
        for (int k = 0; k < 4; k++) b[8 + j] |= (ls[4 * k + j] >> 4) << (2 * k);
    }
    for (int k = 0; k < 3; k++) words[k] = word4(b + 4 * k);
}

static void encode_q3_k(const vf *x, const vf *importance, uint8_t *out, int n) {
    found f;
    if (importance) search_weighted(&f, x, importance);
    else search_plain(&f, x);

    vi words[WORDS], *qs = words + 8, high[32];
    const vi half = f16_from_f32(f.d);
    const vf d16 = f32_from_f16(half);
    pack_scales(f.ls, words + 24);
    for (int l = 0; l < 32; l++) high[l] = vi_all(0);
    for (int h = 0; h < 2; h++) {
        vi q[128];
        for (int i = 0; i < 128; i++) {
            /* once more, with the scales as stored; a scale of 0 keeps the search's levels */
            const vf d = d16 * to_float(f.ls[8 * h + i / SUB] - 32);
            const vi l = clamp_i(nearest_int(x[128 * h + i] / d), -NMAX, NMAX - 1) + NMAX;
            q[i] = select_i(d == 0.f, f.L[128 * h + i], l);
            high[i % 32] |= (q[i] >> 2) << (4 * h + i / 32);
            q[i] &= 3;
        }
        pack_2_bits(q, qs + 8 * h);
    }
    for (int k = 0; k < 8; k++) words[k] = word4(high + 4 * k);
    store_words(words, WORDS, out, BYTES, n);
    store_half(half, out + 4 * WORDS, BYTES, n);
}

EXPORT void encode_Q3_K(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    encode_blocks(encode_q3_k, 256, BYTES, rows, importance, out, n_rows, n_cols);
}
