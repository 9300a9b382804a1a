/* The scale search of IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S for one sub-block.
 *
 *     |x| ~ scale * (2 * level + 1),  the levels of a group of 8 or 4 weights being a grid point
 *
 * A lane is a block as everywhere, up to the patterns of a group; a pattern that is no grid point
 * is replaced lane by lane (nearest_point). */
#ifndef GGUFKIT_GRID_SEARCH_H
#define GGUFKIT_GRID_SEARCH_H

#include "grid.h"
#include "tile.h"

/* Which groups are fitted once more with the final scale, if it is positive. */
enum again { OFF_GRID, ALL_IF_ANY_OFF_GRID, ALWAYS };

typedef struct {
    int bits, dims;   /* a group: `dims` levels of `bits` bits */
    int size;         /* weights of a sub-block */
    int n_levels;     /* levels 0..n_levels-1 are tried */
    int n_steps;      /* scales (2 * n_levels - 1 + step * i) / max, i = -n_steps..n_steps */
    float step;
    enum again again;
} grid_kind;

enum { GROUPS_MAX = 8, SIZE_MAX_SUB = 32 };

/* One sub-block of every lane. */
typedef struct {
    const grid *points;
    const vf *x, *w;                           /* |x| (or -|x|, see fix_parity) and weights */
    vf wx[SIZE_MAX_SUB];
    float x_row[LANES][SIZE_MAX_SUB];          /* x and sqrt(w), a lane after the other */
    float root_w_row[LANES][SIZE_MAX_SUB];
} sub_block;

typedef struct {
    vf scale;
    vi u[GROUPS_MAX]; /* patterns, all of them grid points */
} grid_fit;

INLINE void prepare(sub_block *s, int size, const grid *points, const vf *x, const vf *w) {
    vi bits[SIZE_MAX_SUB], root_bits[SIZE_MAX_SUB];
    s->points = points;
    s->x = x;
    s->w = w;
    for (int i = 0; i < size; i++) {
        bits[i] = (vi)x[i];
        root_bits[i] = (vi)sqrt_f(w[i]);
        s->wx[i] = w[i] * x[i];
    }
    store_words(bits, size, (uint8_t *)s->x_row, sizeof s->x_row[0], LANES);
    store_words(root_bits, size, (uint8_t *)s->root_w_row, sizeof s->root_w_row[0], LANES);
}

/* Group g with 1 / scale = id, where `wanted`; *off is set where the pattern had to move. */
INLINE vi fit_group(const grid_kind *kind, const sub_block *s, int g, vf id, vf scale, vi wanted,
                    vi *off) {
    vi u = vi_all(0);
    for (int k = 0; k < kind->dims; k++) {
        const vi l = nearest_int(0.5f * (id * s->x[kind->dims * g + k] - 1.f));
        u |= clamp_i(l, 0, kind->n_levels - 1) << (kind->bits * k);
    }
    int32_t pattern[LANES], moved[LANES] = {0};
    float scales[LANES];
    u &= wanted;
    memcpy(pattern, &u, sizeof u);
    memcpy(scales, &scale, sizeof scale);
    for (int i = 0; i < LANES; i++)
        pattern[i] = snap(kind->bits, kind->dims, s->points, pattern[i],
                          s->x_row[i] + kind->dims * g, s->root_w_row[i] + kind->dims * g,
                          scales[i], kind->bits == 2 ? odd_4 : odd_8, &moved[i]);
    memcpy(&u, pattern, sizeof u);
    memcpy(off, moved, sizeof *off);
    return u;
}

INLINE void sums(const grid_kind *kind, const sub_block *s, const vi *u, vf *sumqx, vf *sumq2) {
    *sumqx = *sumq2 = vf_all(0);
    for (int i = 0; i < kind->size; i++) {
        const vi l = (u[i / kind->dims] >> (kind->bits * (i % kind->dims))) &
                     ((1 << kind->bits) - 1);
        const vf q = to_float(2 * l + 1);
        *sumqx += s->wx[i] * q;
        *sumq2 += s->w[i] * q * q;
    }
}

