// How the step from one row to another becomes a code: r = o - c, of which a grid or a book of centroids
// keeps the direction, g; the lengths are kept beside it (codecs/rabitq.pyx).
//
//     g_i = +-(k_i + 1/2)       k_i = min(floor(|r_i| inverse), most)       most = 2^(bits - 1) - 1
//     u_i = most + 1 + k_i where r_i > 0, most - k_i elsewhere, so that g = u - (2^bits - 1) / 2
//
// Plain C++ over 16 lanes: every level compiles the same text with its own vectors. Sums are float64 in 16
// lanes that are added up in one fixed order: all levels give the same bits.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/digits.hpp"

namespace inlay::rabitq {

using digits::kLanes;
using digits::lane_total;

// Centroids a group.
constexpr std::size_t kCentroids = 16;

struct Sums {
    double one, other;
};

// Sums of products of float32 in float64, 16 at a time.
struct Products {
    double lanes[kLanes] = {};

    INLAY_INLINE void add(const float* a, const float* b) {
        for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += static_cast<double>(a[j]) * b[j];
    }
    INLAY_INLINE double total() { return lane_total(lanes); }
};

// 16 dimensions of a row from the i-th on, the last of the row padded with zeros: loops of a known length
// become vectors.
struct Sixteen {
    float values[kLanes] = {};

