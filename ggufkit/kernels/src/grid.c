/* build_grid: number the points of a grid, and list the nearest points of all other patterns.
 * ggml's iq2xs_init_impl and iq3xs_init_impl. */
#include "grid.h"

#include <stdlib.h>

/* Squared distance in levels; as ggml measures it, times 4. */
INLINE int distance2(int bits, int a, int b) {
    int d2 = 0;
    for (int shift = 0; shift < 16; shift += bits) {
        const int mask = (1 << bits) - 1, d = ((a >> shift) & mask) - ((b >> shift) & mask);
        d2 += d * d;
    }
    return d2;
}

/* Can the search produce it? Of four levels in 2 bits only three are tried. */
INLINE int occurs(int bits, int u) {
    return bits == 3 ? u < 4096 : !(u & (u >> 1) & 0x5555);
}

/* Append the points at the `n_wanted` least distances, by distance, then by number. */
static int64_t append_list(const uint16_t *points, int n_points, int bits, int n_wanted, int u,
                           uint16_t *list) {
    enum { FAR = 4 * 7 * 7 + 1 };
    uint8_t d2[2048];
    int count[FAR] = {0};
    for (int i = 0; i < n_points; i++) {
        d2[i] = (uint8_t)distance2(bits, points[i], u);
        count[d2[i]]++;
    }
    int n = 0;
    for (int d = 0; n_wanted > 0 && d < FAR; d++) {
        if (!count[d]) continue;
        n_wanted--;
        for (int i = 0; i < n_points; i++)
            if (d2[i] == d && ++n && list) list[n] = points[i];
    }
    const int padded = (n + LIST_STEP - 1) / LIST_STEP * LIST_STEP;
    if (list) {
        list[0] = (uint16_t)padded;
        for (int i = n + 1; i <= padded; i++) list[i] = list[1];
    }
    return 1 + padded;
}

/* Return the grid's size in bytes, and fill `out` with it unless that is NULL. */
EXPORT int64_t build_grid(const uint16_t *points, int n_points, int bits, int n_wanted,
                          grid *out) {
    int32_t *map = malloc(N_PATTERNS * sizeof *map);
    if (!map) return 0;
    for (int u = 0; u < N_PATTERNS; u++) map[u] = -1;
    for (int i = 0; i < n_points; i++) map[points[i]] = i;
    int64_t end = 0;
    for (int u = 0; u < N_PATTERNS; u++) {
        if (out) out->map[u] = map[u] >= 0 ? map[u] : (int32_t)(-1 - end);
        if (map[u] >= 0 || !occurs(bits, u)) continue;
        end += append_list(points, n_points, bits, n_wanted, u, out ? out->lists + end : NULL);
    }
    free(map);
    return (int64_t)sizeof(grid) + end * (int64_t)sizeof(uint16_t);
}
