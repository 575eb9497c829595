// The inner loops of k-means beside its matrix products: which centre is nearest and whether that is in
// doubt, and how near a row is to new centres.
//
// Both work in 16 fixed lanes, in one order and without fused operations, so that every CPU decides alike.
#pragma once

#include "kernels/isa.hpp"

namespace inlay::nearest {

constexpr std::size_t kLanes = 16;

struct Least {
    float least, second;  // of the rest; infinite when there is none
    std::uint32_t at;     // the first of equal ones
};

// The least of scores[i] + offsets[i], n >= 1.
using TwoLeast = Least (*)(const float* scores, const float* offsets, std::size_t n);

// least[i] = min(least[i], |rows[i] - centre|^2)
using Approach = void (*)(const float* centre, const float* rows, std::size_t n, std::size_t dim,
                          float* least);

INLAY_INLINE Least two_least_body(const float* scores, const float* offsets, std::size_t n) {
    const float infinite = __builtin_huge_valf();
    float least[kLanes], second[kLanes];
    std::uint32_t at[kLanes];
    for (std::size_t j = 0; j < kLanes; ++j) {
        least[j] = second[j] = infinite;
        at[j] = 0;
    }
    const std::uint32_t whole = static_cast<std::uint32_t>(n / kLanes * kLanes);
    for (std::uint32_t i = 0; i < whole; i += kLanes)
        for (std::uint32_t j = 0; j < kLanes; ++j) {
            const float score = scores[i + j] + offsets[i + j];
            const bool less = score < least[j];
            const float other = less ? least[j] : score;
            second[j] = other < second[j] ? other : second[j];
            at[j] = less ? i + j : at[j];
            least[j] = less ? score : least[j];
        }
    Least best = {infinite, infinite, 0};
    for (std::size_t j = 0; j < kLanes; ++j) {
        if (least[j] < best.least || (least[j] == best.least && at[j] < best.at)) {
            best.second = best.least < second[j] ? best.least : second[j];
            best.least = least[j];
            best.at = at[j];
        } else {
            best.second = least[j] < best.second ? least[j] : best.second;
        }
    }
    for (std::size_t i = whole; i < n; ++i) {
        const float score = scores[i] + offsets[i];
        if (score < best.least) {
            best.second = best.least;
            best.least = score;
            best.at = static_cast<std::uint32_t>(i);
        } else {
            best.second = score < best.second ? score : best.second;
        }
    }
    return best;
}

INLAY_INLINE void approach_body(const float* centre, const float* rows, std::size_t n, std::size_t dim,
                                float* least) {
    for (std::size_t row = 0; row < n; ++row, rows += dim) {
        float sums[kLanes] = {};
        std::size_t i = 0;
        for (; i + kLanes <= dim; i += kLanes)
            for (std::size_t j = 0; j < kLanes; ++j) {
                const float apart = rows[i + j] - centre[i + j];
                sums[j] += apart * apart;
            }
        for (std::size_t j = 0; i + j < dim; ++j) {
            const float apart = rows[i + j] - centre[i + j];
            sums[j] += apart * apart;
        }
        for (std::size_t half = kLanes / 2; half != 0; half /= 2)
            for (std::size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
        least[row] = sums[0] < least[row] ? sums[0] : least[row];
    }
}

#define INLAY_NEAREST_LEVEL(TARGET, SUFFIX)                                                            \
    TARGET inline Least two_least_##SUFFIX(const float* scores, const float* offsets, std::size_t n) { \
        return two_least_body(scores, offsets, n);                                                     \
    }                                                                                                  \
    TARGET inline void approach_##SUFFIX(const float* centre, const float* rows, std::size_t n,        \
                                         std::size_t dim, float* least) {                              \
        approach_body(centre, rows, n, dim, least);                                                    \
    }

INLAY_NEAREST_LEVEL(, scalar)
#if defined(INLAY_X86)
INLAY_NEAREST_LEVEL(INLAY_AVX2, avx2)
INLAY_NEAREST_LEVEL(INLAY_AVX512, avx512)
#endif
#undef INLAY_NEAREST_LEVEL

}  // namespace inlay::nearest
