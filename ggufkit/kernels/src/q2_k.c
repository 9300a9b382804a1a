/* Q2_K: 256 weights in 16 sub-blocks of 16, w = d * scale * q - dmin * min.
 *
 *     | scales: 16 bytes | qs: 64 bytes | d: f16 | dmin: f16 |        84 bytes
 *
 * scales: byte j: low nibble the scale, high nibble the min of sub-block j
 * qs: byte 32*h + l: bits 2*k, 2*k + 1 weight 128*h + 32*k + l
 *
 * quantize_row_q2_K_ref and quantize_row_q2_K_impl of ggml-quants.c. */
#include "search_qkx.h"
#include "search_qp.h"
#include "tile.h"

enum { SUBS = 16, SUB = 16, NMAX = 3, BYTES = 84 };

typedef struct {
    affine sub[SUBS];
    vf d, dmin;
    vi scales[SUBS]; /* bytes, as stored */
} found;

/* Without importance: weights |x|, absolute errors, plainly rounded scales. */
INLINE void search_plain(found *f, const vf *x) {
    vf max_scale = vf_all(0), max_min = vf_all(0), w[SUB];
    for (int j = 0; j < SUBS; j++) {
        const vf *xs = x + SUB * j;
        for (int i = 0; i < SUB; i++) w[i] = abs_f(xs[i]);
        f->sub[j] = make_qkx_quants(SUB, NMAX, xs, w, -0.5f, 0.1f, 15, 1);
        max_scale = max_f(f->sub[j].scale, max_scale);
        max_min = max_f(f->sub[j].min, max_min);
    }
    const vi scaled = max_scale > 0.f, shifted = max_min > 0.f;
    const vf iscale = 15.f / max_scale, imin = 15.f / max_min;
    for (int j = 0; j < SUBS; j++) {
        const vi ls = nearest_int(iscale * f->sub[j].scale) & scaled;
        const vi lm = nearest_int(imin * f->sub[j].min) & shifted;
        f->scales[j] = (ls | (lm << 4)) & 255;
    }
    f->d = (vf)((vi)(max_scale / 15.f) & scaled);
    f->dmin = (vf)((vi)(max_min / 15.f) & shifted);
}

INLINE void search_weighted(found *f, const vf *x, const vf *importance) {
    vf sum_x2 = vf_all(0), scales[SUBS], mins[SUBS], sw[SUBS];
    for (int i = 0; i < SUBS * SUB; i++) sum_x2 += x[i] * x[i];
    const vf sigma2 = sum_x2 / 256.f;
    for (int j = 0; j < SUBS; j++) {
        const vf *xs = x + SUB * j;
        vf w[SUB];
        sw[j] = vf_all(0);
        for (int i = 0; i < SUB; i++) {
            w[i] = importance[SUB * j + i] * sqrt_f(sigma2 + xs[i] * xs[i]);
            sw[j] += w[i];
        }
        f->sub[j] = make_qkx_quants(SUB, NMAX, xs, w, -0.9f, 0.05f, 36, 0);
        scales[j] = f->sub[j].scale;
        mins[j] = f->sub[j].min;
    }
    vi ls[SUBS], lm[SUBS];
    f->d = make_qp_quants(SUBS, 15, scales, ls, sw);
    f->dmin = make_qp_quants(SUBS, 15, mins, lm, sw);
    for (int j = 0; j < SUBS; j++) f->scales[j] = (ls[j] | (lm[j] << 4)) & 255;
}

/* Round sub-block j again with the scales as stored; where its scale is 0 the search's levels
 * stay, as in ggml. */
INLINE void requantize(const found *f, int j, vf d, vf dmin, const vf *x, vi *q) {
    d = d * to_float(f->scales[j] & 15);
    const vf dm = dmin * to_float(f->scales[j] >> 4);
    for (int i = 0; i < SUB; i++) q[i] = clamp_i(nearest_int((x[i] + dm) / d), 0, NMAX);
    const vi zero = d == 0.f;
    if (any(zero))
        for (int i = 0; i < SUB; i++)
            q[i] = select_i(zero, affine_level(&f->sub[j], x[i], NMAX), q[i]);
}

static void encode_q2_k(const vf *x, const vf *importance, uint8_t *out, int n) {
    found f;
    if (importance) search_weighted(&f, x, importance);
    else search_plain(&f, x);

    vi words[BYTES / 4], *qs = words + 4;
    for (int k = 0; k < 4; k++) words[k] = word4(f.scales + 4 * k);
    const vi d = f16_from_f32(f.d), dmin = f16_from_f32(f.dmin);
    words[20] = d | (dmin << 16);
    for (int h = 0; h < 2; h++) {
        vi q[128];
        for (int j = 0; j < 8; j++)
            requantize(&f, 8 * h + j, f32_from_f16(d), f32_from_f16(dmin),
                       x + 128 * h + SUB * j, q + SUB * j);
        pack_2_bits(q, qs + 8 * h);
    }
    store_words(words, BYTES / 4, out, BYTES, n);
}

EXPORT void encode_Q2_K(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    encode_blocks(encode_q2_k, 256, BYTES, rows, importance, out, n_rows, n_cols);
}
