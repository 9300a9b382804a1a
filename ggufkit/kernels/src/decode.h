/* Decoders work block by block: their loops over a block's weights vectorize as they are. */
#ifndef GGUFKIT_DECODE_H
#define GGUFKIT_DECODE_H

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))

/* A float16 at any address; see f32_from_f16 in vec.h for the bits. */
INLINE float half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    const uint32_t a = h & 0x7fffu, sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t f = (a << 13) + (112u << 23);
    if (a < 0x400) {
        const float tiny = (float)a * 0x1p-24f;
        memcpy(&f, &tiny, 4);
    } else if (a >= 0x7c00) {
        f += 112u << 23;
        if (a > 0x7c00) f |= 0x00400000u;
    }
    f |= sign;
    float y;
    memcpy(&y, &f, 4);
    return y;
}

/* decode_NAME(data, out, n_blocks), from a function that decodes one block. */
#define DECODER(name, block_size, type_size)                                        \
    EXPORT void decode_##name(const uint8_t *data, float *out, int64_t n_blocks) {  \
        for (int64_t i = 0; i < n_blocks; i++)                                      \
            block_##name(data + i * (type_size), out + i * (block_size));           \
    }

#endif
