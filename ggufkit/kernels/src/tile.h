/* Blocks in memory <-> lanes: a tile is LANES consecutive blocks, transposed.
 *
 *     memory   block 0: x0 x1 x2 ...      tile   x[0]: x0 of every block
 *              block 1: x0 x1 x2 ...             x[1]: x1 of every block
 *
 * The way back works on 32-bit words: a kernel builds the block's bytes as vectors of words. */
#ifndef GGUFKIT_TILE_H
#define GGUFKIT_TILE_H

#include "vec.h"

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

/* zip_lo(a, b) = a0 b0 a1 b1 ...; zip_hi continues with the upper halves. */
#if LANES == 16
#define ZIP_LO(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HI(a, b) SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define LOG2_LANES 4
#elif LANES == 8
#define ZIP_LO(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HI(a, b) SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOG2_LANES 3
#else
#define ZIP_LO(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define ZIP_HI(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#define LOG2_LANES 2
#endif

/* Transpose LANES x LANES words: log2(LANES) rounds of zipping row i with row i + LANES/2. */
INLINE void transpose(vi r[LANES]) {
#pragma GCC unroll 4
    for (int round = 0; round < LOG2_LANES; round++) {
        vi t[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            t[2 * i] = ZIP_LO(r[i], r[i + LANES / 2]);
            t[2 * i + 1] = ZIP_HI(r[i], r[i + LANES / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) r[i] = t[i];
    }
}

/* Where each lane's block begins. */
typedef struct {
    const float *lane[LANES];
} blocks_at;

/* x[p] = position p of every lane's block; `size` is a multiple of 16. */
INLINE void load_tile(const blocks_at *at, int size, vf *x) {
    for (int p = 0; p < size; p += LANES) {
        vi r[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) memcpy(&r[i], at->lane[i] + p, sizeof(vi));
        transpose(r);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) x[p + i] = (vf)r[i];
    }
}

/* Write `n_words` words of each of the first `n` lanes at out + lane * stride. */
INLINE void store_words(const vi *words, int n_words, uint8_t *out, int stride, int n) {
    for (int w = 0; w < n_words; w += LANES) {
        const int left = n_words - w < LANES ? n_words - w : LANES;
        vi r[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) r[i] = i < left ? words[w + i] : vi_all(0);
        transpose(r);
        if (n == LANES) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                memcpy(out + i * stride + 4 * w, &r[i], (size_t)left * 4);
        } else {
            for (int i = 0; i < n; i++) memcpy(out + i * stride + 4 * w, &r[i], (size_t)left * 4);
        }
    }
}

/* Write the low 16 bits of each lane (little-endian, like every target). */
INLINE void store_half(vi half, uint8_t *out, int stride, int n) {
    for (int i = 0; i < n; i++) {
        const uint16_t h = (uint16_t)half[i];
        memcpy(out + i * stride, &h, 2);
    }
}

/* Four bytes 0..255 per lane, packed to a little-endian word. */
INLINE vi word4(const vi b[4]) { return b[0] | (b[1] << 8) | (b[2] << 16) | (b[3] << 24); }

/* 128 levels of 2 bits to 8 words: byte l holds those of weights l, l + 32, l + 64, l + 96. */
INLINE void pack_2_bits(const vi *q, vi *words) {
    vi b[32];
    for (int l = 0; l < 32; l++) b[l] = q[l] | (q[l + 32] << 2) | (q[l + 64] << 4) | (q[l + 96] << 6);
    for (int k = 0; k < 8; k++) words[k] = word4(b + 4 * k);
}

/* Encode one tile: x and w (NULL without importance) are transposed; `n` lanes are wanted. */
typedef void encode_tile(const vf *x, const vf *w, uint8_t *out, int n);

static const float no_block[256] = {0}; /* what idle lanes read */

INLINE int lanes_left(int64_t n) { return n < LANES ? (int)n : LANES; }

/* n consecutive blocks. */
INLINE void load_blocks(const float *first, int n, int size, vf *x) {
    blocks_at at;
    for (int i = 0; i < LANES; i++) at.lane[i] = i < n ? first + i * size : no_block;
    load_tile(&at, size, x);
}

/* The importance of the n blocks from number `block` on: one float per column, for every row. */
INLINE void load_importance(const float *importance, int64_t block, int n, int size,
                            int64_t n_cols, vf *w) {
    blocks_at at;
    for (int i = 0; i < LANES; i++)
        at.lane[i] = i < n ? importance + (block + i) * size % n_cols : no_block;
    load_tile(&at, size, w);
}

/* Run `encode` over all blocks of C-contiguous rows. */
INLINE void encode_blocks(encode_tile *encode, int block_size, int type_size, const float *rows,
                          const float *importance, uint8_t *out, int64_t n_rows, int64_t n_cols) {
    const int64_t n_blocks = n_rows * (n_cols / block_size);
    vf x[256], w[256];
    for (int64_t b = 0; b < n_blocks; b += LANES) {
        const int n = lanes_left(n_blocks - b);
        load_blocks(rows + b * block_size, n, block_size, x);
        if (importance) load_importance(importance, b, n, block_size, n_cols, w);
        encode(x, importance ? w : NULL, out + b * type_size, n);
    }
}

#endif
