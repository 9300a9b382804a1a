/* Decoders of the grid types: layouts in iq1_s.c, iq1_m.c, iq2.c and iq3.c. ggml's
 * dequantize_row_iq2_xxs and so on. `points` are the grid's patterns, see grid.h. */
#include "decode.h"

#define DELTA 0.125f

static const uint8_t IQ2_VALUES[8] = {8, 25, 43};
static const uint8_t IQ3_XXS_VALUES[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const uint8_t IQ3_S_VALUES[8] = {1, 3, 5, 7, 9, 11, 13, 15};

INLINE uint32_t u16_at(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
INLINE uint32_t u32_at(const uint8_t *p) { return u16_at(p) | u16_at(p + 2) << 16; }

/* Seven signs and the eighth, which makes their number even. */
INLINE uint32_t eight_signs(uint32_t seven) {
    return seven | (uint32_t)__builtin_parity(seven) << 7;
}

/* scale * value of every level of a sub-block. */
INLINE void products(const uint8_t values[8], float scale, float product[8]) {
    for (int l = 0; l < 8; l++) product[l] = scale * (float)values[l];
}

/* `dims` weights of a pattern; bit k of signs negates weight k. */
INLINE void group(int bits, int dims, uint32_t pattern, uint32_t signs, const float *product,
                  float *y) {
    for (int k = 0; k < dims; k++) {
        uint32_t v;
        memcpy(&v, &product[(pattern >> (bits * k)) & ((1u << bits) - 1)], 4);
        v ^= (signs >> k & 1) << 31;
        memcpy(&y[k], &v, 4);
    }
}

INLINE void block_IQ2_XXS(const uint8_t *restrict b, const uint16_t *points, float *restrict y) {
    const float d = half_at(b);
    for (int j = 0; j < 8; j++) {
        const uint8_t *qs = b + 2 + 8 * j;
        const uint32_t packed = u32_at(qs + 4);
        float product[8];
        products(IQ2_VALUES, d * (0.5f + (float)(packed >> 28)) * 0.25f, product);
        for (int k = 0; k < 4; k++)
            group(2, 8, points[qs[k]], eight_signs(packed >> (7 * k) & 127), product,
                  y + 32 * j + 8 * k);
    }
}

/* Sub-block j of 16: a nibble of `scales`. */
INLINE void iq2_products(float d, const uint8_t *scales, int j, float product[8]) {
    const int scale = (scales[j / 2] >> (4 * (j % 2))) & 15;
    products(IQ2_VALUES, d * (0.5f + (float)scale) * 0.25f, product);
}

INLINE void block_IQ2_XS(const uint8_t *restrict b, const uint16_t *points, float *restrict y) {
    const float d = half_at(b);
    for (int j = 0; j < 16; j++) {
        float product[8];
        iq2_products(d, b + 66, j, product);
        for (int g = 2 * j; g < 2 * j + 2; g++) {
            const uint32_t q = u16_at(b + 2 + 2 * g);
            group(2, 8, points[q & 511], eight_signs(q >> 9), product, y + 8 * g);
        }
    }
}

INLINE void block_IQ2_S(const uint8_t *restrict b, const uint16_t *points, float *restrict y) {
    const float d = half_at(b);
    const uint8_t *qs = b + 2, *signs = b + 34, *qh = b + 66;
    for (int j = 0; j < 16; j++) {
        float product[8];
        iq2_products(d, b + 74, j, product);
        for (int g = 2 * j; g < 2 * j + 2; g++) {
            const int number = qs[g] | (qh[g / 4] >> (2 * (g % 4)) & 3) << 8;
            group(2, 8, points[number], signs[g], product, y + 8 * g);
        }
    }
}

INLINE void block_IQ3_XXS(const uint8_t *restrict b, const uint16_t *points, float *restrict y) {
    const float d = half_at(b);
    const uint8_t *qs = b + 2;
    for (int j = 0; j < 8; j++) {
        const uint32_t packed = u32_at(b + 66 + 4 * j);
        float product[8];
        products(IQ3_XXS_VALUES, d * (0.5f + (float)(packed >> 28)) * 0.5f, product);
        for (int k = 0; k < 8; k++) {
            const uint32_t signs = eight_signs(packed >> (7 * (k / 2)) & 127);
            group(3, 4, points[qs[8 * j + k]], signs >> (4 * (k % 2)), product,
                  y + 32 * j + 4 * k);
        }
    }
}

INLINE void block_IQ3_S(const uint8_t *restrict b, const uint16_t *points, float *restrict y) {
    const float d = half_at(b);
    const uint8_t *qs = b + 2, *qh = b + 66, *signs = b + 74, *scales = b + 106;
    for (int j = 0; j < 8; j++) {
        const int scale = (scales[j / 2] >> (4 * (j % 2))) & 15;
        float product[8];
        products(IQ3_S_VALUES, d * (float)(1 + 2 * scale), product);
        for (int k = 0; k < 8; k++) {
            const int number = qs[8 * j + k] | (qh[j] >> k & 1) << 8;
            group(3, 4, points[number], (uint32_t)signs[4 * j + k / 2] >> (4 * (k % 2)), product,
                  y + 32 * j + 4 * k);
        }
    }
}

/* Eight weights scale * (level + shift), levels -1, 0, 1. */
INLINE void iq1_group(uint32_t pattern, float scale, float shift, float *y) {
    const float product[8] = {scale * (-1 + shift), scale * shift, scale * (1 + shift)};
    group(2, 8, pattern, 0, product, y);
}

INLINE void block_IQ1_S(const uint8_t *restrict b, const uint16_t *points, float *restrict y) {
    const float d = half_at(b);
    for (int j = 0; j < 8; j++) {
        const uint32_t qh = u16_at(b + 34 + 2 * j);
        const float scale = d * (float)(2 * (qh >> 12 & 7) + 1);
        for (int k = 0; k < 4; k++) {
            const uint32_t number = b[2 + 4 * j + k] | (qh >> (3 * k) & 7) << 8;
            iq1_group(points[number], scale, qh & 0x8000 ? -DELTA : DELTA, y + 32 * j + 8 * k);
        }
    }
}

INLINE void block_IQ1_M(const uint8_t *restrict b, const uint16_t *points, float *restrict y) {
    const uint8_t *qh = b + 32, *scales = b + 48;
    uint8_t half[2];
    half[0] = (uint8_t)(scales[1] >> 4 | (scales[3] & 0xf0));
    half[1] = (uint8_t)(scales[5] >> 4 | (scales[7] & 0xf0));
    const float d = half_at(half);
    for (int j = 0; j < 16; j++) {
        const uint32_t code = u16_at(scales + 2 * (j / 4)) >> (3 * (j % 4)) & 7;
        const float scale = d * (float)(2 * code + 1);
        for (int k = 0; k < 2; k++) {
            const uint32_t high = qh[j] >> (4 * k);
            const uint32_t number = b[2 * j + k] | (high & 7) << 8;
            iq1_group(points[number], scale, high & 8 ? -DELTA : DELTA, y + 16 * j + 8 * k);
        }
    }
}

#define GRID_DECODER(name, type_size)                                                    \
    EXPORT void decode_##name(const uint8_t *data, float *out, int64_t n_blocks,         \
                              const uint16_t *points) {                                  \
        for (int64_t i = 0; i < n_blocks; i++)                                           \
            block_##name(data + i * (type_size), points, out + i * 256);                 \
    }

GRID_DECODER(IQ2_XXS, 66)
GRID_DECODER(IQ2_XS, 74)
GRID_DECODER(IQ2_S, 82)
GRID_DECODER(IQ3_XXS, 98)
GRID_DECODER(IQ3_S, 110)
GRID_DECODER(IQ1_S, 50)
GRID_DECODER(IQ1_M, 56)
