/* Q4_K and Q5_K: 256 weights in 8 sub-blocks of 32, w = d * scale * q - dmin * min.
 *
 *     Q4_K  | d: f16 | dmin: f16 | scales: 12 bytes | qs: 128 bytes |                  144 bytes
 *     Q5_K  | d: f16 | dmin: f16 | scales: 12 bytes | qh: 32 bytes | qs: 128 bytes |   176 bytes
 *
 * scales: 8 scales and 8 mins of 6 bits,
 *     byte j (0..3)       bits 0-5 scale j       bits 6-7 scale j+4, upper two bits
 *     byte j + 4          bits 0-5 min j         bits 6-7 min j+4, upper two bits
 *     byte j + 8          bits 0-3 scale j+4     bits 4-7 min j+4, lower four bits
 * qs: byte 32*c + l: low nibble weight 64*c + l, high nibble weight 64*c + 32 + l
 * qh: byte l: bit 2*c weight 64*c + l, bit 2*c + 1 weight 64*c + 32 + l
 *
 * quantize_row_q4_K_ref/_impl and quantize_row_q5_K_ref/_impl of ggml-quants.c. */
#include "search_qkx.h"
#include "search_qp.h"
#include "tile.h"

enum { SUBS = 8, SUB = 32 };

/* All of a tile's sub-blocks, and the super-block's two float16 scales. */
typedef struct {
    affine sub[SUBS];
    vf d, dmin;
    vi ls[SUBS], lm[SUBS]; /* 6-bit scales and mins, still bytes */
} found;

/* Without importance a weight counts by its size, and scales are plainly rounded. */
INLINE void search_plain(found *f, const vf *x, float nmax, float rmin, int nstep) {
    vf max_scale = vf_all(0), max_min = vf_all(0);
    for (int j = 0; j < SUBS; j++) {
        const vf *xs = x + SUB * j;
        vf sum_x2 = vf_all(0), w[SUB];
        for (int i = 0; i < SUB; i++) sum_x2 += xs[i] * xs[i];
        const vf av_x = sqrt_f(sum_x2 / SUB);
        for (int i = 0; i < SUB; i++) w[i] = av_x + abs_f(xs[i]);
        f->sub[j] = make_qkx_quants(SUB, nmax, xs, w, rmin, 0.1f, nstep, 0);
        max_scale = max_f(f->sub[j].scale, max_scale);
        max_min = max_f(f->sub[j].min, max_min);
    }
    const vf inv_scale = (vf)((vi)(63.f / max_scale) & (max_scale > 0.f));
    const vf inv_min = (vf)((vi)(63.f / max_min) & (max_min > 0.f));
    for (int j = 0; j < SUBS; j++) {
        f->ls[j] = min_i(nearest_int(inv_scale * f->sub[j].scale) & 255, 63);
        f->lm[j] = min_i(nearest_int(inv_min * f->sub[j].min) & 255, 63);
    }
    f->d = max_scale / 63.f;
    f->dmin = max_min / 63.f;
}

/* With importance: importance * size, a finer search, and the scales are searched as well. */
INLINE void search_weighted(found *f, const vf *x, const vf *importance, float nmax) {
    vf sum_x2 = vf_all(0), scales[SUBS], mins[SUBS], sw[SUBS];
    for (int i = 0; i < SUBS * SUB; i++) sum_x2 += x[i] * x[i];
    const vf sigma2 = 2.f * sum_x2 / 256.f;
    for (int j = 0; j < SUBS; j++) {
        const vf *xs = x + SUB * j;
        vf w[SUB];
        sw[j] = vf_all(0);
        for (int i = 0; i < SUB; i++) {
            w[i] = importance[SUB * j + i] * sqrt_f(sigma2 + xs[i] * xs[i]);
            sw[j] += w[i];
        }
        f->sub[j] = make_qkx_quants(SUB, nmax, xs, w, -0.9f, 0.05f, 36, 0);
        scales[j] = f->sub[j].scale;
        mins[j] = f->sub[j].min;
    }
    f->d = make_qp_quants(SUBS, 63, scales, f->ls, sw);
    f->dmin = make_qp_quants(SUBS, 63, mins, f->lm, sw);
}

