// What this CPU can do, and the marks that compile one function for one level of it.
//
// All levels of a kernel stand in one translation unit, each function with its own target, so nothing outside
// a marked function is ever compiled for a CPU that may not be there. A level is chosen once (table.pyx); a
// CPU that has only a part of a level's list counts as the level below.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define INLAY_X86 1
#include <immintrin.h>
// AVX2 with FMA and F16C: Haswell, Zen 1 and later.
#define INLAY_AVX2 __attribute__((target("avx2,fma,f16c,popcnt,bmi,bmi2")))
// AVX-512 with VBMI, VNNI and VPOPCNTDQ: Ice Lake, Zen 4 and later.
#define INLAY_AVX512                                                                                     \
    __attribute__((                                                                                      \
        target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx512vpopcntdq,avx2,fma,f16c," \
               "popcnt,bmi,bmi2")))
#elif defined(__aarch64__)
#define INLAY_NEON 1
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
// NEON is in every AArch64 CPU; its dot product of bytes (SDOT) came with Cortex-A75, Neoverse N1, Apple A13.
#if defined(__ARM_FEATURE_DOTPROD)
#define INLAY_NEON_DOT
#else
#define INLAY_NEON_DOT __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#endif

#if defined(__GNUC__) || defined(__clang__)
#define INLAY_INLINE inline __attribute__((always_inline))
#else
#define INLAY_INLINE inline
#endif

namespace inlay {

// A hint; any address will do. Into the second cache: the first keeps some twenty misses under way, the
// second twice as many (two lines each of random rows in 128 MB, 23 rows ahead: 6.9 ns a row so, 16.5 into
// the first, 15.2 without, on Zen 4).
INLAY_INLINE void prefetch(const void* address) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(address, 0, 2);
#else
    (void)address;
#endif
}

enum Level : int { kScalar = 0, kNeon = 1, kNeonDot = 2, kAvx2 = 3, kAvx512 = 4 };

// The highest level that this CPU and its operating system support whole.
inline Level best_level() {
#if defined(INLAY_X86)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi") &&
                      __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
                        __builtin_cpu_supports("avx512vpopcntdq");
    return avx512 ? kAvx512 : avx2 ? kAvx2 : kScalar;
#elif defined(INLAY_NEON) && defined(__ARM_FEATURE_DOTPROD)
    return kNeonDot;
#elif defined(INLAY_NEON) && defined(__linux__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? kNeonDot : kNeon;
#elif defined(INLAY_NEON)
    return kNeon;
#else
    return kScalar;
#endif
}

}  // namespace inlay
