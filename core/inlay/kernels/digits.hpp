// How a vector becomes the digits that signmag.hpp compares: numbers of two or four bits, one a dimension.
//
//     k = how many of the thresholds step, 2 step, 3 step .. lie below |y|, of 1 (2 bits) or 7 (4 bits)
//     digit = half + k where y > 0, half - 1 - k elsewhere        half = 2 or 8
//
// Plain C++ over 16 lanes: every level compiles the same text with its own vectors. Sums are float64, exact
// for any float32, in 16 lanes that are added up in one fixed order: all levels give the same bits.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/isa.hpp"

namespace inlay::digits {

constexpr std::size_t kLanes = 16;

INLAY_INLINE double lane_total(double* lanes) {
    for (std::size_t apart = kLanes / 2; apart > 0; apart /= 2)
        for (std::size_t j = 0; j < apart; ++j) lanes[j] += lanes[j + apart];
    return lanes[0];
}

struct Sizes {
    double square, absolute;  // sum y^2, sum |y|
};

INLAY_INLINE Sizes measure_body(const float* y, std::size_t dim) {
    double square[kLanes] = {}, absolute[kLanes] = {};
    for (std::size_t i = 0; i < dim; i += kLanes) {
        const std::size_t lanes = dim - i < kLanes ? dim - i : kLanes;
        for (std::size_t j = 0; j < lanes; ++j) {
            const double value = y[i + j];
            square[j] += value * value;
            absolute[j] += std::fabs(value);
        }
    }
    return {lane_total(square), lane_total(absolute)};
}

// Writes the digits, one byte each, and returns sum k |y|.
template <int BITS>
INLAY_INLINE double digits_body(const float* y, std::size_t dim, float step, std::uint8_t* digits) {
    constexpr int kHalf = 1 << (BITS - 1);
    double beyond[kLanes] = {};
    for (std::size_t i = 0; i < dim; i += kLanes) {
        const std::size_t lanes = dim - i < kLanes ? dim - i : kLanes;
        for (std::size_t j = 0; j < lanes; ++j) {
            const float size = std::fabs(y[i + j]);
            int k = 0;
            for (int threshold = 1; threshold < kHalf; ++threshold)
                k += size > static_cast<float>(threshold) * step;
            digits[i + j] = static_cast<std::uint8_t>(y[i + j] > 0.0f ? kHalf + k : kHalf - 1 - k);
            beyond[j] += static_cast<double>(size) * k;
        }
    }
    return lane_total(beyond);
}

using Measure = Sizes (*)(const float* y, std::size_t dim);
using Digits = double (*)(const float* y, std::size_t dim, float step, std::uint8_t* digits);

#define INLAY_DIGITS_LEVEL(TARGET, SUFFIX)                                            \
    TARGET inline Sizes measure_##SUFFIX(const float* y, std::size_t dim) {           \
        return measure_body(y, dim);                                                  \
    }                                                                                 \
    template <int BITS>                                                               \
    TARGET inline double digits_##SUFFIX(const float* y, std::size_t dim, float step, \
                                         std::uint8_t* digits) {                      \
        return digits_body<BITS>(y, dim, step, digits);                               \
    }

INLAY_DIGITS_LEVEL(, scalar)
#if defined(INLAY_X86)
INLAY_DIGITS_LEVEL(INLAY_AVX2, avx2)
INLAY_DIGITS_LEVEL(INLAY_AVX512, avx512)
#endif
#undef INLAY_DIGITS_LEVEL

// Bit number `bit` of 64 digits as a word, the first digit's lowest.
inline std::uint64_t gather_bits(const std::uint8_t* digits, int bit) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        std::uint64_t eight;
        std::memcpy(&eight, digits + 8 * i, sizeof eight);
        // The product moves bit 8 j up by 56 - 7 j, to 56 + j; no two of its terms meet.
        word |= ((eight >> bit & 0x0101010101010101u) * 0x0102040810204080u >> 56) << 8 * i;
    }
    return word;
}

}  // namespace inlay::digits
