/* F16 and BF16 <-> float32, to the nearest, ties to even; ggml_fp32_to_fp16_row and friends.
 *
 * A NaN becomes a quiet NaN of the same sign: F16 drops its payload, BF16 keeps the upper part.
 * Here a lane holds one weight: LANES consecutive ones are a vector. */
#include "vec.h"

typedef uint16_t v16 __attribute__((vector_size(2 * LANES)));

INLINE vi bf16_from_f32(vf x) {
    const vi bits = (vi)x;
    const vi rounded = (bits + (0x7fff + ((bits >> 16) & 1))) >> 16;
    return select_i((bits & 0x7fffffff) > 0x7f800000, (bits >> 16) | 64, rounded);
}

INLINE vf f32_from_bf16(vi h) { return (vf)(h << 16); }

/* `left` <= LANES floats to halves. */
INLINE void narrow_some(vi (*convert)(vf), const float *x, uint8_t *out, size_t left) {
    vf v = vf_all(0);
    memcpy(&v, x, 4 * left);
    const v16 h = __builtin_convertvector(convert(v) & 0xffff, v16);
    memcpy(out, &h, 2 * left);
}

INLINE void widen_some(vf (*convert)(vi), const uint8_t *data, float *out, size_t left) {
    v16 h = {0};
    memcpy(&h, data, 2 * left);
    const vf v = convert(__builtin_convertvector(h, vi));
    memcpy(out, &v, 4 * left);
}

INLINE void narrow(vi (*convert)(vf), const float *x, uint8_t *out, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) narrow_some(convert, x + i, out + 2 * i, LANES);
    narrow_some(convert, x + i, out + 2 * i, (size_t)(n - i));
}

INLINE void widen(vf (*convert)(vi), const uint8_t *data, float *out, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) widen_some(convert, data + 2 * i, out + i, LANES);
    widen_some(convert, data + 2 * i, out + i, (size_t)(n - i));
}

EXPORT void encode_F16(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                       int64_t n_cols) {
    (void)importance;
    narrow(f16_from_f32, rows, out, n_rows * n_cols);
}

EXPORT void encode_BF16(const float *rows, const float *importance, uint8_t *out, int64_t n_rows,
                        int64_t n_cols) {
    (void)importance;
    narrow(bf16_from_f32, rows, out, n_rows * n_cols);
}

EXPORT void decode_F16(const uint8_t *data, float *out, int64_t n) {
    widen(f32_from_f16, data, out, n);
}

EXPORT void decode_BF16(const uint8_t *data, float *out, int64_t n) {
    widen(f32_from_bf16, data, out, n);
}
