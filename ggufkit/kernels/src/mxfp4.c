/* MXFP4: 32 weights of 4-bit floats share a power of two.
 *
 *     | e: u8 | qs: 16 bytes |        17 bytes        w = 2^(e - 128) * level[q]
 *
 * level: 0 1 2 3 4 6 8 12 and, from index 8 on, the same negative (twice the E2M1 values).
 * qs: byte j: low nibble weight j, high nibble weight j + 16.
 *
 * quantize_row_mxfp4_ref of ggml-quants.c; importance does not matter. */
#include "tile.h"

enum { SIZE = 32, BYTES = 17 };

static const float LEVELS[8] = {0, 1, 2, 3, 4, 6, 8, 12};

/* 2^(e - 128), which is denormal for e < 2. */
INLINE vf power(vi e) {
    vi bits = (e - 1) << 23;
    bits = select_i(e == 0, vi_all(0x00200000), bits);
    bits = select_i(e == 1, vi_all(0x00400000), bits);
    return (vf)bits;
}

/* The first of the nearest levels. By symmetry |x| decides, and the sign adds 8; 0 has no sign. */
INLINE vi nearest_level(vf x, vf d) {
    const vf a = abs_f(x);
    vf best = a;
    vi index = vi_all(0);
    for (int k = 1; k < 8; k++) {
        const vf error = abs_f(LEVELS[k] * d - a);
        index = select_i(error < best, vi_all(k), index);
        best = min_f(error, best);
    }
    return index + ((x < 0.f) & (index != 0) & 8);
}

static void encode_mxfp4(const vf *x, const vf *w, uint8_t *out, int n) {
    (void)w;
    vf amax = vf_all(0);
    for (int j = 0; j < SIZE; j++) amax = max_f(abs_f(x[j]), amax);
    vi e;
    /* libm's log2f may round up to an integer just below a power of two: no bit trick */
    for (int i = 0; i < LANES; i++)
        e[i] = amax[i] > 0.f ? (int)(floorf(log2f(amax[i])) - 2 + 127) & 255 : 0;
    const vf d = power(e);
    vi b[16], words[4];
    for (int j = 0; j < 16; j++) b[j] = nearest_level(x[j], d) | (nearest_level(x[j + 16], d) << 4);
    for (int k = 0; k < 4; k++) words[k] = word4(b + 4 * k);
    for (int i = 0; i < n; i++) out[i * BYTES] = (uint8_t)e[i];
    store_words(words, 4, out + 1, BYTES, n);
}

EXPORT void encode_MXFP4(const float *rows, const float *importance, uint8_t *out,
                         int64_t n_rows, int64_t n_cols) {
    (void)importance;
    encode_blocks(encode_mxfp4, SIZE, BYTES, rows, NULL, out, n_rows, n_cols);
}
