/* Decoders of the K-quants: layouts in q2_k.c, q3_k.c, q4_q5_k.c, q6_k.c. ggml's
 * dequantize_row_q2_K and so on. */
#include "decode.h"

INLINE void block_Q2_K(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int j = 0; j < 16; j++) {
        const uint8_t *qs = b + 16 + 32 * (j / 8) + 16 * (j % 2);
        const int shift = 2 * (j % 8 / 2);
        const float dl = d * (float)(b[j] & 15), ml = dmin * (float)(b[j] >> 4);
        for (int l = 0; l < 16; l++) y[16 * j + l] = dl * (float)((qs[l] >> shift) & 3) - ml;
    }
}

INLINE void block_Q3_K(const uint8_t *restrict b, float *restrict y) {
    const uint8_t *sc = b + 96;
    const float d = half_at(b + 108);
    for (int j = 0; j < 16; j++) {
        const int low = j < 8 ? sc[j] & 15 : sc[j - 8] >> 4;
        const int scale = low | ((sc[8 + j % 4] >> (2 * (j / 4))) & 3) << 4;
        const uint8_t *hmask = b + 16 * (j % 2), *qs = b + 32 + 32 * (j / 8) + 16 * (j % 2);
        const int shift = 2 * (j % 8 / 2), bit = j / 2;
        const float dl = d * (float)(scale - 32);
        for (int l = 0; l < 16; l++) {
            const int q = ((qs[l] >> shift) & 3) | ((hmask[l] >> bit) & 1) << 2;
            y[16 * j + l] = dl * (float)(q - 4);
        }
    }
}

/* Scale and min of sub-block j in the 12 bytes of Q4_K and Q5_K. */
INLINE void scale_min(const uint8_t *s, int j, int *scale, int *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

INLINE void block_Q4_Q5_K(const uint8_t *restrict b, float *restrict y, int bits) {
    const float d = half_at(b), dmin = half_at(b + 2);
    const uint8_t *qh = b + 16, *qs = bits == 5 ? b + 48 : b + 16;
    for (int j = 0; j < 8; j++) {
        int scale, min;
        scale_min(b + 4, j, &scale, &min);
        const float dl = d * (float)scale, ml = dmin * (float)min;
        const uint8_t *q4 = qs + 32 * (j / 2);
        const int shift = 4 * (j % 2);
        for (int l = 0; l < 32; l++) {
            int q = (q4[l] >> shift) & 15;
            if (bits == 5) q |= ((qh[l] >> j) & 1) << 4;
            y[32 * j + l] = dl * (float)q - ml;
        }
    }
}

INLINE void block_Q4_K(const uint8_t *restrict b, float *restrict y) { block_Q4_Q5_K(b, y, 4); }
INLINE void block_Q5_K(const uint8_t *restrict b, float *restrict y) { block_Q4_Q5_K(b, y, 5); }

INLINE void block_Q6_K(const uint8_t *restrict b, float *restrict y) {
    const int8_t *scales = (const int8_t *)(b + 192);
    const float d = half_at(b + 208);
    for (int j = 0; j < 16; j++) {
        const int h = j / 8, k = j % 8 / 2, odd = 16 * (j % 2);
        const uint8_t *ql = b + 64 * h + 32 * (k % 2) + odd, *qh = b + 128 + 32 * h + odd;
        const float dl = d * (float)scales[j];
        for (int l = 0; l < 16; l++) {
            const int q = ((ql[l] >> (4 * (k / 2))) & 15) | ((qh[l] >> (2 * k)) & 3) << 4;
            y[16 * j + l] = dl * (float)(q - 32);
        }
    }
}

DECODER(Q2_K, 256, 84)
DECODER(Q3_K, 256, 110)
DECODER(Q4_K, 256, 144)
DECODER(Q5_K, 256, 176)
DECODER(Q6_K, 256, 210)
