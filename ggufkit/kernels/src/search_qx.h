/* make_qx_quants, make_q3_quants: scale of x ~ scale * l, l = -nmax..nmax-1, no min.
 *
 * Both put the weight of largest magnitude at -nmax and look for a better scale from there:
 * make_qx_quants tries 18 scales around it, make_q3_quants moves one level at a time. */
#ifndef GGUFKIT_SEARCH_QX_H
#define GGUFKIT_SEARCH_QX_H

#include "vec.h"

#define QX_BLOCK_MAX 32

typedef struct {
    vf scale;  /* what ggml returns */
    vf iscale; /* stored levels are nmax + nearest(iscale * x) ... */
    vi dead;   /* ... but 0 where all of x is (almost) zero */
} symmetric;

INLINE vi symmetric_level(const symmetric *s, vf x, int nmax) {
    return (clamp_i(nearest_int(s->iscale * x), -nmax, nmax - 1) + nmax) & ~s->dead;
}

/* The weight of largest magnitude, the first of equals, with its sign. */
INLINE vf largest(int n, const vf *x) {
    vf max = vf_all(0), amax = vf_all(0);
    for (int i = 0; i < n; i++) {
        const vf ax = abs_f(x[i]);
        max = select_f(ax > amax, x[i], max);
        amax = max_f(ax, amax);
    }
    return max;
}

/* |iscale * x| <= nmax + 1 in every lane that counts, so floats round it. */
INLINE vf signed_level(vf iscale, vf x, int nmax) {
    const vf l = max_f(nearest_small(iscale * x), vf_all((float)-nmax));
    return min_f(l, vf_all((float)(nmax - 1)));
}

INLINE symmetric make_qx_quants(int n, int nmax, const vf *x, const vf *w) {
    const vf max = largest(n, x);
    vf wx[QX_BLOCK_MAX], scale = vf_all(0), best = vf_all(0), best_iscale = vf_all(0);
    for (int i = 0; i < n; i++) wx[i] = w[i] * x[i];
    for (int step = 0; step <= 18; step++) {
        const int is = step == 0 ? 0 : step <= 9 ? step - 10 : step - 9; /* 0, -9..-1, 1..9 */
        const vf iscale = -((float)nmax + 0.1f * is) / max;
        vf sumlx = vf_all(0), suml2 = vf_all(0);
        for (int i = 0; i < n; i++) {
            const vf l = signed_level(iscale, x[i], nmax);
            sumlx += wx[i] * l;
            suml2 += w[i] * l * l;
        }
        const vf fit = sumlx / suml2;
        vi better = (suml2 > 0.f) & (sumlx * sumlx > best * suml2);
        if (step == 0) { /* the start is taken as it is */
            scale = (vf)((vi)fit & (suml2 != 0.f));
            best = scale * sumlx;
            best_iscale = iscale;
            continue;
        }
        scale = select_f(better, fit, scale);
        best = select_f(better, fit * sumlx, best);
        best_iscale = select_f(better, iscale, best_iscale);
    }
    const vi dead = abs_f(max) < GROUP_MAX_EPS;
    return (symmetric){(vf)((vi)scale & ~dead), best_iscale, dead};
}

/* Sub-blocks that make_q3_quants works on side by side: each is one long chain of dependent
 * operations, several keep the processor busy. */
#define Q3_ABREAST 4
enum { Q3_BLOCK = 16 };

/* One of them: weights w = x^2, the present levels and their sums. */
typedef struct {
    vf l[Q3_BLOCK], w[Q3_BLOCK], wx[Q3_BLOCK], sumlx, suml2;
    vi dead;
} q3_state;

INLINE void q3_start(int nmax, const vf *x, q3_state *s) {
    const vf max = largest(Q3_BLOCK, x), iscale = (float)-nmax / max;
    s->dead = abs_f(max) < GROUP_MAX_EPS;
    s->sumlx = s->suml2 = vf_all(0);
    for (int i = 0; i < Q3_BLOCK; i++) {
        s->l[i] = signed_level(iscale, x[i], nmax);
        s->w[i] = x[i] * x[i];
        s->wx[i] = s->w[i] * x[i];
        s->sumlx += s->wx[i] * s->l[i];
        s->suml2 += s->w[i] * s->l[i] * s->l[i];
    }
}

/* Move level i to what is best for it alone, where that is a gain; returns where it moved. */
INLINE vi q3_move(int nmax, vf x, int i, q3_state *s) {
    const vf l = s->l[i], w = s->w[i], wx = s->wx[i];
    vf slx = s->sumlx - wx * l, sl2 = s->suml2 - w * l * l;
    vi take = slx > 0.f;
    const vf new_l = to_float(clamp_i(nearest_int(x * sl2 / slx), -nmax, nmax - 1));
    take &= new_l != l;
    slx += wx * new_l;
    sl2 += w * new_l * new_l;
    take &= (sl2 > 0.f) & (slx * slx * s->suml2 > s->sumlx * s->sumlx * sl2);
    s->l[i] = select_f(take, new_l, l);
    s->sumlx = select_f(take, slx, s->sumlx);
    s->suml2 = select_f(take, sl2, s->suml2);
    return take;
}

/* Q3_ABREAST consecutive sub-blocks; L gets the stored levels 0..2*nmax-1. A lane that changed
 * nothing in a round changes nothing in the next: it may run along until all lanes are done. */
INLINE void make_q3_quants(int nmax, const vf *x, vi *L, vf *scales) {
    q3_state s[Q3_ABREAST];
    for (int j = 0; j < Q3_ABREAST; j++) q3_start(nmax, x + Q3_BLOCK * j, &s[j]);
    vi changed = vi_all(-1);
    for (int round = 0; round < 5 && any(changed); round++) {
        changed = vi_all(0);
        for (int i = 0; i < Q3_BLOCK; i++)
#pragma GCC unroll 4
            for (int j = 0; j < Q3_ABREAST; j++)
                changed |= q3_move(nmax, x[Q3_BLOCK * j + i], i, &s[j]) & ~s[j].dead;
    }
    for (int j = 0; j < Q3_ABREAST; j++) {
        for (int i = 0; i < Q3_BLOCK; i++)
            L[Q3_BLOCK * j + i] = (to_int(s[j].l[i]) + nmax) & ~s[j].dead;
        const vi some = (s[j].suml2 > 0.f) & ~s[j].dead;
        scales[j] = (vf)((vi)(s[j].sumlx / s[j].suml2) & some);
    }
}

#endif
