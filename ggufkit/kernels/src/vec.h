/* One block per SIMD lane: the vector types and the few operations that all kernels share.
 *
 * A `vf` holds one float of each of LANES blocks, a `vi` one 32-bit integer. Every operation acts
 * on the lanes independently, so a lane sees exactly the scalar operation sequence that ggml's
 * reference encoder performs on its block: same order, same rounding, no fused multiply-add
 * (-ffp-contract=off). A branch of the reference becomes a mask and a select.
 *
 * All of it is written in the vector types of GCC and Clang, for every instruction set alike. */
#ifndef GGUFKIT_VEC_H
#define GGUFKIT_VEC_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4 /* SSE2, NEON */
#endif

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

INLINE vf vf_all(float s) { return s - (vf){0}; }
INLINE vi vi_all(int32_t s) { return s - (vi){0}; }

/* A comparison gives -1 (true) or 0 per lane. */
INLINE vf select_f(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
INLINE vi select_i(vi mask, vi yes, vi no) { return (mask & yes) | (~mask & no); }

INLINE int any(vi mask) {
    int32_t r = 0;
    for (int i = 0; i < LANES; i++) r |= mask[i];
    return r != 0;
}

/* a < b ? a : b lane by lane, hence b when either is NaN; max_f likewise. On x86 that is one
 * instruction, which GCC misses where loops are unrolled: the only intrinsics of the kernels. */
#if defined(__SSE2__)
#include <immintrin.h>
#if LANES == 16
#define X86(name) _mm512_##name
#elif LANES == 8
#define X86(name) _mm256_##name
#else
#define X86(name) _mm_##name
#endif
INLINE vf min_f(vf a, vf b) { return (vf)X86(min_ps)(a, b); }
INLINE vf max_f(vf a, vf b) { return (vf)X86(max_ps)(a, b); }
INLINE vf sqrt_f(vf a) { return (vf)X86(sqrt_ps)(a); }
#else
INLINE vf min_f(vf a, vf b) { return select_f(a < b, a, b); }
INLINE vf max_f(vf a, vf b) { return select_f(a > b, a, b); }
INLINE vf sqrt_f(vf a) {
    for (int i = 0; i < LANES; i++) a[i] = sqrtf(a[i]);
    return a;
}
#endif

#if LANES >= 8
typedef long long v64 __attribute__((vector_size(4 * LANES)));
INLINE vi min_i(vi a, int b) { return (vi)X86(min_epi32)((v64)a, (v64)vi_all(b)); }
INLINE vi max_i(vi a, int b) { return (vi)X86(max_epi32)((v64)a, (v64)vi_all(b)); }
#else
INLINE vi min_i(vi a, int b) { return select_i(a < b, a, vi_all(b)); }
INLINE vi max_i(vi a, int b) { return select_i(a > b, a, vi_all(b)); }
#endif
INLINE vi clamp_i(vi x, int lo, int hi) { return min_i(max_i(x, lo), hi); }

INLINE vf abs_f(vf a) { return (vf)((vi)a & 0x7fffffff); }
INLINE vf to_float(vi a) { return __builtin_convertvector(a, vf); }
INLINE vi to_int(vf a) { return __builtin_convertvector(a, vi); } /* towards zero */

/* 1.5 * 2^23: adding it leaves the nearest integer (ties to even) in the low mantissa bits. */
#define ROUND_MAGIC 12582912.f

/* ggml's nearest_int, for every input: beyond +-2^22 the masked bits mean something else, and
 * the reference encoders do get there with tiny scales. */
INLINE vi nearest_int(vf x) {
    return ((vi)(x + ROUND_MAGIC) & 0x007fffff) - 0x00400000;
}

/* The same value as a float, where |x| < 2^22 is known: no integer instruction at all. */
INLINE vf nearest_small(vf x) { return (x + ROUND_MAGIC) - ROUND_MAGIC; }

#define GROUP_MAX_EPS 1e-15f /* below this a block counts as all zero */

/* 1 / x, but 0 for x = 0: ggml's `d ? 1/d : 0`. */
INLINE vf reciprocal_or_0(vf x) { return (vf)((vi)(1.f / x) & (x != 0.f)); }

/* The same where ggml rounds x * id and converts: 1 / denormal is infinite there, and (int)inf
 * ends as 0 in a byte, just like an id of 0. */
INLINE vf finite_reciprocal_or_0(vf x) {
    const vf id = reciprocal_or_0(x);
    return (vf)((vi)id & (id <= FLT_MAX));
}

/* roundf: ties away from zero. Not to_int(x + 0.5): that rounds 0.49999997 up. */
INLINE vi round_away(vf x) {
    const vi t = to_int(x);
    const vf rest = x - to_float(t); /* exact */
    return t - (rest >= 0.5f) + (rest <= -0.5f); /* a true comparison is -1 */
}

/* IEEE float16 bits of x, ties to even.
 *
 *     float32  s eeeeeeee mmmmmmmmmm|mmmmmmmmmmmmm     exponent bias 127
 *     float16  s    eeeee mmmmmmmmmm                   exponent bias 15
 *
 * Normal: rebias, add half of the dropped 13 bits (less one where the kept part is even); a carry
 * moves into the exponent, and up to infinity. Below 2^-14 float16 is a multiple of 2^-24, which
 * is the last mantissa bit of 0.5: adding 0.5 rounds there. */
INLINE vi f16_from_f32(vf x) {
    const vi bits = (vi)x, a = bits & 0x7fffffff;
    vi h = (a - (112 << 23) + 0xfff + ((a >> 13) & 1)) >> 13;
    h = select_i(a < 0x38800000, (vi)((vf)a + 0.5f) - 0x3f000000, h);
    h = select_i(a >= 0x47800000, vi_all(0x7c00), h);
    h = select_i(a > 0x7f800000, vi_all(0x7e00), h);
    return h | ((bits >> 16) & 0x8000);
}

INLINE vf f32_from_f16(vi h) {
    const vi a = h & 0x7fff, sign = (h & 0x8000) << 16;
    vi f = (a << 13) + (112 << 23);
    f += (a >= 0x7c00) & (112 << 23);    /* infinity and NaN: exponent 255 */
    f |= (a > 0x7c00) & 0x00400000;      /* a NaN comes out quiet */
    f = select_i(a < 0x400, (vi)(to_float(a) * 0x1p-24f), f);
    return (vf)(f | sign);
}

/* What the decoder will read back: the value after its trip through float16. */
INLINE vf through_f16(vf x) { return f32_from_f16(f16_from_f32(x)); }

#endif
