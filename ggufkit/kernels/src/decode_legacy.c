/* Decoders of the blocks of 32: layouts in q4_q5.c, q8_0.c. ggml's dequantize_row_q4_0 and so on. */
#include "decode.h"

/* Levels of Q4_0 .. Q5_1, from qh (NULL for 4 bits) and qs. */
INLINE void levels(const uint8_t *qh, const uint8_t *qs, int32_t *q) {
    uint32_t high = 0;
    if (qh) memcpy(&high, qh, 4);
    for (int j = 0; j < 16; j++) {
        q[j] = (qs[j] & 15) | (int32_t)((high >> j) & 1) << 4;
        q[j + 16] = (qs[j] >> 4) | (int32_t)((high >> (j + 16)) & 1) << 4;
    }
}

INLINE void block_Q4_0(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b);
    int32_t q[32];
    levels(NULL, b + 2, q);
    for (int j = 0; j < 32; j++) y[j] = (float)(q[j] - 8) * d;
}

INLINE void block_Q4_1(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b), m = half_at(b + 2);
    int32_t q[32];
    levels(NULL, b + 4, q);
    for (int j = 0; j < 32; j++) y[j] = (float)q[j] * d + m;
}

INLINE void block_Q5_0(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b);
    int32_t q[32];
    levels(b + 2, b + 6, q);
    for (int j = 0; j < 32; j++) y[j] = (float)(q[j] - 16) * d;
}

INLINE void block_Q5_1(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b), m = half_at(b + 2);
    int32_t q[32];
    levels(b + 4, b + 8, q);
    for (int j = 0; j < 32; j++) y[j] = (float)q[j] * d + m;
}

INLINE void block_Q8_0(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b);
    const int8_t *q = (const int8_t *)(b + 2);
    for (int j = 0; j < 32; j++) y[j] = (float)q[j] * d;
}

DECODER(Q4_0, 32, 18)
DECODER(Q4_1, 32, 20)
DECODER(Q5_0, 32, 22)
DECODER(Q5_1, 32, 24)
DECODER(Q8_0, 32, 34)
