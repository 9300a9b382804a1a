/* Decoders of the types of 4 bits and less without a grid: layouts in iq4.c, fp4.c, ternary.c and
 * q1_q2_0.c. ggml's dequantize_row_iq4_nl and so on. */
#include "decode.h"

static const int8_t IQ4_LEVELS[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t FP4_LEVELS[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 32 weights from 16 bytes of indices: each product once, then looked up. */
INLINE void look_up(const int8_t *levels, float d, const uint8_t *qs, float *y) {
    float product[16];
    for (int k = 0; k < 16; k++) product[k] = d * (float)levels[k];
    for (int j = 0; j < 16; j++) {
        y[j] = product[qs[j] & 15];
        y[j + 16] = product[qs[j] >> 4];
    }
}

INLINE void block_IQ4_NL(const uint8_t *restrict b, float *restrict y) {
    look_up(IQ4_LEVELS, half_at(b), b + 2, y);
}

INLINE void block_IQ4_XS(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b);
    for (int k = 0; k < 8; k++) {
        const int low = (b[4 + k / 2] >> (4 * (k % 2))) & 15;
        const int high = (b[2 + k / 4] >> (2 * (k % 4))) & 3;
        look_up(IQ4_LEVELS, d * (float)((low | high << 4) - 32), b + 8 + 16 * k, y + 32 * k);
    }
}

INLINE void block_MXFP4(const uint8_t *restrict b, float *restrict y) {
    const uint32_t e = b[0], bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
    float d;
    memcpy(&d, &bits, 4);
    look_up(FP4_LEVELS, d, b + 1, y);
}

/* d / 2 of an unsigned float, 4 exponent bits and 3 mantissa bits. */
INLINE float half_of_ue4m3(uint8_t code) {
    const uint32_t exponent = code >> 3, mantissa = code & 7;
    const uint32_t bits = (exponent % 16 + 127 - 8) << 23 | mantissa << 20;
    float d;
    memcpy(&d, &bits, 4);
    if (exponent % 16 == 0) d = (float)mantissa * 0x1p-10f;
    return code == 0x7f ? 0.f : d;
}

INLINE void block_NVFP4(const uint8_t *restrict b, float *restrict y) {
    for (int s = 0; s < 4; s++) {
        const float d = half_of_ue4m3(b[s]);
        const uint8_t *qs = b + 4 + 8 * s;
        for (int j = 0; j < 8; j++) {
            y[16 * s + j] = d * (float)FP4_LEVELS[qs[j] & 15];
            y[16 * s + j + 8] = d * (float)FP4_LEVELS[qs[j] >> 4];
        }
    }
}

INLINE void block_Q1_0(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b);
    uint32_t bits, signs[128];
    memcpy(&bits, &d, 4);
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 8; k++) signs[8 * i + k] = bits ^ (~((uint32_t)b[2 + i] >> k) << 31);
    memcpy(y, signs, sizeof signs);
}

INLINE void block_Q2_0(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b);
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 4; k++) y[4 * i + k] = (float)((b[2 + i] >> (2 * k) & 3) - 1) * d;
}

INLINE void block_TQ2_0(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b + 64);
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++)
            for (int l = 0; l < 32; l++)
                y[128 * h + 32 * k + l] = (float)(((b[32 * h + l] >> (2 * k)) & 3) - 1) * d;
}

/* Digit k of `n` bytes: multiplying the fraction by 3^k, modulo 1, brings it to the front. */
INLINE void ternary(const uint8_t *q, int n, int n_digits, float d, float *y) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    for (int k = 0; k < n_digits; k++)
        for (int l = 0; l < n; l++) {
            const uint8_t rest = (uint8_t)(q[l] * power[k]);
            y[n * k + l] = (float)((rest * 3 >> 8) - 1) * d;
        }
}

INLINE void block_TQ1_0(const uint8_t *restrict b, float *restrict y) {
    const float d = half_at(b + 52);
    ternary(b, 32, 5, d, y);
    ternary(b + 32, 16, 5, d, y + 160);
    ternary(b + 48, 4, 4, d, y + 240);
}

DECODER(IQ4_NL, 32, 18)
DECODER(IQ4_XS, 256, 136)
DECODER(MXFP4, 32, 17)
DECODER(TQ1_0, 256, 54)
DECODER(TQ2_0, 256, 66)
DECODER(NVFP4, 64, 36)
DECODER(Q1_0, 128, 18)
DECODER(Q2_0, 64, 18)
