// The fast Walsh-Hadamard transform of 2^p floats in place, not normalised: n log2 n additions.
//
// Only additions and subtractions of the same pairs in the same order, so every level gives the same bits.
#pragma once

#include "kernels/isa.hpp"

namespace inlay::hadamard {

using Transform = void (*)(float* x, std::size_t n);

// Pairs at distance h, h doubling from `from`; two of these rounds at a time, as they wait for memory (a
// whole rotation of 784 dimensions: 2.25 us one at a time, 1.95 us so). A run of h neighbours is one vector
// loop.
INLAY_INLINE void rounds(float* x, std::size_t n, std::size_t from) {
    std::size_t h = from;
    for (; 4 * h <= n; h *= 4)
        for (std::size_t i = 0; i < n; i += 4 * h) {
            float *a = x + i, *b = a + h, *c = b + h, *d = c + h;
#pragma GCC ivdep
            for (std::size_t j = 0; j < h; ++j) {
                const float ab = a[j] + b[j], a_b = a[j] - b[j], cd = c[j] + d[j], c_d = c[j] - d[j];
                a[j] = ab + cd;
                b[j] = a_b + c_d;
                c[j] = ab - cd;
                d[j] = a_b - c_d;
            }
        }
    if (2 * h > n) return;
    float *a = x, *b = x + h;
#pragma GCC ivdep
    for (std::size_t j = 0; j < h; ++j) {
        const float u = a[j], v = b[j];
        a[j] = u + v;
        b[j] = u - v;
    }
}

inline void transform_scalar(float* x, std::size_t n) {
    rounds(x, n, 1);
}

#if defined(INLAY_X86)
// Distances 1, 2 and 4 inside a register: the partner of each lane beside the lane itself, negated in the
// upper one.
INLAY_AVX2 inline void transform_avx2(float* x, std::size_t n) {
    if (n < 8) return rounds(x, n, 1);
    const __m256 odd =
        _mm256_castsi256_ps(_mm256_setr_epi32(0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN));
    const __m256 upper2 =
        _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, INT32_MIN, INT32_MIN, 0, 0, INT32_MIN, INT32_MIN));
    const __m256 upper4 =
        _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, 0, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN));
    for (std::size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        v = _mm256_add_ps(_mm256_permute_ps(v, 0xB1), _mm256_xor_ps(v, odd));
        v = _mm256_add_ps(_mm256_permute_ps(v, 0x4E), _mm256_xor_ps(v, upper2));
        v = _mm256_add_ps(_mm256_permute2f128_ps(v, v, 1), _mm256_xor_ps(v, upper4));
        _mm256_storeu_ps(x + i, v);
    }
    rounds(x, n, 8);
}

INLAY_AVX512 inline void transform_avx512(float* x, std::size_t n) {
    if (n < 16) return rounds(x, n, 1);
    const __m512 minus = _mm512_set1_ps(-0.0f);
    for (std::size_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        v = _mm512_add_ps(_mm512_permute_ps(v, 0xB1), _mm512_mask_xor_ps(v, 0xAAAA, v, minus));
        v = _mm512_add_ps(_mm512_permute_ps(v, 0x4E), _mm512_mask_xor_ps(v, 0xCCCC, v, minus));
        v = _mm512_add_ps(_mm512_shuffle_f32x4(v, v, 0xB1), _mm512_mask_xor_ps(v, 0xF0F0, v, minus));
        v = _mm512_add_ps(_mm512_shuffle_f32x4(v, v, 0x4E), _mm512_mask_xor_ps(v, 0xFF00, v, minus));
        _mm512_storeu_ps(x + i, v);
    }
    rounds(x, n, 16);
}
#endif

#if defined(INLAY_NEON)
// Distances 1 and 2 inside a register, as above.
inline void transform_neon(float* x, std::size_t n) {
    if (n < 4) return rounds(x, n, 1);
    const uint32x4_t odd = vreinterpretq_u32_u64(vdupq_n_u64(std::uint64_t{1} << 63));
    const uint32x4_t upper = vcombine_u32(vdup_n_u32(0), vdup_n_u32(std::uint32_t{1} << 31));
    for (std::size_t i = 0; i < n; i += 4) {
        float32x4_t v = vld1q_f32(x + i);
        v = vaddq_f32(vrev64q_f32(v), vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), odd)));
        v = vaddq_f32(vextq_f32(v, v, 2), vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), upper)));
        vst1q_f32(x + i, v);
    }
    rounds(x, n, 4);
}
#endif

// One round of a rotation (rotation.pyx): signs, which carry the transform's scale, the transform of a
// window, and where `folds` the halves folded into each other; or, each its own inverse, the other way round.
using Round = void (*)(float* x, std::size_t dim, const float* signs, std::size_t first, std::size_t window,
                       bool folds, bool back);

INLAY_INLINE void flip(float* x, std::size_t dim, const float* signs) {
    for (std::size_t i = 0; i < dim; ++i) x[i] *= signs[i];
}

INLAY_INLINE void fold(float* x, std::size_t dim) {
    constexpr float kRootHalf = 0.70710678118654752440f;
    float *front = x, *rear = x + dim / 2;
    for (std::size_t i = 0; i < dim / 2; ++i) {
        const float u = front[i] * kRootHalf, v = rear[i] * kRootHalf;
        front[i] = u + v;
        rear[i] = u - v;
    }
}

#define INLAY_HADAMARD_LEVEL(TARGET, SUFFIX)                                                            \
    TARGET inline void round_##SUFFIX(float* x, std::size_t dim, const float* signs, std::size_t first, \
                                      std::size_t window, bool folds, bool back) {                      \
        if (!back) flip(x, dim, signs);                                                                 \
        if (back && folds) fold(x, dim);                                                                \
        transform_##SUFFIX(x + first, window);                                                          \
        if (back) flip(x, dim, signs);                                                                  \
        if (!back && folds) fold(x, dim);                                                               \
    }

INLAY_HADAMARD_LEVEL(, scalar)
#if defined(INLAY_X86)
INLAY_HADAMARD_LEVEL(INLAY_AVX2, avx2)
INLAY_HADAMARD_LEVEL(INLAY_AVX512, avx512)
#elif defined(INLAY_NEON)
INLAY_HADAMARD_LEVEL(, neon)
#endif
#undef INLAY_HADAMARD_LEVEL

}  // namespace inlay::hadamard
