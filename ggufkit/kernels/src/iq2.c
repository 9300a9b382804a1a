/* IQ2_XXS, IQ2_XS, IQ2_S: 256 weights; groups of 8 levels of 2 bits are points of a grid.
 *
 *     IQ2_XXS  | d: f16 | qs: 8 x (4 bytes, u32) |                                     66 bytes
 *     IQ2_XS   | d: f16 | qs: 32 x u16 | scales: 8 bytes |                             74 bytes
 *     IQ2_S    | d: f16 | qs: 32 bytes | signs: 32 bytes | qh: 8 bytes | scales: 8 |   82 bytes
 *
 * IQ2_XXS: sub-blocks of 32; the 4 bytes are point numbers, the u32 has 4 x 7 signs and, in
 * bits 28-31, the scale. IQ2_XS: sub-blocks of 16; a u16 is a point's number (9 bits) and 7 signs.
 * IQ2_S: the same with all 8 signs; qh has the upper two bits of the point numbers. scales: a
 * nibble per sub-block of 16, low nibble first. Bit i of signs is weight i; the eighth of 7 signs
 * makes their number even.
 *
 * quantize_row_iq2_xxs_impl, _iq2_xs_impl and _iq2_s_impl of ggml-quants.c. */
#include "grid_search.h"
#include "search_qp.h"

static const grid_kind XXS = {2, 8, 32, 3, 6, 0.1f, ALWAYS};
static const grid_kind XS = {2, 8, 16, 3, 9, 0.1f, OFF_GRID};

INLINE void negate_scale(vf *scale, vi *signs, int n, int mask) {
    const vi negative = *scale < 0.f;
    *scale = abs_f(*scale);
    for (int k = 0; k < n; k++) signs[k] ^= negative & mask;
}

INLINE void encode_xxs(const grid *points, const vf *x, const vf *importance, uint8_t *out, int n) {
    vf sum_x2 = vf_all(0), scales[8];
    vi words[16], codes[8];
    for (int i = 0; i < 256; i++) sum_x2 += x[i] * x[i];
    const vf sigma2 = sum_x2 / 256.f;
    for (int b = 0; b < 8; b++) {
        const vf *xs = x + 32 * b;
        vf w[32], a[32];
        vi signs[4], start[32];
        for (int i = 0; i < 32; i++)
            w[i] = importance[32 * b + i] * sqrt_f(sigma2 + xs[i] * xs[i]);
        split_signs(32, xs, a, signs);
        fix_parity(32, xs, w, a, signs);
        vi live = ~(maximum(32, a) < GROUP_MAX_EPS);
        const vf scale = make_qp_quants(32, 4, a, start, w), effective_max = scale * 3.f;
        live &= ~(effective_max <= 0.f);

        sub_block s;
        prepare(&s, 32, points, a, w);
        grid_fit fit = search_grid(&XXS, &s, effective_max, scale, live);
        negate_scale(&fit.scale, signs, 4, 127);
        scales[b] = fit.scale;
        vi numbers[4], packed = vi_all(0);
        for (int k = 0; k < 4; k++) {
            numbers[k] = point_numbers(points, fit.u[k]) & live;
            packed |= (signs[k] & live) << (7 * k);
        }
        words[2 * b] = word4(numbers);
        words[2 * b + 1] = packed;
    }
    const vf d = code_scales(8, scales, 31, 16, codes);
    const vi some = d != 0.f;
    for (int b = 0; b < 8; b++) words[2 * b + 1] |= codes[b] << 28;
    store_half(f16_from_f32(d), out, 66, n);
    for (int k = 0; k < 16; k++) words[k] &= some;
    store_words(words, 16, out + 2, 66, n);
}

/* What IQ2_XS and IQ2_S share: numbers and signs of 32 groups, scales of 16 sub-blocks. */
typedef struct {
    vi numbers[32], signs[32];
    vf scales[16];
} found;

