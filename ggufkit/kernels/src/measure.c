/* What errors of weights are computed from, in one pass over both arrays; and encoding weights
 * that are looked over first, while they are in the cache.
 *
 * Sums are kept in 32 places, float over a run of 2048 weights and double beyond it: as precise
 * as a report needs, quick, and in an order that no instruction level changes. */
#include "vec.h"

enum { PLACES = 32, RUN = 64 };

typedef struct {
    double error2, source2, decoded2;
    float largest;
} Sums;

/* Adds n <= PLACES * RUN weights. */
static void add_run(const float *source, const float *decoded, int64_t n, Sums *sums) {
    float error2[PLACES] = {0}, source2[PLACES] = {0}, decoded2[PLACES] = {0}, largest[PLACES] = {0};
    int64_t i = 0;
    for (; i + PLACES <= n; i += PLACES) {
        for (int j = 0; j < PLACES; j++) {
            float s = source[i + j], d = decoded[i + j], e = d - s, a = fabsf(e);
            error2[j] += e * e;
            source2[j] += s * s;
            decoded2[j] += d * d;
            largest[j] = a > largest[j] ? a : largest[j];
        }
    }
    for (int j = 0; i < n; i++, j++) {
        float s = source[i], d = decoded[i], e = d - s, a = fabsf(e);
        error2[j] += e * e;
        source2[j] += s * s;
        decoded2[j] += d * d;
        largest[j] = a > largest[j] ? a : largest[j];
    }
    for (int j = 0; j < PLACES; j++) {
        sums->error2 += error2[j];
        sums->source2 += source2[j];
        sums->decoded2 += decoded2[j];
        sums->largest = largest[j] > sums->largest ? largest[j] : sums->largest;
    }
}

static void write_sums(const Sums *sums, double *out) {
    out[0] = sums->error2;
    out[1] = sums->source2;
    out[2] = sums->decoded2;
    out[3] = sums->largest;
}

/* out: sums of squares of error, source and decoded weights, and the largest absolute error */
EXPORT void measure_error(const float *source, const float *decoded, int64_t n, double *out) {
    Sums sums = {0};
    for (int64_t i = 0; i < n; i += PLACES * RUN) {
        int64_t left = n - i;
        add_run(source + i, decoded + i, left < PLACES * RUN ? left : PLACES * RUN, &sums);
    }
    write_sums(&sums, out);
}

typedef void Decode(const uint8_t *, float *, int64_t);
typedef void DecodeWithTable(const uint8_t *, float *, int64_t, const void *);

/* The same of n weights in blocks, which are decoded a run at a time and never leave the cache.
 * A run is made of whole blocks, and so must the weights be. */
EXPORT void measure_blocks(void *decoder, const uint8_t *data, const float *source, int64_t n,
                           int64_t block_size, int64_t type_size, const void *table, double *out) {
    Sums sums = {0};
    float decoded[PLACES * RUN];
    for (int64_t i = 0; i < n; i += PLACES * RUN) {
        const int64_t left = n - i, some = left < PLACES * RUN ? left : PLACES * RUN;
        const uint8_t *blocks = data + i / block_size * type_size;
        if (table)
            ((DecodeWithTable *)decoder)(blocks, decoded, some / block_size, table);
        else
            ((Decode *)decoder)(blocks, decoded, some / block_size);
        add_run(source + i, decoded, some, &sums);
    }
    write_sums(&sums, out);
}

/* Whether |x| < limit for all n values; NaN is not. */
static int all_below(const float *values, int64_t n, float limit) {
    int32_t above[PLACES] = {0};
    int64_t i = 0;
    for (; i + PLACES <= n; i += PLACES)
        for (int j = 0; j < PLACES; j++) above[j] |= !(fabsf(values[i + j]) < limit);
    for (; i < n; i++) above[0] |= !(fabsf(values[i]) < limit);
    int32_t any_above = 0;
    for (int j = 0; j < PLACES; j++) any_above |= above[j];
    return !any_above;
}

typedef void Encode(const float *, const float *, uint8_t *, int64_t, int64_t);
typedef void EncodeWithTable(const float *, const float *, uint8_t *, int64_t, int64_t,
                             const void *);

/* Encodes rows a cacheful at a time; returns 0 at the first that has a weight not below `limit`.
 * A limit of NaN is none. */
EXPORT int encode_below(void *kernel, const float *rows, const float *importance, uint8_t *out,
                        int64_t n_rows, int64_t n_cols, int64_t row_size, float limit,
                        const void *table) {
    enum { CACHEFUL = 1 << 17 };
    const int64_t step = n_cols < CACHEFUL ? CACHEFUL / (n_cols > 0 ? n_cols : 1) : 1;
    for (int64_t i = 0; i < n_rows; i += step) {
        const int64_t n = n_rows - i < step ? n_rows - i : step;
        const float *x = rows + i * n_cols;
        if (limit == limit && !all_below(x, n * n_cols, limit)) return 0;
        if (table)
            ((EncodeWithTable *)kernel)(x, importance, out + i * row_size, n, n_cols, table);
        else
            ((Encode *)kernel)(x, importance, out + i * row_size, n, n_cols);
    }
    return 1;
}
