/* Grids of the IQ types: of all patterns of a group's levels, only the points of a grid have a
 * number, and any other pattern is moved to one of its nearest points.
 *
 * A pattern is the group's levels packed as in ggml's tables: `bits` bits each, the first lowest;
 * 8 levels of 2 bits (of which 0, 1, 2 occur), or 4 of 3 bits. */
#ifndef GGUFKIT_GRID_H
#define GGUFKIT_GRID_H

#include "vec.h"

#define N_PATTERNS 65536
#define LIST_STEP 16 /* lists are padded to whole vectors, whatever LANES is */

/* Built once by build_grid (grid.c), then only read. */
typedef struct {
    /* the point's number, or -1 - (start of the pattern's list in `lists`) */
    int32_t map[N_PATTERNS];
    /* a list: its padded length, then the nearest points' patterns in ggml's order */
    uint16_t lists[];
} grid;

/* A variable shuffle reads a table of LANES floats by the low bits of each index. */
#if LANES >= 8 && !defined(__clang__)
#define TABLE_SHUFFLE 1
typedef uint16_t pattern_vector __attribute__((vector_size(2 * LANES)));
#endif

/* Values of the levels 0, 1, 2, ..., repeated to fill a table of 16. */
static const float odd_4[16] = {1, 3, 5, 7, 1, 3, 5, 7, 1, 3, 5, 7, 1, 3, 5, 7};
static const float odd_8[16] = {1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15};

/* ggml's iq2_find_best_neighbour, iq3_find_best_neighbour and iq1_find_best_neighbour2: of
 * `list`, the first pattern of least
 *     sum of w[k] * (scale * values[level k] - x[k])^2
 * Each term is computed once per level. Then, where tables can be shuffled, a lane is a candidate;
 * a level's index needs no masking, for the tables repeat. */
INLINE int nearest_point(int bits, int dims, const uint16_t *list, const float *x, const float *w,
                         float scale, const float values[16]) {
    const int n = list++[0];
#ifdef TABLE_SHUFFLE
    vf value, term[8], best = vf_all(FLT_MAX);
    memcpy(&value, values, sizeof value);
    value = scale * value;
    for (int k = 0; k < dims; k++) term[k] = w[k] * (value - x[k]) * (value - x[k]);
    vi best_at = vi_all(0), at;
    for (int i = 0; i < LANES; i++) at[i] = i;
    for (int c = 0; c < n; c += LANES) {
        pattern_vector packed;
        memcpy(&packed, list + c, sizeof packed);
        const vi u = __builtin_convertvector(packed, vi);
        vf d2 = __builtin_shuffle(term[0], u);
        for (int k = 1; k < dims; k++) d2 += __builtin_shuffle(term[k], u >> (bits * k));
        const vi better = d2 < best;
        best = select_f(better, d2, best);
        best_at = select_i(better, at + c, best_at);
    }
    /* distances are >= 0, so their bits order like integers; of equal ones the first wins */
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < LANES; i++) {
        const uint64_t key = (uint64_t)(uint32_t)((vi)best)[i] << 32 | (uint32_t)best_at[i];
        if (key < least) least = key;
    }
    return list[(uint32_t)least];
#else
    float term[8][8], best = FLT_MAX;
    for (int k = 0; k < dims; k++)
        for (int l = 0; l < 1 << bits; l++) {
            const float diff = scale * values[l] - x[k];
            term[k][l] = w[k] * diff * diff;
        }
    int point = list[0];
    for (int c = 0; c < n; c++) {
        const int u = list[c];
        float d2 = 0;
        for (int k = 0; k < dims; k++) d2 += term[k][(u >> (bits * k)) & ((1 << bits) - 1)];
        if (d2 < best) {
            best = d2;
            point = u;
        }
    }
    return point;
#endif
}

/* The pattern itself where it is a point; sets *off where it is not. */
INLINE int snap(int bits, int dims, const grid *points, int u, const float *x, const float *w,
                float scale, const float values[16], int32_t *off) {
    const int32_t entry = points->map[u];
    if (entry >= 0) return u;
    *off = -1;
    return nearest_point(bits, dims, points->lists + (-1 - entry), x, w, scale, values);
}

#endif
