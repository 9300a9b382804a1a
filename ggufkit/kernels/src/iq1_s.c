/* IQ1_S: 256 weights in 8 sub-blocks of 32, w = d * (2 * scale + 1) * (level + shift).
 *
 *     | d: f16 | qs: 32 bytes | qh: 8 x u16 |        50 bytes
 *
 * Groups of 8 levels -1, 0, 1 are points of a grid of 2048: qs has the lower 8 bits of their
 * numbers, qh bits 3*k..3*k + 2 the upper ones of group k of a sub-block, bits 12-14 the scale, and
 * bit 15 is set where the shift is -1/8 instead of +1/8.
 *
 * quantize_row_iq1_s_impl of ggml-quants.c. */
#include "iq1.h"

enum { SUB = 32, UP = 0, DOWN = 1 };

/* All 561 splits, each with both shifts. */
INLINE split search(const sorted *s) {
    vf sumx[SUB + 1], sumw[SUB + 1];
    sumx[0] = sumw[0] = vf_all(0);
    for (int j = 0; j < SUB; j++) {
        sumx[j + 1] = sumx[j] + s->w[j] * s->x[j];
        sumw[j + 1] = sumw[j] + s->w[j];
    }
    const float lo[2] = {plus[0], minus[0]}, hi[2] = {plus[2], minus[2]};
    split best = {.score = vf_all(-FLT_MAX), .variant = vi_all(-1)};
    for (int i1 = 0; i1 <= SUB; i1++)
        for (int i2 = i1; i2 <= SUB; i2++) {
            const vf mid_x = (sumx[i2] - sumx[i1]) * DELTA;
            const vf mid_w = (sumw[i2] - sumw[i1]) * DELTA * DELTA;
            const vf high_x = sumx[SUB] - sumx[i2], high_w = sumw[SUB] - sumw[i2];
            for (int v = UP; v <= DOWN; v++) {
                const vf sumqx = sumx[i1] * lo[v] + (v == UP ? mid_x : -mid_x) + high_x * hi[v];
                const vf sumq2 = sumw[i1] * lo[v] * lo[v] + mid_w + high_w * hi[v] * hi[v];
                consider(&best, sumqx, sumq2, i1, i2, v);
            }
        }
    return best;
}

/* The scale of a sub-block; numbers of its four groups, and whether its shift is +1/8. */
INLINE vf encode_sub(const grid *points, const vf *x, const vf *w, vi *numbers, vi *up) {
    vi live = ~(max_magnitude(SUB, x) < 1e-12f);
    sorted s;
    sort(SUB, x, w, &s);
    const split best = search(&s);
    live &= best.variant >= 0;
    const vi flip = best.scale < 0.f;
    vf scale = abs_f(best.scale);
    *up = ((best.variant == UP) ^ flip) | ~live;

    float x_row[LANES][32], w_row[LANES][32];
    store_rows(SUB, x, x_row);
    store_rows(SUB, w, w_row);
    vi u[4], off = vi_all(0);
    split_patterns(SUB, x, &s, &best, flip, u);
    vf sumqx = vf_all(0), sumq2 = vf_all(0);
    for (int g = 0; g < 4; g++) {
        u[g] = snap_group(points, u[g], x_row, w_row, g, scale, *up, live, &off);
        add_group(u[g], *up, vf_all(1), x + 8 * g, w + 8 * g, &sumqx, &sumq2);
        numbers[g] = point_numbers(points, u[g]) & live;
    }
    scale = select_f(off & (sumqx > 0.f) & (sumq2 > 0.f), sumqx / sumq2, scale);
    return (vf)((vi)scale & live);
}

INLINE void encode_s(const grid *points, const vf *x, const vf *importance, uint8_t *out, int n) {
    vf w[256], scales[8];
    vi words[12], high[8], up[8], codes[8];
    weigh(x, importance, w);
    for (int b = 0; b < 8; b++) {
        vi numbers[4];
        scales[b] = encode_sub(points, x + SUB * b, w + SUB * b, numbers, &up[b]);
        high[b] = vi_all(0);
        for (int g = 0; g < 4; g++) {
            high[b] |= (numbers[g] >> 8) << (3 * g);
            numbers[g] &= 255;
        }
        words[b] = word4(numbers);
    }
    const vf d = code_scales(8, scales, 15, 8, codes);
    for (int b = 0; b < 8; b++) high[b] |= (codes[b] | (~up[b] & 8 & (d != 0.f))) << 12;
    for (int k = 0; k < 4; k++) words[8 + k] = high[2 * k] | (high[2 * k + 1] << 16);
    store_half(f16_from_f32(d * 1.125f), out, 50, n);
    store_words(words, 12, out + 2, 50, n);
}

GRID_ENCODER(IQ1_S, encode_s, 50)
