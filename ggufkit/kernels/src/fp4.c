/* MXFP4 and NVFP4: weights are 4-bit floats.
 *
 *     MXFP4  | e: u8 | qs: 16 bytes |        17 bytes   32 weights, w = 2^(e - 128) * level[q]
 *     NVFP4  | d: 4 x u8 | qs: 32 bytes |    36 bytes   64 weights, w = d / 2 * level[q]
 *
 * level: 0 1 2 3 4 6 8 12 and, from index 8 on, the same negative (twice the E2M1 values).
 * MXFP4: qs byte j: low nibble weight j, high nibble weight j + 16. NVFP4: four sub-blocks of 16,
 * each with 8 bytes of qs (low nibbles first 8 weights) and a scale d, an unsigned float of 4
 * exponent bits (bias 7) and 3 mantissa bits.
 *
 * quantize_row_mxfp4_ref and quantize_row_nvfp4_ref of ggml-quants.c; importance does not matter. */
#include "tile.h"

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
    for (int j = 0; j < 32; j++) amax = max_f(abs_f(x[j]), amax);
    vi e;
    /* libm's log2f may round up to an integer just below a power of two: no bit trick */
    for (int i = 0; i < LANES; i++)
        e[i] = amax[i] > 0.f ? (int)(floorf(log2f(amax[i])) - 2 + 127) & 255 : 0;
    const vf d = power(e);
    vi b[16], words[4];
    for (int j = 0; j < 16; j++) b[j] = nearest_level(x[j], d) | (nearest_level(x[j + 16], d) << 4);
    for (int k = 0; k < 4; k++) words[k] = word4(b + 4 * k);
    for (int i = 0; i < n; i++) out[i * 17] = (uint8_t)e[i];
    store_words(words, 4, out + 1, 17, n);
}

/* x > 0 to the 8 bits of an unsigned float: ties away from zero, the largest is 448. */
static uint8_t to_ue4m3(float x) {
    if (!(x > 0.f)) return 0;
    if (x > 448.f) x = 448.f;
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const int exponent = (int)(bits >> 23 & 255) - 127 + 7, mantissa = (int)(bits >> 20 & 7);
    if (exponent <= 0) { /* a multiple of 2^-9 */
        const int m = (int)(x * 512.f + 0.5f);
        return (uint8_t)(m > 7 ? 7 : m);
    }
    if (exponent >= 15) return 0x7e;
    const int code = (exponent << 3) + mantissa + (int)(bits >> 19 & 1);
    return (uint8_t)(code >= 0x78 ? 0x7e : code);
}

static float half_of_ue4m3(uint8_t code) {
    if (code == 0x7f) return 0.f;
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    if (exponent == 0) return (float)mantissa * 0x1p-10f;
    return ldexpf(1.f + (float)mantissa / 8.f, exponent - 8);
}

static void encode_nvfp4(const vf *x, const vf *w, uint8_t *out, int n) {
    (void)w;
    vi words[9], codes[4];
    for (int s = 0; s < 4; s++) {
        const vf *xs = x + 16 * s;
        vf amax = vf_all(0), d;
        for (int j = 0; j < 16; j++) amax = max_f(abs_f(xs[j]), amax);
        amax /= 6.f;
        for (int i = 0; i < LANES; i++) {
            codes[s][i] = to_ue4m3(amax[i]);
            d[i] = half_of_ue4m3((uint8_t)codes[s][i]);
        }
        vi b[8];
        for (int j = 0; j < 8; j++)
            b[j] = nearest_level(xs[j], d) | (nearest_level(xs[j + 8], d) << 4);
        words[1 + 2 * s] = word4(b);
        words[2 + 2 * s] = word4(b + 4);
    }
    words[0] = word4(codes);
    store_words(words, 9, out, 36, n);
}

EXPORT void encode_MXFP4(const float *rows, const float *importance, uint8_t *out,
                         int64_t n_rows, int64_t n_cols) {
    (void)importance;
    encode_blocks(encode_mxfp4, 32, 17, rows, NULL, out, n_rows, n_cols);
}

EXPORT void encode_NVFP4(const float *rows, const float *importance, uint8_t *out,
                         int64_t n_rows, int64_t n_cols) {
    (void)importance;
    encode_blocks(encode_nvfp4, 64, 36, rows, NULL, out, n_rows, n_cols);
}
