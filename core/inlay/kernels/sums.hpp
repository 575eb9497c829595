// Sums in float64 over 8 lanes, so that one addition need not wait for the last, in one order on every CPU.
#pragma once

#include "kernels/isa.hpp"

namespace inlay::sums {

template <class Term>
INLAY_INLINE double over(std::size_t n, Term term) {
    double lanes[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (std::size_t j = 0; j < 8; ++j) lanes[j] += term(i + j);
    for (; i < n; ++i) lanes[0] += term(i);
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

inline double total(const float* a, std::size_t n) {
    return over(n, [a](std::size_t i) { return static_cast<double>(a[i]); });
}

inline double dot(const float* a, const float* b, std::size_t n) {
    return over(n, [a, b](std::size_t i) { return static_cast<double>(a[i]) * b[i]; });
}

}  // namespace inlay::sums
