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

/* Weights x^2; L gets the stored levels 0..2*nmax-1. A lane that changed nothing in a round
 * changes nothing in the next: it may run along until all lanes are done. */
INLINE vf make_q3_quants(int n, int nmax, const vf *x, vi *L) {
    const vf max = largest(n, x), iscale = (float)-nmax / max;
    const vi dead = abs_f(max) < GROUP_MAX_EPS;
    vf l[QX_BLOCK_MAX], w[QX_BLOCK_MAX], wx[QX_BLOCK_MAX];
    vf sumlx = vf_all(0), suml2 = vf_all(0);
    for (int i = 0; i < n; i++) {
        l[i] = signed_level(iscale, x[i], nmax);
        w[i] = x[i] * x[i];
        wx[i] = w[i] * x[i];
        sumlx += wx[i] * l[i];
        suml2 += w[i] * l[i] * l[i];
    }
    vi changed = vi_all(-1);
    for (int round = 0; round < 5 && any(changed & ~dead); round++) {
        changed = vi_all(0);
        for (int i = 0; i < n; i++) {
            vf slx = sumlx - wx[i] * l[i], sl2 = suml2 - w[i] * l[i] * l[i];
            vi take = slx > 0.f;
            const vf new_l = to_float(clamp_i(nearest_int(x[i] * sl2 / slx), -nmax, nmax - 1));
            take &= new_l != l[i];
            slx += wx[i] * new_l;
            sl2 += w[i] * new_l * new_l;
            take &= (sl2 > 0.f) & (slx * slx * suml2 > sumlx * sumlx * sl2);
            l[i] = select_f(take, new_l, l[i]);
            sumlx = select_f(take, slx, sumlx);
            suml2 = select_f(take, sl2, suml2);
            changed |= take;
        }
    }
    for (int i = 0; i < n; i++) L[i] = (to_int(l[i]) + nmax) & ~dead;
    return (vf)((vi)(sumlx / suml2) & (suml2 > 0.f) & ~dead);
}

#endif
