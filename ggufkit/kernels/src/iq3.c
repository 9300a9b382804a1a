/* IQ3_XXS and IQ3_S: 256 weights in sub-blocks of 32; groups of 4 levels of 3 bits are points of
 * a grid.
 *
 *     IQ3_XXS  | d: f16 | qs: 64 bytes | scales_and_signs: 8 x u32 |                     98 bytes
 *     IQ3_S    | d: f16 | qs: 64 bytes | qh: 8 bytes | signs: 32 | scales: 4 bytes |    110 bytes
 *
 * qs: the (lower 8 bits of the) point numbers. IQ3_XXS: a u32 has 4 x 7 signs, the eighth making
 * their number even, and the scale in bits 28-31. IQ3_S: qh bit i of byte b is the ninth bit of
 * group 8*b + i; scales has a nibble per sub-block, low nibble first.
 *
 * quantize_row_iq3_xxs_impl and quantize_row_iq3_s_impl of ggml-quants.c. */
#include "grid_search.h"

static const grid_kind XXS = {3, 4, 32, 8, 15, 0.2f, OFF_GRID};
static const grid_kind S = {3, 4, 32, 8, 9, 0.2f, ALL_IF_ANY_OFF_GRID};

typedef struct {
    vi numbers[64], signs[32];
    vf scales[8];
    vi live[8];
} found;

INLINE void search_32(found *f, const grid_kind *kind, const grid *points, const vf *x,
                      const vf *importance, int parity) {
    vf sum_x2 = vf_all(0);
    for (int i = 0; i < 256; i++) sum_x2 += x[i] * x[i];
    const vf sigma2 = 2.f * sum_x2 / 256.f;
    for (int b = 0; b < 8; b++) {
        const vf *xs = x + 32 * b;
        vf w[32], a[32];
        vi *signs = f->signs + 4 * b;
        for (int i = 0; i < 32; i++)
            w[i] = importance ? importance[32 * b + i] * sqrt_f(sigma2 + xs[i] * xs[i])
                              : xs[i] * xs[i];
        split_signs(32, xs, a, signs);
        if (parity) fix_parity(32, xs, w, a, signs);
        const vf max = maximum(32, a);
        const vi live = parity ? ~(max < 1e-8f) : max != 0.f;
        sub_block s;
        prepare(&s, 32, points, a, w);
        grid_fit fit = search_grid(kind, &s, max, max / 15.f, live);
        const vi negative = fit.scale < 0.f;
        f->scales[b] = abs_f(fit.scale);
        f->live[b] = live;
        for (int k = 0; k < 4; k++) signs[k] = (signs[k] ^ (negative & (parity ? 127 : 255))) & live;
        for (int k = 0; k < 8; k++)
            f->numbers[8 * b + k] = point_numbers(points, fit.u[k]) & live;
    }
}

INLINE void encode_xxs(const grid *points, const vf *x, const vf *importance, uint8_t *out, int n) {
    vi words[24], codes[8];
    found f;
    search_32(&f, &XXS, points, x, importance, 1);
    const vf d = code_scales(8, f.scales, 31, 16, codes);
    const vi some = d != 0.f;
    for (int k = 0; k < 16; k++) words[k] = word4(f.numbers + 4 * k) & some;
    for (int b = 0; b < 8; b++) {
        const vi *s = f.signs + 4 * b;
        words[16 + b] = (s[0] | (s[1] << 7) | (s[2] << 14) | (s[3] << 21) | (codes[b] << 28)) & some;
    }
    store_half(f16_from_f32(d * 1.0125f), out, 98, n);
    store_words(words, 24, out + 2, 98, n);
}

/* ggml skips an all-zero sub-block without advancing in qs and signs: what follows moves up. */
INLINE void close_gaps(const vi *live, vi *qs, vi *signs) {
    vi every = vi_all(-1);
    for (int b = 0; b < 8; b++) every &= live[b];
    if (!any(~every)) return;
    for (int i = 0; i < LANES; i++) {
        int to = 0;
        for (int b = 0; b < 8; b++) {
            if (!live[b][i]) continue;
            qs[2 * to][i] = qs[2 * b][i];
            qs[2 * to + 1][i] = qs[2 * b + 1][i];
            signs[to++][i] = signs[b][i];
        }
        for (; to < 8; to++) qs[2 * to][i] = qs[2 * to + 1][i] = signs[to][i] = 0;
    }
}

INLINE void encode_s(const grid *points, const vf *x, const vf *importance, uint8_t *out, int n) {
    enum { QH = 16, SIGNS = 18, SCALES = 26, WORDS = 27 };
    vi words[WORDS], codes[8], high[8], scales[4];
    found f;
    search_32(&f, &S, points, x, importance, 0);
    const vf d = code_scales(8, f.scales, 31, 16, codes);
    for (int b = 0; b < 8; b++) {
        vi *numbers = f.numbers + 8 * b;
        high[b] = vi_all(0);
        for (int k = 0; k < 8; k++) {
            high[b] |= (numbers[k] >> 8) << k;
            numbers[k] &= 255;
        }
        words[2 * b] = word4(numbers);
        words[2 * b + 1] = word4(numbers + 4);
        words[SIGNS + b] = word4(f.signs + 4 * b);
    }
    close_gaps(f.live, words, words + SIGNS);
    for (int k = 0; k < 4; k++) scales[k] = codes[2 * k] | (codes[2 * k + 1] << 4);
    words[QH] = word4(high);
    words[QH + 1] = word4(high + 4);
    words[SCALES] = word4(scales);
    store_half(f16_from_f32(d * 1.033f), out, 110, n);
    store_words(words, WORDS, out + 2, 110, n);
}

GRID_ENCODER(IQ3_XXS, encode_xxs, 98)
GRID_ENCODER(IQ3_S, encode_s, 110)
