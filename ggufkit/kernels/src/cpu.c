/* Which of the libraries this CPU can run. */
#include "vec.h"

/* The x86-64 psABI level, as far as the kernels go: 4, 3 or 1; 1 on every other machine. */
EXPORT int cpu_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                   __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
    const int v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
    return v3 ? (v4 ? 4 : 3) : 1;
#else
    return 1;
#endif
}