    INLAY_INLINE const float* of(const float* from, std::size_t i, std::size_t dim) {
        if (i + kLanes <= dim) return from + i;
        std::memcpy(values, from + i, (dim - i) * sizeof(float));
        return values;
    }
};

// r = o - c; the sums of r^2 and of r c.
INLAY_INLINE Sums subtract_body(const float* o, const float* c, std::size_t dim, float* r) {
    Products square, inner;
    Sixteen last_o, last_c;
    for (std::size_t i = 0; i < dim; i += kLanes) {
        const float *from = last_o.of(o, i, dim), *centre = last_c.of(c, i, dim);
        float step[kLanes];
        for (std::size_t j = 0; j < kLanes; ++j) step[j] = from[j] - centre[j];
        square.add(step, step);
        inner.add(step, centre);
        std::memcpy(r + i, step, (dim - i < kLanes ? dim - i : kLanes) * sizeof(float));
    }
    return {square.total(), inner.total()};
}

// k + 1/2 of 16 sizes.
INLAY_INLINE void levels(const float* size, float inverse, int most, float* out) {
    const float top = static_cast<float>(most);
    for (std::size_t j = 0; j < kLanes; ++j) {
        const float level = size[j] * inverse;
        out[j] = static_cast<float>(static_cast<int>(level < top ? level : top)) + 0.5f;
    }
}

// The sums of |r| (k + 1/2) and of (k + 1/2)^2: <r, g> and |g|^2 on the grid of this fineness.
INLAY_INLINE Sums fit_body(const float* r, std::size_t dim, float inverse, int most) {
    Products along, square;
    Sixteen last;
    for (std::size_t i = 0; i < dim; i += kLanes) {
        const float* step = last.of(r, i, dim);
        float size[kLanes], level[kLanes];
        for (std::size_t j = 0; j < kLanes; ++j) size[j] = std::fabs(step[j]);
        levels(size, inverse, most, level);
        for (std::size_t j = 0; j < kLanes; ++j) level[j] = i + j < dim ? level[j] : 0.0f;
        along.add(size, level);
        square.add(level, level);
    }
    return {along.total(), square.total()};
}

// Writes u, a byte a dimension; the sums <r, g> and <g, c>.
INLAY_INLINE Sums code_body(const float* r, const float* c, std::size_t dim, float inverse, int most,
                            std::uint8_t* codes) {
    Products along, inner;
    Sixteen last_r, last_c;
    const float half = static_cast<float>(most) + 0.5f;
    for (std::size_t i = 0; i < dim; i += kLanes) {
        const float *step = last_r.of(r, i, dim), *centre = last_c.of(c, i, dim);
        float size[kLanes], level[kLanes];
        std::uint8_t code[kLanes];
        for (std::size_t j = 0; j < kLanes; ++j) size[j] = std::fabs(step[j]);
        levels(size, inverse, most, level);
        for (std::size_t j = 0; j < kLanes; ++j) level[j] = step[j] > 0.0f ? level[j] : -level[j];
        for (std::size_t j = 0; j < kLanes; ++j)
            code[j] = static_cast<std::uint8_t>(static_cast<int>(level[j] + half));
        along.add(step, level);
        inner.add(level, centre);
        std::memcpy(codes + i, code, dim - i < kLanes ? dim - i : kLanes);
    }
    return {along.total(), inner.total()};
}

// Writes the nearest of 16 centroids to each group of `width` dimensions of scale * r, a byte a group; the
// sums <r, g> and <g, c>. `centroids` holds for each group and dimension 16 coordinates; r and c have whole
// groups.
INLAY_INLINE Sums assign_body(const float* r, const float* c, std::size_t groups, std::size_t width,
                              const float* centroids, float scale, std::uint8_t* codes) {
    Sums sums = {};
    for (std::size_t group = 0; group < groups; ++group) {
        const float *from = r + group * width, *of = c + group * width;
        const float* book = centroids + group * width * kCentroids;
        float apart[kCentroids] = {};
        for (std::size_t i = 0; i < width; ++i) {
            const float value = scale * from[i];
            for (std::size_t j = 0; j < kCentroids; ++j) {
                const float off = value - book[i * kCentroids + j];
                apart[j] += off * off;
            }
        }
        std::size_t best = 0;
        for (std::size_t j = 1; j < kCentroids; ++j)
            if (apart[j] < apart[best]) best = j;
        codes[group] = static_cast<std::uint8_t>(best);
        for (std::size_t i = 0; i < width; ++i) {
            sums.one += static_cast<double>(book[i * kCentroids + best]) * from[i];
            sums.other += static_cast<double>(book[i * kCentroids + best]) * of[i];
        }
    }
    return sums;
}

using Subtract = Sums (*)(const float* o, const float* c, std::size_t dim, float* r);
using Fit = Sums (*)(const float* r, std::size_t dim, float inverse, int most);
using Code = Sums (*)(const float* r, const float* c, std::size_t dim, float inverse, int most,
                      std::uint8_t* codes);
using Assign = Sums (*)(const float* r, const float* c, std::size_t groups, std::size_t width,
                        const float* centroids, float scale, std::uint8_t* codes);

#define INLAY_RABITQ_LEVEL(TARGET, SUFFIX)                                                            \
    TARGET inline Sums subtract_##SUFFIX(const float* o, const float* c, std::size_t dim, float* r) { \
        return subtract_body(o, c, dim, r);                                                           \
    }                                                                                                 \
    TARGET inline Sums fit_##SUFFIX(const float* r, std::size_t dim, float inverse, int most) {       \
        return fit_body(r, dim, inverse, most);                                                       \
    }                                                                                                 \
    TARGET inline Sums code_##SUFFIX(const float* r, const float* c, std::size_t dim, float inverse,  \
                                     int most, std::uint8_t* codes) {                                 \
        return code_body(r, c, dim, inverse, most, codes);                                            \
    }                                                                                                 \
    TARGET inline Sums assign_##SUFFIX(const float* r, const float* c, std::size_t groups,            \
                                       std::size_t width, const float* centroids, float scale,        \
                                       std::uint8_t* codes) {                                         \
        return assign_body(r, c, groups, width, centroids, scale, codes);                             \
    }

INLAY_RABITQ_LEVEL(, scalar)
#if defined(INLAY_X86)
INLAY_RABITQ_LEVEL(INLAY_AVX2, avx2)
INLAY_RABITQ_LEVEL(INLAY_AVX512, avx512)
#endif
#undef INLAY_RABITQ_LEVEL

}  // namespace inlay::rabitq
