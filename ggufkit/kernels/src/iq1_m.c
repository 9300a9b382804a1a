/* IQ1_M: 256 weights in 16 sub-blocks of 16, w = d * (2 * scale + 1) * (level + shift).
 *
 *     | qs: 32 bytes | qh: 16 bytes | scales: 4 x u16 |        56 bytes
 *
 * Groups of 8 levels -1, 0, 1 are points of a grid of 2048: qs has the lower 8 bits of their
 * numbers, a nibble of qh (low nibble first) the upper 3, and its bit 3 is set where the group's
 * shift is -1/8 instead of +1/8. scales: bits 3*k..3*k + 2 of u16 j the scale of sub-block 4*j + k;
 * the upper nibbles of the four are the nibbles of d, a float16.
 *
 * quantize_row_iq1_m_impl of ggml-quants.c. */
#include "iq1.h"

enum { SUB = 16, HALF = 8 };

/* A variant's two bits: 2 the first half shifts down, 1 the second half does. */
INLINE vi is_up(vi variant, int half) { return (variant & (half == 0 ? 2 : 1)) == 0; }

/* All 153 splits, each with the four pairs of shifts. A level is one less than the next, so that
 * the sum of a split is made of the whole's and two prefixes. */
INLINE split search(const sorted *s) {
    vf px[2][SUB + 1], pw[2][SUB + 1];
    px[0][0] = px[1][0] = pw[0][0] = pw[1][0] = vf_all(0);
    for (int j = 0; j < SUB; j++)
        for (int h = 0; h < 2; h++) {
            const vi here = h == 0 ? s->at[j] < HALF : s->at[j] >= HALF;
            px[h][j + 1] = select_f(here, px[h][j] + s->w[j] * s->x[j], px[h][j]);
            pw[h][j + 1] = select_f(here, pw[h][j] + s->w[j], pw[h][j]);
        }
    const float top[2] = {plus[2], minus[2]}; /* value of level 2; and differences of squares */
    const float low[2] = {plus[0] * plus[0] - plus[1] * plus[1],
                          minus[0] * minus[0] - minus[1] * minus[1]};
    const float high[2] = {plus[1] * plus[1] - plus[2] * plus[2],
                           minus[1] * minus[1] - minus[2] * minus[2]};
    split best = {.score = vf_all(-FLT_MAX), .variant = vi_all(-1)};
    for (int i1 = 0; i1 <= SUB; i1++)
        for (int i2 = i1; i2 <= SUB; i2++) {
            vf qx[2][2], q2[2][2]; /* [half][down] */
            for (int h = 0; h < 2; h++) {
                const vf sx = px[h][i1] + px[h][i2], tx = px[h][SUB], tw = pw[h][SUB];
                for (int v = 0; v < 2; v++) {
                    qx[h][v] = tx * top[v] - sx;
                    q2[h][v] = tw * top[v] * top[v] + pw[h][i1] * low[v] + pw[h][i2] * high[v];
                }
            }
            for (int k = 0; k < 4; k++)
                consider(&best, qx[0][k / 2] + qx[1][k % 2], q2[0][k / 2] + q2[1][k % 2], i1, i2, k);
        }
    return best;
}

/* The scale of a sub-block; patterns of its two groups and the variant. */
INLINE vf encode_sub(const grid *points, const vf *x, const vf *w, vi *u, vi *variant, vi *is_live) {
    vi live = ~(max_magnitude(SUB, x) < 1e-7f);
    sorted s;
    sort(SUB, x, w, &s);
    const split best = search(&s);
    live &= best.variant >= 0;
    const vi flip = best.scale < 0.f;
    vf scale = abs_f(best.scale);
    *variant = select_i(flip, 3 - best.variant, best.variant) & live;
    *is_live = live;

    float x_row[LANES][32], w_row[LANES][32];
    store_rows(SUB, x, x_row);
    store_rows(SUB, w, w_row);
    vi off = vi_all(0);
    split_patterns(SUB, x, &s, &best, flip, u);
    vf sumqx = vf_all(0), sumq2 = vf_all(0);
    for (int g = 0; g < 2; g++) {
        const vi up = is_up(*variant, g);
        u[g] = snap_group(points, u[g], x_row, w_row, g, scale, up, live, &off);
        add_group(u[g], up, vf_all(1), x + 8 * g, w + 8 * g, &sumqx, &sumq2);
    }
    scale = select_f(off & (sumqx > 0.f) & (sumq2 > 0.f), sumqx / sumq2, scale);
    return (vf)((vi)scale & live);
}

INLINE void encode_m(const grid *points, const vf *x, const vf *importance, uint8_t *out, int n) {
    vf w[256], scales[16], sumqx = vf_all(0), sumq2 = vf_all(0);
    vi u[32], variant[16], live, codes[16], qs[32], qh[16], sc[4], words[14];
    weigh(x, importance, w);
    for (int b = 0; b < 16; b++) {
        scales[b] = encode_sub(points, x + SUB * b, w + SUB * b, u + 2 * b, &variant[b], &live);
        for (int g = 2 * b; g < 2 * b + 2; g++) qs[g] = point_numbers(points, u[g]) & live;
        qh[b] = (qs[2 * b] >> 8) | ((qs[2 * b + 1] >> 8) << 4);
    }
    vf d = code_scales(16, scales, 15, 8, codes);
    const vi some = d != 0.f;
    for (int k = 0; k < 4; k++) sc[k] = vi_all(0);
    for (int b = 0; b < 16; b++) { /* the scale of all, once more by least squares */
        sc[b / 4] |= codes[b] << (3 * (b % 4));
        qh[b] |= (((variant[b] & 2) << 2) | ((variant[b] & 1) << 7)) & some;
        for (int g = 0; g < 2; g++)
            add_group(u[2 * b + g], is_up(variant[b], g), to_float(2 * codes[b] + 1),
                      x + SUB * b + 8 * g, w + SUB * b + 8 * g, &sumqx, &sumq2);
    }
    d = select_f(sumq2 > 0.f, sumqx / sumq2, d);
    const vi half = f16_from_f32(d * 1.1125f) & some;
    for (int k = 0; k < 4; k++) sc[k] |= ((half >> (4 * k)) & 15) << 12;
    for (int g = 0; g < 32; g++) qs[g] &= 255;
    for (int k = 0; k < 8; k++) words[k] = word4(qs + 4 * k);
    for (int k = 0; k < 4; k++) words[8 + k] = word4(qh + 4 * k);
    for (int k = 0; k < 2; k++) words[12 + k] = sc[2 * k] | (sc[2 * k + 1] << 16);
    store_words(words, 14, out, 56, n);
}

GRID_ENCODER(IQ1_M, encode_m, 56)