/* The first four words of the block; leaves in ls and lm what a decoder will read there. */
INLINE void pack_scales(found *f, vi words[4]) {
    vi b[12];
    for (int j = 0; j < 4; j++) {
        b[j] = (f->ls[j] | ((f->ls[j + 4] >> 4) << 6)) & 255;
        b[j + 4] = (f->lm[j] | ((f->lm[j + 4] >> 4) << 6)) & 255;
        b[j + 8] = (f->ls[j + 4] & 15) | ((f->lm[j + 4] & 15) << 4);
    }
    for (int j = 0; j < 4; j++) {
        f->ls[j] = b[j] & 63;
        f->lm[j] = b[j + 4] & 63;
        f->ls[j + 4] = (b[j + 8] & 15) | ((b[j] >> 6) << 4);
        f->lm[j + 4] = (b[j + 8] >> 4) | ((b[j + 4] >> 6) << 4);
    }
    const vi d = f16_from_f32(f->d), dmin = f16_from_f32(f->dmin);
    words[0] = d | (dmin << 16);
    for (int k = 0; k < 3; k++) words[1 + k] = word4(b + 4 * k);
    f->d = f32_from_f16(d);
    f->dmin = f32_from_f16(dmin);
}

/* Round sub-block j again, now with the scales as stored. Where the scale is 0 the levels of the
 * search stay, as in ggml. */
INLINE void requantize(const found *f, int j, const vf *x, int nmax, vi *q) {
    const vf d = f->d * to_float(f->ls[j]), dm = f->dmin * to_float(f->lm[j]);
    for (int i = 0; i < SUB; i++) q[i] = clamp_i(nearest_int((x[i] + dm) / d), 0, nmax);
    const vi zero = d == 0.f;
    if (any(zero))
        for (int i = 0; i < SUB; i++)
            q[i] = select_i(zero, affine_level(&f->sub[j], x[i], nmax), q[i]);
}

INLINE void write_block(found *f, const vf *x, int bits, uint8_t *out, int n) {
    enum { QH = 4, QS4 = 4, QS5 = 12 }; /* word offsets */
    vi words[44], *qs = words + (bits == 5 ? QS5 : QS4), high[SUB];
    pack_scales(f, words);
    for (int l = 0; l < SUB; l++) high[l] = vi_all(0);
    for (int c = 0; c < 4; c++) {
        vi q[2 * SUB], *lo = q, *hi = q + SUB;
        requantize(f, 2 * c, x + 64 * c, (1 << bits) - 1, lo);
        requantize(f, 2 * c + 1, x + 64 * c + SUB, (1 << bits) - 1, hi);
        for (int l = 0; l < SUB; l++) {
            high[l] |= ((lo[l] >> 4) << (2 * c)) | ((hi[l] >> 4) << (2 * c + 1));
            q[l] = (lo[l] & 15) | ((hi[l] & 15) << 4);
        }
        for (int k = 0; k < 8; k++)
            qs[8 * c + k] = word4(q + 4 * k);
    }
    if (bits == 5)
        for (int k = 0; k < 8; k++)
            words[QH + k] = word4(high + 4 * k);
    const int size = bits == 5 ? 176 : 144;
    store_words(words, size / 4, out, size, n);
}

static void encode_q4_k(const vf *x, const vf *importance, uint8_t *out, int n) {
    found f;
    if (importance) search_weighted(&f, x, importance, 15.f);
    else search_plain(&f, x, 15.f, -1.f, 20);
    write_block(&f, x, 4, out, n);
}

static void encode_q5_k(const vf *x, const vf *importance, uint8_t *out, int n) {
    found f;
    if (importance) {
        search_weighted(&f, x, importance, 31.f);
        /* Q5_K limits a scale that went negative and wrapped; Q4_K lets its bits through */
        for (int j = 0; j < SUBS; j++) {
            f.ls[j] = min_i(f.ls[j], 63);
            f.lm[j] = min_i(f.lm[j], 63);
        }
    } else {
        search_plain(&f, x, 31.f, -0.5f, 15);
    }
    write_block(&f, x, 5, out, n);
}

EXPORT void encode_Q4_K(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    encode_blocks(encode_q4_k, 256, 144, rows, importance, out, n_rows, n_cols);
}

EXPORT void encode_Q5_K(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    encode_blocks(encode_q5_k, 256, 176, rows, importance, out, n_rows, n_cols);
}
