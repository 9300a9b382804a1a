/* Q4_0, Q4_1, Q5_0, Q5_1: blocks of 32 weights.
 *
 *     Q4_0  | d: f16 |          qs: 16 bytes |                18 bytes   w = d * (q - 8)
 *     Q4_1  | d: f16 | m: f16 | qs: 16 bytes |                20 bytes   w = d * q + m
 *     Q5_0  | d: f16 |          qh: 4 bytes | qs: 16 bytes |  22 bytes   w = d * (q - 16)
 *     Q5_1  | d: f16 | m: f16 | qh: 4 bytes | qs: 16 bytes |  24 bytes   w = d * q + m
 *
 * qs: byte j: low nibble weight j, high nibble weight j + 16: the lower four bits
 * qh: bit j: the fifth bit of weight j
 *
 * quantize_row_q4_0_ref, quantize_row_q4_0_impl and so on of ggml-quants.c. With importance the
 * weight of x is importance * sqrt(sigma2 + x^2), sigma2 being the mean square of the whole row. */
#include "search_qkx.h"
#include "search_qx.h"
#include "tile.h"

enum { SIZE = 32 };

/* (int8_t)v, for every v: beyond int, as in the scale of denormal weights, x86 gives 0. */
INLINE vi to_int8(vf v) {
    return ((to_int(v) & (abs_f(v) < 0x1p31f)) << 24) >> 24;
}

/* The block's levels q (bytes) behind d, or d and m: words of qh and qs. */
INLINE void write_levels(const vi *q, int bits, uint8_t *out, int stride, int n) {
    vi words[5], b[16], *qs = words;
    if (bits == 5) {
        vi qh = vi_all(0);
        for (int j = 0; j < SIZE; j++) qh |= ((q[j] >> 4) & 1) << j;
        *qs++ = qh;
    }
    for (int j = 0; j < 16; j++) b[j] = ((q[j] & 15) | (q[j + 16] << 4)) & 255;
    for (int k = 0; k < 4; k++) qs[k] = word4(b + 4 * k);
    store_words(words, bits, out, stride, n);
}

/* q - 2^(bits-1): the largest weight sits at the lowest level, its sign decides that of d. */
INLINE void encode_0(const vf *x, const vf *w, int bits, uint8_t *out, int n) {
    const int half = 1 << (bits - 1), stride = 2 + 4 * bits;
    vi q[SIZE];
    vf d;
    if (w) {
        const symmetric s = make_qx_quants(SIZE, half, x, w);
        for (int j = 0; j < SIZE; j++) q[j] = symmetric_level(&s, x[j], half);
        d = s.scale;
    } else {
        d = largest(SIZE, x) / (float)-half;
        const vf id = reciprocal_or_0(d);
        for (int j = 0; j < SIZE; j++)
            q[j] = min_i(to_int8(x[j] * id + ((float)half + 0.5f)), 2 * half - 1);
    }
    store_half(f16_from_f32(d), out, stride, n);
    write_levels(q, bits, out + 2, stride, n);
}

/* q from the smallest weight up. */
INLINE void encode_1(const vf *x, const vf *w, int bits, uint8_t *out, int n) {
    const int nmax = (1 << bits) - 1, stride = 4 + 4 * bits;
    vi q[SIZE];
    vf d, m;
    if (w) {
        const affine a = make_qkx_quants(SIZE, (float)nmax, x, w, -0.9f, 0.05f, 36, 0);
        for (int j = 0; j < SIZE; j++) q[j] = affine_level(&a, x[j], nmax);
        d = a.scale;
        m = -a.min;
    } else {
        vf min = vf_all(FLT_MAX), max = vf_all(-FLT_MAX);
        for (int j = 0; j < SIZE; j++) {
            min = min_f(x[j], min);
            max = max_f(x[j], max);
        }
        d = (max - min) / (float)nmax;
        m = min;
        const vf id = reciprocal_or_0(d);
        for (int j = 0; j < SIZE; j++) q[j] = min_i(to_int8((x[j] - min) * id + 0.5f), nmax);
    }
    const vi words[1] = {f16_from_f32(d) | (f16_from_f32(m) << 16)};
    store_words(words, 1, out, stride, n);
    write_levels(q, bits, out + 4, stride, n);
}

/* The mean square of each of n rows, one row per lane: float32, from left to right. */
INLINE vf mean_square(const float *rows, int n, int64_t n_cols) {
    vf sum = vf_all(0), x[SIZE];
    for (int64_t c = 0; c < n_cols; c += SIZE) {
        blocks_at at;
        for (int i = 0; i < LANES; i++) at.lane[i] = i < n ? rows + i * n_cols + c : no_block;
        load_tile(&at, SIZE, x);
        for (int p = 0; p < SIZE; p++) sum += x[p] * x[p];
    }
    return sum / (float)n_cols;
}

/* As encode_blocks, LANES rows at a time; `encode` gets the finished weights of x. */
INLINE void encode_rows(encode_tile *encode, int type_size, const float *rows,
                        const float *importance, uint8_t *out, int64_t n_rows, int64_t n_cols) {
    const int64_t per_row = n_cols / SIZE;
    for (int64_t r = 0; r < n_rows; r += LANES) {
        const vf sigma2 = mean_square(rows + r * n_cols, lanes_left(n_rows - r), n_cols);
        const int64_t first = r * per_row, end = (r + lanes_left(n_rows - r)) * per_row;
        for (int64_t b = first; b < end; b += LANES) {
            const int n = lanes_left(end - b);
            vf x[SIZE], w[SIZE], s = vf_all(0);
            load_blocks(rows + b * SIZE, n, SIZE, x);
            load_importance(importance, b, n, SIZE, n_cols, w);
            for (int i = 0; i < n; i++) s[i] = sigma2[(b + i - first) / per_row];
            for (int j = 0; j < SIZE; j++) w[j] = w[j] * sqrt_f(s + x[j] * x[j]);
            encode(x, w, out + b * type_size, n);
        }
    }
}

#define ENCODER(name, encode, bits, type_size)                                                   \
    static void encode_tile_##name(const vf *x, const vf *w, uint8_t *out, int n) {              \
        encode(x, w, bits, out, n);                                                              \
    }                                                                                            \
    EXPORT void encode_##name(const float *rows, const float *importance, uint8_t *out,          \
                              int64_t n_rows, int64_t n_cols) {                                  \
        if (importance)                                                                          \
            encode_rows(encode_tile_##name, type_size, rows, importance, out, n_rows, n_cols);   \
        else                                                                                     \
            encode_blocks(encode_tile_##name, SIZE, type_size, rows, NULL, out, n_rows, n_cols); \
    }

ENCODER(Q4_0, encode_0, 4, 18)
ENCODER(Q4_1, encode_1, 4, 20)
ENCODER(Q5_0, encode_0, 5, 22)
ENCODER(Q5_1, encode_1, 5, 24)