INLINE void search_16(found *f, const grid *points, const vf *x, const vf *weights, int parity,
                      float eps) {
    for (int b = 0; b < 16; b++) {
        const vf *xs = x + 16 * b, *w = weights + 16 * b;
        vf a[16];
        vi *signs = f->signs + 2 * b;
        split_signs(16, xs, a, signs);
        if (parity) fix_parity(16, xs, w, a, signs);
        const vf max = maximum(16, a);
        const vi live = ~(max < eps);
        sub_block s;
        prepare(&s, 16, points, a, w);
        grid_fit fit = search_grid(&XS, &s, max, max / 5.f, live);
        negate_scale(&fit.scale, signs, 2, parity ? 127 : 255);
        f->scales[b] = fit.scale;
        for (int k = 0; k < 2; k++) {
            f->numbers[2 * b + k] = point_numbers(points, fit.u[k]) & live;
            signs[k] &= live;
        }
    }
}

/* Two words: a nibble per sub-block. */
INLINE void pack_codes(const vi *codes, vi *words) {
    vi b[8];
    for (int k = 0; k < 8; k++) b[k] = codes[2 * k] | (codes[2 * k + 1] << 4);
    words[0] = word4(b);
    words[1] = word4(b + 4);
}

INLINE void encode_xs(const grid *points, const vf *x, const vf *importance, uint8_t *out, int n) {
    vf sum_x2 = vf_all(0), w[256];
    vi words[18], codes[16];
    found f;
    for (int i = 0; i < 256; i++) sum_x2 += x[i] * x[i];
    const vf sigma2 = sum_x2 / 256.f;
    for (int i = 0; i < 256; i++) w[i] = importance[i] * sqrt_f(sigma2 + x[i] * x[i]);
    search_16(&f, points, x, w, 1, GROUP_MAX_EPS);
    const vf d = code_scales(16, f.scales, 31, 16, codes);
    for (int k = 0; k < 16; k++) {
        const vi lo = f.numbers[2 * k] | (f.signs[2 * k] << 9);
        const vi hi = f.numbers[2 * k + 1] | (f.signs[2 * k + 1] << 9);
        words[k] = (lo | (hi << 16)) & (d != 0.f);
    }
    pack_codes(codes, words + 16);
    store_half(f16_from_f32(d), out, 74, n);
    store_words(words, 18, out + 2, 74, n);
}

INLINE void encode_s(const grid *points, const vf *x, const vf *importance, uint8_t *out, int n) {
    vf sum_x2 = vf_all(0), w[256];
    vi words[20], codes[16], high[8];
    found f;
    for (int i = 0; i < 256; i++) sum_x2 += x[i] * x[i];
    const vf sigma2 = 2.f * sum_x2 / 256.f;
    for (int i = 0; i < 256; i++)
        w[i] = importance ? importance[i] * sqrt_f(sigma2 + x[i] * x[i])
                          : 0.25f * sigma2 + x[i] * x[i];
    search_16(&f, points, x, w, 0, 1e-8f);
    const vf d = code_scales(16, f.scales, 31, 16, codes);
    for (int k = 0; k < 8; k++) {
        high[k] = vi_all(0);
        for (int i = 0; i < 4; i++) {
            high[k] |= (f.numbers[4 * k + i] >> 8) << (2 * i);
            f.numbers[4 * k + i] &= 255;
        }
        words[k] = word4(f.numbers + 4 * k);
        words[8 + k] = word4(f.signs + 4 * k);
    }
    words[16] = word4(high);
    words[17] = word4(high + 4);
    pack_codes(codes, words + 18);
    store_half(f16_from_f32(d * 0.9875f), out, 82, n);
    store_words(words, 20, out + 2, 82, n);
}

GRID_ENCODER(IQ2_XXS, encode_xxs, 66)
GRID_ENCODER(IQ2_XS, encode_xs, 74)
GRID_ENCODER(IQ2_S, encode_s, 82)