/* Start from `scale`; `max` is the largest |x|, or what stands for it. Only `live` lanes count. */
INLINE grid_fit search_grid(const grid_kind *kind, const sub_block *s, vf max, vf scale, vi live) {
    const int n_groups = kind->size / kind->dims;
    grid_fit fit = {.scale = scale};
    vi off[GROUPS_MAX];
    for (int g = 0; g < n_groups; g++) {
        fit.u[g] = vi_all(0);
        off[g] = vi_all(kind->again == OFF_GRID ? 0 : -1);
    }
    vf best = vf_all(0), sumqx, sumq2;
    for (int is = -kind->n_steps; is <= kind->n_steps; is++) {
        const vf id = ((float)(2 * kind->n_levels - 1) + (float)is * kind->step) / max;
        vi u[GROUPS_MAX], moved[GROUPS_MAX];
        for (int g = 0; g < n_groups; g++)
            u[g] = fit_group(kind, s, g, id, 1.f / id, live, &moved[g]);
        sums(kind, s, u, &sumqx, &sumq2);
        const vi better = (sumq2 > 0.f) & (sumqx * sumqx > best * sumq2);
        fit.scale = select_f(better, sumqx / sumq2, fit.scale);
        best = select_f(better, fit.scale * sumqx, best);
        for (int g = 0; g < n_groups; g++) {
            fit.u[g] = select_i(better, u[g], fit.u[g]);
            off[g] = select_i(better, moved[g], off[g]);
        }
    }
    vi again = vi_all(0);
    for (int g = 0; g < n_groups; g++) again |= off[g];
    if (kind->again == ALWAYS) again = vi_all(-1);
    again &= live & (fit.scale > 0.f);
    const vf id = 1.f / fit.scale;
    for (int g = 0; g < n_groups; g++) {
        const vi lanes = kind->again == OFF_GRID ? again & off[g] : again;
        vi moved;
        const vi u = fit_group(kind, s, g, id, fit.scale, lanes, &moved);
        fit.u[g] = select_i(lanes, u, fit.u[g]);
    }
    sums(kind, s, fit.u, &sumqx, &sumq2);
    fit.scale = select_f(again & (sumq2 > 0.f), sumqx / sumq2, fit.scale);
    fit.scale = (vf)((vi)fit.scale & live);
    for (int g = 0; g < n_groups; g++) fit.u[g] &= live;
    return fit;
}

/* |x|, and the signs of each eight weights as a byte (-0.0 is positive). */
INLINE void split_signs(int size, const vf *x, vf *a, vi *signs) {
    for (int k = 0; k < size / 8; k++) {
        signs[k] = vi_all(0);
        for (int i = 8 * k; i < 8 * k + 8; i++) {
            const vi negative = ~(x[i] >= 0.f);
            a[i] = select_f(negative, -x[i], x[i]);
            signs[k] |= negative & (1 << (i % 8));
        }
    }
}

/* Types that store 7 of 8 signs need an even number of minus signs: where it is odd, the weight
 * that matters least (w * x^2) changes its sign, and its |x| becomes negative. */
INLINE void fix_parity(int size, const vf *x, const vf *w, vf *a, vi *signs) {
    for (int k = 0; k < size / 8; k++) {
        vi odd = vi_all(0), at = vi_all(0);
        vf least = w[8 * k] * x[8 * k] * x[8 * k];
        for (int i = 0; i < 8; i++) {
            const vf ax = w[8 * k + i] * x[8 * k + i] * x[8 * k + i];
            at = select_i(ax < least, vi_all(i), at);
            least = min_f(ax, least);
            odd ^= signs[k] >> i;
        }
        odd = -(odd & 1);
        for (int i = 0; i < 8; i++) {
            const vi flip = odd & (at == i);
            a[8 * k + i] = select_f(flip, -a[8 * k + i], a[8 * k + i]);
            signs[k] ^= flip & (1 << i);
        }
        signs[k] &= 127;
    }
}

INLINE vf maximum(int n, const vf *x) {
    vf max = x[0];
    for (int i = 1; i < n; i++) max = max_f(max, x[i]);
    return max;
}

/* Numbers of grid points. */
INLINE vi point_numbers(const grid *points, vi u) {
    vi numbers;
    for (int i = 0; i < LANES; i++) numbers[i] = points->map[u[i]];
    return numbers;
}

/* The 4-bit scales of all sub-blocks, as codes 0..n_codes-1 of (2 * code + 1) * d; returns d. */
INLINE vf code_scales(int n, const vf *scales, int divisor, int n_codes, vi *codes) {
    vf max = vf_all(0);
    for (int j = 0; j < n; j++) max = max_f(max, scales[j]);
    const vf d = max / (float)divisor, id = 1.f / d;
    const vi some = max != 0.f;
    for (int j = 0; j < n; j++)
        codes[j] = clamp_i(nearest_int(0.5f * (id * scales[j] - 1.f)), 0, n_codes - 1) & some;
    return (vf)((vi)d & some);
}

/* encode_NAME(rows, importance, out, n_rows, n_cols, points) from a function for one tile. */
#define GRID_ENCODER(name, encode, type_size)                                                   \
    EXPORT void encode_##name(const float *rows, const float *importance, uint8_t *out,         \
                              int64_t n_rows, int64_t n_cols, const grid *points) {             \
        const int64_t n_blocks = n_rows * (n_cols / 256);                                       \
        vf x[256], w[256];                                                                      \
        for (int64_t b = 0; b < n_blocks; b += LANES) {                                         \
            const int n = lanes_left(n_blocks - b);                                             \
            load_blocks(rows + b * 256, n, 256, x);                                             \
            if (importance) load_importance(importance, b, n, 256, n_cols, w);                  \
            encode(points, x, importance ? w : NULL, out + b * (type_size), n);                 \
        }                                                                                       \
    }

#endif
