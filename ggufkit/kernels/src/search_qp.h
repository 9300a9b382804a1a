/* make_qp_quants: scale of x ~ scale * l, l = 0..nmax, by weighted least squares; then up to five
 * rounds that move one level at a time. Used for the scales and mins of a super-block. */
#ifndef GGUFKIT_SEARCH_QP_H
#define GGUFKIT_SEARCH_QP_H

#include "vec.h"

/* Levels are stored as bytes: a negative one (a negative x) wraps, as in ggml's uint8_t L[]. */
INLINE vf make_qp_quants(int n, int nmax, const vf *x, vi *L, const vf *w) {
    vf max = vf_all(0);
    for (int i = 0; i < n; i++) max = max_f(max, x[i]);
    const vi dead = max < GROUP_MAX_EPS;

    vf iscale = (float)nmax / max, scale = 1.f / iscale, best = vf_all(0);
    for (int i = 0; i < n; i++) {
        const vf diff = x[i] - scale * to_float(nearest_int(iscale * x[i]) & 255);
        best += w[i] * diff * diff;
    }
    for (int is = -4; is <= 4; is++) {
        if (is == 0) continue;
        const vf trial = (0.1f * is + nmax) / max, trial_scale = 1.f / trial;
        vf mse = vf_all(0);
        for (int i = 0; i < n; i++) {
            const vi l = min_i(nearest_int(trial * x[i]), nmax);
            const vf diff = x[i] - trial_scale * to_float(l);
            mse += w[i] * diff * diff;
        }
        const vi better = mse < best;
        best = select_f(better, mse, best);
        iscale = select_f(better, trial, iscale);
    }

    vf sumlx = vf_all(0), suml2 = vf_all(0);
    for (int i = 0; i < n; i++) {
        const vi l = min_i(nearest_int(iscale * x[i]), nmax);
        L[i] = l & 255;
        sumlx += w[i] * x[i] * to_float(l);
        suml2 += w[i] * to_float(l) * to_float(l);
    }
    /* A lane that changed nothing in a round changes nothing in the next: it may run along. */
    vi changed = vi_all(-1);
    for (int round = 0; round < 5 && any(changed); round++) {
        changed = vi_all(0);
        for (int i = 0; i < n; i++) {
            const vf l = to_float(L[i]);
            vf slx = sumlx - w[i] * x[i] * l, sl2 = suml2 - w[i] * l * l;
            vi take = (slx > 0.f) & (sl2 > 0.f) & ~dead;
            const vi new_l = min_i(nearest_int(x[i] * sl2 / slx), nmax);
            take &= new_l != L[i];
            slx += w[i] * x[i] * to_float(new_l);
            sl2 += w[i] * to_float(new_l) * to_float(new_l);
            take &= slx * slx * suml2 > sumlx * sumlx * sl2;
            L[i] = select_i(take, new_l & 255, L[i]);
            sumlx = select_f(take, slx, sumlx);
            suml2 = select_f(take, sl2, suml2);
            changed |= take;
        }
    }
    for (int i = 0; i < n; i++) L[i] &= ~dead;
    return (vf)((vi)(sumlx / suml2) & (suml2 > 0.f) & ~dead);
}

#endif
