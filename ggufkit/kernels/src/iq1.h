/* What IQ1_S and IQ1_M share: three levels, -1, 0, 1, all shifted by +1/8 or -1/8.
 *
 * ggml sorts a sub-block's weights and tries every split of the sorted ones into three runs, one
 * per level: prefix sums make each split a matter of a few operations. */
#ifndef GGUFKIT_IQ1_H
#define GGUFKIT_IQ1_H

#include "grid_search.h"

#define DELTA 0.125f

/* Values of the levels 0, 1, 2, shifted up or down, repeated to fill a table of 16. */
#define REPEAT_4(...) {__VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__}
static const float plus[16] = REPEAT_4(-1 + DELTA, DELTA, 1 + DELTA, 0);
static const float minus[16] = REPEAT_4(-1 - DELTA, -DELTA, 1 - DELTA, 0);

/* A sub-block of every lane in ascending order: x, its weight, and where it was. */
typedef struct {
    vf x[32], w[32];
    vi at[32];
} sorted;

/* Equal x keep their order, as under glibc's qsort, a merge sort. */
INLINE void order(sorted *s, int a, int b) {
    const vf xa = s->x[a], xb = s->x[b], wa = s->w[a], wb = s->w[b];
    const vi ia = s->at[a], ib = s->at[b];
    const vi swap = (xa > xb) | ((xa == xb) & (ia > ib));
    s->x[a] = select_f(swap, xb, xa);
    s->x[b] = select_f(swap, xa, xb);
    s->w[a] = select_f(swap, wb, wa);
    s->w[b] = select_f(swap, wa, wb);
    s->at[a] = select_i(swap, ib, ia);
    s->at[b] = select_i(swap, ia, ib);
}

/* Batcher's odd-even merge sort: no branch depends on data. n is a power of two. */
INLINE void sort(int n, const vf *x, const vf *w, sorted *s) {
    for (int i = 0; i < n; i++) {
        s->x[i] = x[i];
        s->w[i] = w[i];
        s->at[i] = vi_all(i);
    }
    for (int p = 1; p < n; p *= 2)
        for (int k = p; k >= 1; k /= 2)
            for (int j = k % p; j + k < n; j += 2 * k)
                for (int i = j; i < j + k && i + k < n; i++)
                    if (i / (2 * p) == (i + k) / (2 * p)) order(s, i, i + k);
}

/* The best split so far: levels 0 below i1, 1 below i2, 2 from there, in sorted order. */
typedef struct {
    vf score, scale;
    vi i1, i2, variant; /* variant -1: none yet */
} split;

INLINE void consider(split *best, vf sumqx, vf sumq2, int i1, int i2, int variant) {
    const vi better = (sumq2 > 0.f) & (sumqx * sumqx > best->score * sumq2);
    if (!any(better)) return;
    best->scale = select_f(better, sumqx / sumq2, best->scale);
    best->score = select_f(better, best->scale * sumqx, best->score);
    best->i1 = select_i(better, vi_all(i1), best->i1);
    best->i2 = select_i(better, vi_all(i2), best->i2);
    best->variant = select_i(better, vi_all(variant), best->variant);
}

/* Is (x, at) before position `end` of the sorted weights? */
typedef struct {
    vf x;
    vi at;
} bound;

INLINE bound bound_at(int n, const sorted *s, vi end) {
    bound b = {vf_all(INFINITY), vi_all(n)};
    for (int i = 0; i < n; i++) {
        b.x = select_f(end == i, s->x[i], b.x);
        b.at = select_i(end == i, s->at[i], b.at);
    }
    return b;
}

INLINE vi is_before(vf x, int at, const bound *b) { return (x < b->x) | ((x == b->x) & (at < b->at)); }

/* The pattern of each group of 8; `flip` where the scale came out negative: levels 2, 1, 0. */
INLINE void split_patterns(int n, const vf *x, const sorted *s, const split *best, vi flip, vi *u) {
    const bound low = bound_at(n, s, best->i1), high = bound_at(n, s, best->i2);
    for (int g = 0; g < n / 8; g++) u[g] = vi_all(0);
    for (int i = 0; i < n; i++) {
        vi l = 2 + is_before(x[i], i, &high) + is_before(x[i], i, &low);
        l = select_i(flip, 2 - l, l);
        u[i / 8] |= l << (2 * (i % 8));
    }
}

/* Move group g to the grid in `live` lanes, by the values of the levels that `up` selects. */
INLINE vi snap_group(const grid *points, vi u, const float (*x_row)[32], const float (*w_row)[32],
                     int g, vf scale, vi up, vi live, vi *off) {
    u &= live;
    for (int i = 0; i < LANES; i++) {
        int32_t moved = 0;
        u[i] = snap(2, 8, points, u[i], x_row[i] + 8 * g, w_row[i] + 8 * g, scale[i],
                    up[i] ? plus : minus, &moved);
        (*off)[i] |= moved;
    }
    return u;
}

/* Add a group's part to sum(w * q * x) and sum(w * q * q), q = factor * value of the level. */
INLINE void add_group(vi u, vi up, vf factor, const vf *x, const vf *w, vf *sumqx, vf *sumq2) {
    for (int i = 0; i < 8; i++) {
        const vf level = to_float(((u >> (2 * i)) & 3) - 1);
        const vf q = (level + select_f(up, vf_all(DELTA), vf_all(-DELTA))) * factor;
        *sumqx += w[i] * q * x[i];
        *sumq2 += w[i] * q * q;
    }
}

INLINE void store_rows(int n, const vf *x, float (*rows)[32]) {
    vi bits[32];
    for (int i = 0; i < n; i++) bits[i] = (vi)x[i];
    store_words(bits, n, (uint8_t *)rows, 32 * sizeof(float), LANES);
}

/* importance * sqrt(sigma2 + x^2), or x^2 without importance; sigma2 twice the mean square. */
INLINE void weigh(const vf *x, const vf *importance, vf *w) {
    vf sum_x2 = vf_all(0);
    for (int i = 0; i < 256; i++) sum_x2 += x[i] * x[i];
    const vf sigma2 = 2.f * sum_x2 / 256.f;
    for (int i = 0; i < 256; i++)
        w[i] = importance ? importance[i] * sqrt_f(sigma2 + x[i] * x[i]) : x[i] * x[i];
}

INLINE vf max_magnitude(int n, const vf *x) {
    vf max = abs_f(x[0]);
    for (int i = 1; i < n; i++) max = max_f(max, abs_f(x[i]));
    return max;
}

#endif
