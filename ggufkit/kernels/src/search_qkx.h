/* make_qkx2_quants, make_qkx3_quants: scale and min of x ~ scale * l + min, l = 0..nmax.
 *
 * ggml's two functions differ only in what they do without weights, which no caller needs: one
 * function serves both. It tries nstep + 1 scales around nmax / (max - min), solves the weighted
 * least squares for each and keeps the best error; a better min is also the start of the trials
 * that follow. */
#ifndef GGUFKIT_SEARCH_QKX_H
#define GGUFKIT_SEARCH_QKX_H

#include "vec.h"

#define SUB_BLOCK_MAX 32

/* Few callers want the levels themselves, so only what they are made from is kept. */
typedef struct {
    vf scale;        /* what ggml returns */
    vf min;          /* *the_min: the subtracted min */
    vf iscale, from; /* levels are nearest(iscale * (x - from)) */
} affine;

INLINE vi affine_level(const affine *a, vf x, int nmax) {
    return clamp_i(nearest_int(a->iscale * (x - a->from)), 0, nmax);
}

INLINE vf misfit(vf scale, vf l, vf min, vf x, vf w, int use_mad) {
    const vf diff = scale * l + min - x;
    return w * (use_mad ? abs_f(diff) : diff * diff);
}

INLINE affine make_qkx_quants(int n, float nmax, const vf *x, const vf *w, float rmin,
                              float rdelta, int nstep, int use_mad) {
    vf x_min = x[0], max = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    for (int i = 1; i < n; i++) {
        x_min = min_f(x[i], x_min);
        max = max_f(x[i], max);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    vf min = select_f(x_min > 0.f, vf_all(0), x_min); /* keeps -0.0, which Q4_1 stores */

    /* A constant block has range 0: iscale is infinite, scale 0, all levels and D are 0, nothing
     * is ever better. ggml returns early with the same result. */
    affine best = {.iscale = nmax / (max - min), .from = min};
    best.scale = 1.f / best.iscale;
    vf best_error = vf_all(0);
    for (int i = 0; i < n; i++) {
        const vf l = to_float(affine_level(&best, x[i], (int)nmax));
        best_error += misfit(best.scale, l, min, x[i], w[i], use_mad);
    }

    for (int is = 0; is <= nstep; is++) {
        const vf iscale = (rmin + rdelta * is + nmax) / (max - min), from = min;
        vf l[SUB_BLOCK_MAX], sum_l = vf_all(0), sum_l2 = vf_all(0), sum_xl = vf_all(0);
        /* Rounding by floats is right below 2^22; a range of almost 0 needs ggml's bit trick. */
        const vf reach = abs_f(iscale) * max_f(max - min, abs_f(x_min - min));
        const int exact = any(~(reach < 0x1p21f));
        if (__builtin_expect(exact, 0))
            for (int i = 0; i < n; i++)
                l[i] = to_float(clamp_i(nearest_int(iscale * (x[i] - from)), 0, (int)nmax));
        else
            for (int i = 0; i < n; i++)
                l[i] = min_f(max_f(nearest_small(iscale * (x[i] - from)), vf_all(0)), vf_all(nmax));
        for (int i = 0; i < n; i++) {
            const vf wl = w[i] * l[i];
            sum_l += wl;
            sum_l2 += wl * l[i];
            sum_xl += wl * x[i];
        }
        const vf D = sum_w * sum_l2 - sum_l * sum_l;
        vf this_scale = (sum_w * sum_xl - sum_x * sum_l) / D;
        vf this_min = (sum_l2 * sum_x - sum_l * sum_xl) / D;
        const vi positive = this_min > 0.f;
        this_scale = select_f(positive, sum_xl / sum_l2, this_scale);
        this_min = select_f(positive, vf_all(0), this_min);
        vf error = vf_all(0);
        for (int i = 0; i < n; i++)
            error += misfit(this_scale, l[i], this_min, x[i], w[i], use_mad);
        const vi better = (D > 0.f) & (error < best_error);
        best_error = select_f(better, error, best_error);
        best.scale = select_f(better, this_scale, best.scale);
        best.iscale = select_f(better, iscale, best.iscale);
        best.from = select_f(better, from, best.from);
        min = select_f(better, this_min, min);
    }
    best.min = -min;
    return best;
}

#endif
