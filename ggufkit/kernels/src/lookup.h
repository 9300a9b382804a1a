/* The 16 unevenly spaced levels of IQ4_NL and IQ4_XS: the nearest one to x, best_index_int8.
 *
 * ggml bisects and then compares two distances. The distances are exact in float32 near a midpoint
 * of neighbours, so the nearest level is decided by the midpoints alone: x goes up at a midpoint.
 * A NaN is above all of them, as in ggml. */
#ifndef GGUFKIT_LOOKUP_H
#define GGUFKIT_LOOKUP_H

#include "vec.h"

#define IQ4_LEVELS -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
#define IQ4_MIDPOINTS                                                                              \
    -115.5f, -93.5f, -74.f, -57.f, -42.f, -28.5f, -16.f, -4.5f, 7.f, 19.f, 31.5f, 45.5f, 61.f, 79.f, 101.f

typedef struct {
    vi index;
    vf value;
} iq4_level;

#if LANES == 16 && !defined(__clang__)
/* A vector holds a whole table and a variable shuffle reads it: bisect in four steps. */
INLINE iq4_level nearest_iq4(vf x) {
    const vf levels = {IQ4_LEVELS}, midpoints = {IQ4_MIDPOINTS, 0};
    vi i = ~(x < -4.5f) & 8;
    i += ~(x < __builtin_shuffle(midpoints, i + 3)) & 4;
    i += ~(x < __builtin_shuffle(midpoints, i + 1)) & 2;
    i += ~(x < __builtin_shuffle(midpoints, i)) & 1;
    return (iq4_level){i, __builtin_shuffle(levels, i)};
}
#else
/* Start at the top and step down for every midpoint above x. */
INLINE iq4_level nearest_iq4(vf x) {
    static const float levels[16] = {IQ4_LEVELS}, midpoints[15] = {IQ4_MIDPOINTS};
    iq4_level best = {vi_all(15), vf_all(113.f)};
#pragma GCC unroll 15
    for (int k = 0; k < 15; k++) {
        const vi below = x < midpoints[k];
        best.index += below;
        best.value -= (vf)(below & (vi)vf_all(levels[k + 1] - levels[k]));
    }
    return best;
}
#endif

#endif
