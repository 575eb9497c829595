// Rows against vectors that are always the same, such as codewords: products of all, and the best ways on
// from partial codes.
//
// Vectors lie in strips of 16, coordinate after coordinate, those of all 16 side by side: floats, or in pairs
// of coordinates 16-bit integers, which a CPU multiplies and adds two at a time. Integers are parts of 32,700
// of a row's length, and of that of the longest vector of a stage, so that no sum leaves 32 bits, and a
// product is off by a hundred-thousandth of the lengths' product.
//
// Both are the same bits at every level, sums of integers anyhow and those of float32 because products and
// sums come apart and in one order, coordinate after coordinate; so the codes they decide are the same
// everywhere.
#pragma once

#include <cstring>

#include "kernels/isa.hpp"

namespace inlay::additive {

constexpr std::size_t kStrip = 16;

// out[r * out_stride + e] = <row r, codeword e>, codewords of n_strips strips.
using Products = void (*)(const float* rows, std::size_t n_rows, std::size_t row_stride, std::size_t dim,
                          const float* strips, std::size_t n_strips, float* out, std::size_t out_stride);

inline void products_scalar(const float* rows, std::size_t n_rows, std::size_t row_stride, std::size_t dim,
                            const float* strips, std::size_t n_strips, float* out, std::size_t out_stride) {
    for (std::size_t s = 0; s < n_strips; ++s, strips += kStrip * dim)
        for (std::size_t r = 0; r < n_rows; ++r) {
            float sums[kStrip] = {};
            for (std::size_t j = 0; j < dim; ++j)
                for (std::size_t e = 0; e < kStrip; ++e)
                    sums[e] += rows[r * row_stride + j] * strips[kStrip * j + e];
            std::memcpy(out + r * out_stride + kStrip * s, sums, sizeof sums);
        }
}

constexpr float kWhole = 32700.0f;

// out[r * out_stride + e] = sum * (row_factors[r] * strip_factors[e / 16]), the sum that of the products of
// row r and vector e in 16-bit integers. Strips hold (dim + 1) / 2 pairs, and rows one number more if dim is
// odd, which is multiplied by 0.
using ShortProducts = void (*)(const std::int16_t* rows, std::size_t n_rows, std::size_t row_stride,
                               const float* row_factors, std::size_t dim, const std::int16_t* strips,
                               const float* strip_factors, std::size_t n_strips, float* out,
                               std::size_t out_stride);

inline void short_products_scalar(const std::int16_t* rows, std::size_t n_rows, std::size_t row_stride,
                                  const float* row_factors, std::size_t dim, const std::int16_t* strips,
                                  const float* strip_factors, std::size_t n_strips, float* out,
                                  std::size_t out_stride) {
    const std::size_t pairs = (dim + 1) / 2;
    for (std::size_t s = 0; s < n_strips; ++s, strips += 2 * kStrip * pairs)
        for (std::size_t r = 0; r < n_rows; ++r) {
            std::int32_t sums[kStrip] = {};
            for (std::size_t j = 0; j < pairs; ++j) {
                const std::int32_t a = rows[r * row_stride + 2 * j], b = rows[r * row_stride + 2 * j + 1];
                const std::int16_t* line = strips + 2 * kStrip * j;
                for (std::size_t e = 0; e < kStrip; ++e) sums[e] += a * line[2 * e] + b * line[2 * e + 1];
            }
            const float factor = row_factors[r] * strip_factors[s];
            for (std::size_t e = 0; e < kStrip; ++e)
                out[r * out_stride + kStrip * s + e] = static_cast<float>(sums[e]) * factor;
        }
}

// out[j] = sum of words[(entries * s + codes[s]) * dim + j] over s, in the order of s.
using AddWords = void (*)(const float* words, std::size_t entries, std::size_t dim, const std::uint8_t* codes,
                          std::size_t n_codes, float* out);

inline void add_words_scalar(const float* words, std::size_t entries, std::size_t dim,
                             const std::uint8_t* codes, std::size_t n_codes, float* out) {
    std::memset(out, 0, dim * sizeof *out);
    for (std::size_t s = 0; s < n_codes; ++s) {
        const float* word = words + (entries * s + codes[s]) * dim;
        for (std::size_t j = 0; j < dim; ++j) out[j] += word[j];
    }
}

// A way on: a partial code and the codeword that comes next.
struct Step {
    float score;
    std::uint32_t parent, entry;
};

// What each of `parents` partial codes would score with each of `entries` codewords (a multiple of 16) next:
//
//     (norms[k] + products[k]) + scores[b], then crosses[b * n_cross + l][k] for l = 0, 1, ..
//
// The best `room` of them, best first, equal ones in the order of (b, k). Returns how many there are; NaN is
// none.
using Extend = std::size_t (*)(const float* norms, const float* products, std::size_t entries,
                               const float* scores, std::size_t parents, const float* const* crosses,
                               std::size_t n_cross, std::size_t room, Step* out);

struct Steps {
    Step* out;
    std::size_t size, room;
    float worst;

    INLAY_INLINE void push(float score, std::size_t parent, std::size_t entry) {
        if (!(score < worst)) return;
        std::size_t at = size < room ? size++ : room - 1;
        for (; at > 0 && score < out[at - 1].score; --at) out[at] = out[at - 1];
        out[at] = {score, static_cast<std::uint32_t>(parent), static_cast<std::uint32_t>(entry)};
        if (size == room) worst = out[room - 1].score;
    }
};

inline std::size_t extend_scalar(const float* norms, const float* products, std::size_t entries,
                                 const float* scores, std::size_t parents, const float* const* crosses,
                                 std::size_t n_cross, std::size_t room, Step* out) {
    Steps best = {out, 0, room, __builtin_huge_valf()};
    for (std::size_t b = 0; b < parents; ++b)
        for (std::size_t k = 0; k < entries; k += kStrip) {
            float found[kStrip];
            for (std::size_t e = 0; e < kStrip; ++e) found[e] = (norms[k + e] + products[k + e]) + scores[b];
            for (std::size_t l = 0; l < n_cross; ++l)
                for (std::size_t e = 0; e < kStrip; ++e) found[e] += crosses[b * n_cross + l][k + e];
            for (std::size_t e = 0; e < kStrip; ++e) best.push(found[e], b, k + e);
        }
    return best.size;
}

#if defined(INLAY_X86)
// ROWS rows against STRIPS strips, all sums in registers.
template <std::size_t ROWS>
INLAY_AVX2 INLAY_INLINE void tile_avx2(const float* rows, std::size_t row_stride, std::size_t dim,
                                       const float* strip, float* out, std::size_t out_stride) {
    __m256 sum[ROWS][2];
#pragma GCC unroll 6
    for (std::size_t r = 0; r < ROWS; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    for (std::size_t j = 0; j < dim; ++j) {
        const __m256 a = _mm256_loadu_ps(strip + kStrip * j), b = _mm256_loadu_ps(strip + kStrip * j + 8);
#pragma GCC unroll 6
        for (std::size_t r = 0; r < ROWS; ++r) {
            const __m256 x = _mm256_set1_ps(rows[r * row_stride + j]);
            sum[r][0] = _mm256_add_ps(sum[r][0], _mm256_mul_ps(x, a));
            sum[r][1] = _mm256_add_ps(sum[r][1], _mm256_mul_ps(x, b));
        }
    }
#pragma GCC unroll 6
    for (std::size_t r = 0; r < ROWS; ++r) {
        _mm256_storeu_ps(out + r * out_stride, sum[r][0]);
        _mm256_storeu_ps(out + r * out_stride + 8, sum[r][1]);
    }
}

INLAY_AVX2 inline void products_avx2(const float* rows, std::size_t n_rows, std::size_t row_stride,
                                     std::size_t dim, const float* strips, std::size_t n_strips, float* out,
                                     std::size_t out_stride) {
    for (std::size_t s = 0; s < n_strips; ++s) {
        const float* strip = strips + kStrip * dim * s;
        std::size_t r = 0;
        for (; r + 6 <= n_rows; r += 6)
            tile_avx2<6>(rows + r * row_stride, row_stride, dim, strip, out + r * out_stride + kStrip * s,
                         out_stride);
        for (; r < n_rows; ++r)
            tile_avx2<1>(rows + r * row_stride, row_stride, dim, strip, out + r * out_stride + kStrip * s,
                         out_stride);
    }
}

template <std::size_t ROWS, std::size_t STRIPS>
INLAY_AVX512 INLAY_INLINE void tile_avx512(const float* rows, std::size_t row_stride, std::size_t dim,
                                           const float* strips, float* out, std::size_t out_stride) {
    __m512 sum[ROWS][STRIPS];
#pragma GCC unroll 6
    for (std::size_t r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (std::size_t s = 0; s < STRIPS; ++s) sum[r][s] = _mm512_setzero_ps();
    for (std::size_t j = 0; j < dim; ++j) {
        __m512 word[STRIPS];
#pragma GCC unroll 8
        for (std::size_t s = 0; s < STRIPS; ++s) word[s] = _mm512_loadu_ps(strips + kStrip * (dim * s + j));
#pragma GCC unroll 6
        for (std::size_t r = 0; r < ROWS; ++r) {
            const __m512 x = _mm512_set1_ps(rows[r * row_stride + j]);
#pragma GCC unroll 8
            for (std::size_t s = 0; s < STRIPS; ++s)
                sum[r][s] = _mm512_add_ps(sum[r][s], _mm512_mul_ps(x, word[s]));
        }
    }
#pragma GCC unroll 6
    for (std::size_t r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (std::size_t s = 0; s < STRIPS; ++s)
            _mm512_storeu_ps(out + r * out_stride + kStrip * s, sum[r][s]);
}

// A row alone takes eight strips at once, for its sums wait for each other.
template <std::size_t STRIPS, std::size_t ALONE>
INLAY_AVX512 INLAY_INLINE void strips_avx512(const float* rows, std::size_t n_rows, std::size_t row_stride,
                                             std::size_t dim, const float* strips, float* out,
                                             std::size_t out_stride) {
    std::size_t r = 0;
    for (; r + 6 <= n_rows; r += 6)
        for (std::size_t s = 0; s < ALONE; s += STRIPS)
            tile_avx512<6, STRIPS>(rows + r * row_stride, row_stride, dim, strips + kStrip * dim * s,
                                   out + r * out_stride + kStrip * s, out_stride);
    for (; r < n_rows; ++r)
        tile_avx512<1, ALONE>(rows + r * row_stride, row_stride, dim, strips, out + r * out_stride,
                              out_stride);
}

INLAY_AVX512 inline void products_avx512(const float* rows, std::size_t n_rows, std::size_t row_stride,
                                         std::size_t dim, const float* strips, std::size_t n_strips,
                                         float* out, std::size_t out_stride) {
    std::size_t s = 0;
    for (; s + 8 <= n_strips; s += 8)
        strips_avx512<4, 8>(rows, n_rows, row_stride, dim, strips + kStrip * dim * s, out + kStrip * s,
                            out_stride);
    for (; s < n_strips; ++s)
        strips_avx512<1, 1>(rows, n_rows, row_stride, dim, strips + kStrip * dim * s, out + kStrip * s,
                            out_stride);
}

INLAY_AVX2 INLAY_INLINE std::int32_t pair_at(const std::int16_t* row, std::size_t j) {
    std::int32_t pair;
    std::memcpy(&pair, row + 2 * j, sizeof pair);
    return pair;
}

template <std::size_t ROWS>
INLAY_AVX2 INLAY_INLINE void short_tile_avx2(const std::int16_t* rows, std::size_t row_stride,
                                             const float* row_factors, std::size_t pairs,
                                             const std::int16_t* strip, float strip_factor, float* out,
                                             std::size_t out_stride) {
    __m256i sum[ROWS][2];
#pragma GCC unroll 6
    for (std::size_t r = 0; r < ROWS; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (std::size_t j = 0; j < pairs; ++j) {
        const __m256i* line = reinterpret_cast<const __m256i*>(strip + 2 * kStrip * j);
        const __m256i a = _mm256_loadu_si256(line), b = _mm256_loadu_si256(line + 1);
#pragma GCC unroll 6
        for (std::size_t r = 0; r < ROWS; ++r) {
            const __m256i x = _mm256_set1_epi32(pair_at(rows + r * row_stride, j));
            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(x, a));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(x, b));
        }
    }
#pragma GCC unroll 6
    for (std::size_t r = 0; r < ROWS; ++r) {
        const __m256 factor = _mm256_set1_ps(row_factors[r] * strip_factor);
        _mm256_storeu_ps(out + r * out_stride, _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][0]), factor));
        _mm256_storeu_ps(out + r * out_stride + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][1]), factor));
    }
}

INLAY_AVX2 inline void short_products_avx2(const std::int16_t* rows, std::size_t n_rows,
                                           std::size_t row_stride, const float* row_factors, std::size_t dim,
                                           const std::int16_t* strips, const float* strip_factors,
                                           std::size_t n_strips, float* out, std::size_t out_stride) {
    const std::size_t pairs = (dim + 1) / 2;
    for (std::size_t s = 0; s < n_strips; ++s) {
        const std::int16_t* strip = strips + 2 * kStrip * pairs * s;
        std::size_t r = 0;
        for (; r + 6 <= n_rows; r += 6)
            short_tile_avx2<6>(rows + r * row_stride, row_stride, row_factors + r, pairs, strip,
                               strip_factors[s], out + r * out_stride + kStrip * s, out_stride);
        for (; r < n_rows; ++r)
            short_tile_avx2<1>(rows + r * row_stride, row_stride, row_factors + r, pairs, strip,
                               strip_factors[s], out + r * out_stride + kStrip * s, out_stride);
    }
}

template <std::size_t ROWS, std::size_t STRIPS>
INLAY_AVX512 INLAY_INLINE void short_tile_avx512(const std::int16_t* rows, std::size_t row_stride,
                                                 const float* row_factors, std::size_t pairs,
                                                 const std::int16_t* strips, const float* strip_factors,
                                                 float* out, std::size_t out_stride) {
    __m512i sum[ROWS][STRIPS];
#pragma GCC unroll 6
    for (std::size_t r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (std::size_t s = 0; s < STRIPS; ++s) sum[r][s] = _mm512_setzero_si512();
    for (std::size_t j = 0; j < pairs; ++j) {
        __m512i word[STRIPS];
#pragma GCC unroll 8
        for (std::size_t s = 0; s < STRIPS; ++s)
            word[s] = _mm512_loadu_si512(strips + 2 * kStrip * (pairs * s + j));
#pragma GCC unroll 6
        for (std::size_t r = 0; r < ROWS; ++r) {
            const __m512i x = _mm512_set1_epi32(pair_at(rows + r * row_stride, j));
#pragma GCC unroll 8
            for (std::size_t s = 0; s < STRIPS; ++s) sum[r][s] = _mm512_dpwssd_epi32(sum[r][s], x, word[s]);
        }
    }
#pragma GCC unroll 6
    for (std::size_t r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (std::size_t s = 0; s < STRIPS; ++s)
            _mm512_storeu_ps(out + r * out_stride + kStrip * s,
                             _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][s]),
                                           _mm512_set1_ps(row_factors[r] * strip_factors[s])));
}

// A row alone takes eight strips at once, for its sums wait for each other.
template <std::size_t STRIPS, std::size_t ALONE>
INLAY_AVX512 INLAY_INLINE void short_strips_avx512(const std::int16_t* rows, std::size_t n_rows,
                                                   std::size_t row_stride, const float* row_factors,
                                                   std::size_t pairs, const std::int16_t* strips,
                                                   const float* strip_factors, float* out,
                                                   std::size_t out_stride) {
    std::size_t r = 0;
    for (; r + 6 <= n_rows; r += 6)
        for (std::size_t s = 0; s < ALONE; s += STRIPS)
            short_tile_avx512<6, STRIPS>(rows + r * row_stride, row_stride, row_factors + r, pairs,
                                         strips + 2 * kStrip * pairs * s, strip_factors + s,
                                         out + r * out_stride + kStrip * s, out_stride);
    for (; r < n_rows; ++r)
        short_tile_avx512<1, ALONE>(rows + r * row_stride, row_stride, row_factors + r, pairs, strips,
                                    strip_factors, out + r * out_stride, out_stride);
}

INLAY_AVX512 inline void short_products_avx512(const std::int16_t* rows, std::size_t n_rows,
                                               std::size_t row_stride, const float* row_factors,
                                               std::size_t dim, const std::int16_t* strips,
                                               const float* strip_factors, std::size_t n_strips, float* out,
                                               std::size_t out_stride) {
    const std::size_t pairs = (dim + 1) / 2;
    std::size_t s = 0;
    for (; s + 8 <= n_strips; s += 8)
        short_strips_avx512<4, 8>(rows, n_rows, row_stride, row_factors, pairs,
                                  strips + 2 * kStrip * pairs * s, strip_factors + s, out + kStrip * s,
                                  out_stride);
    for (; s < n_strips; ++s)
        short_strips_avx512<1, 1>(rows, n_rows, row_stride, row_factors, pairs,
                                  strips + 2 * kStrip * pairs * s, strip_factors + s, out + kStrip * s,
                                  out_stride);
}

// Sums stay in registers while all words are added: 8 * WIDTH coordinates.
template <std::size_t WIDTH>
INLAY_AVX2 INLAY_INLINE void add_strip_avx2(const float* words, std::size_t entries, std::size_t dim,
                                            const std::uint8_t* codes, std::size_t n_codes, float* out) {
    __m256 sum[WIDTH];
#pragma GCC unroll 8
    for (std::size_t w = 0; w < WIDTH; ++w) sum[w] = _mm256_setzero_ps();
    for (std::size_t s = 0; s < n_codes; ++s) {
        const float* word = words + (entries * s + codes[s]) * dim;
#pragma GCC unroll 8
        for (std::size_t w = 0; w < WIDTH; ++w)
            sum[w] = _mm256_add_ps(sum[w], _mm256_loadu_ps(word + 8 * w));
    }
#pragma GCC unroll 8
    for (std::size_t w = 0; w < WIDTH; ++w) _mm256_storeu_ps(out + 8 * w, sum[w]);
}

INLAY_AVX2 inline void add_words_avx2(const float* words, std::size_t entries, std::size_t dim,
                                      const std::uint8_t* codes, std::size_t n_codes, float* out) {
    std::size_t j = 0;
    for (; j + 64 <= dim; j += 64) add_strip_avx2<8>(words + j, entries, dim, codes, n_codes, out + j);
    for (; j + 8 <= dim; j += 8) add_strip_avx2<1>(words + j, entries, dim, codes, n_codes, out + j);
    for (; j < dim; ++j) {
        float sum = 0;
        for (std::size_t s = 0; s < n_codes; ++s) sum += words[(entries * s + codes[s]) * dim + j];
        out[j] = sum;
    }
}

INLAY_AVX2 inline std::size_t extend_avx2(const float* norms, const float* products, std::size_t entries,
                                          const float* scores, std::size_t parents,
                                          const float* const* crosses, std::size_t n_cross, std::size_t room,
                                          Step* out) {
    Steps best = {out, 0, room, __builtin_huge_valf()};
    for (std::size_t b = 0; b < parents; ++b)
        for (std::size_t k = 0; k < entries; k += 8) {
            __m256 found =
                _mm256_add_ps(_mm256_add_ps(_mm256_loadu_ps(norms + k), _mm256_loadu_ps(products + k)),
                              _mm256_set1_ps(scores[b]));
            for (std::size_t l = 0; l < n_cross; ++l)
                found = _mm256_add_ps(found, _mm256_loadu_ps(crosses[b * n_cross + l] + k));
            const __m256 less = _mm256_cmp_ps(found, _mm256_set1_ps(best.worst), _CMP_LT_OQ);
            unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(less));
            if (mask == 0) continue;
            float each[8];
            _mm256_storeu_ps(each, found);
            for (; mask != 0; mask &= mask - 1) {
                const unsigned e = static_cast<unsigned>(__builtin_ctz(mask));
                best.push(each[e], b, k + e);
            }
        }
    return best.size;
}

INLAY_AVX512 inline void add_words_avx512(const float* words, std::size_t entries, std::size_t dim,
                                          const std::uint8_t* codes, std::size_t n_codes, float* out) {
    std::size_t j = 0;
    for (; j + 128 <= dim; j += 128) {
        __m512 sum[8];
#pragma GCC unroll 8
        for (auto& part : sum) part = _mm512_setzero_ps();
        for (std::size_t s = 0; s < n_codes; ++s) {
            const float* word = words + (entries * s + codes[s]) * dim + j;
#pragma GCC unroll 8
            for (std::size_t w = 0; w < 8; ++w)
                sum[w] = _mm512_add_ps(sum[w], _mm512_loadu_ps(word + kStrip * w));
        }
#pragma GCC unroll 8
        for (std::size_t w = 0; w < 8; ++w) _mm512_storeu_ps(out + j + kStrip * w, sum[w]);
    }
    for (; j < dim; j += kStrip) {
        const __mmask16 mask = dim - j < kStrip ? static_cast<__mmask16>((1u << (dim - j)) - 1) : 0xFFFF;
        __m512 sum = _mm512_setzero_ps();
        for (std::size_t s = 0; s < n_codes; ++s)
            sum = _mm512_add_ps(sum,
                                _mm512_maskz_loadu_ps(mask, words + (entries * s + codes[s]) * dim + j));
        _mm512_mask_storeu_ps(out + j, mask, sum);
    }
}

// WIDTH strips of codewords at a time: as many sums that need not wait for each other.
template <std::size_t WIDTH>
INLAY_AVX512 INLAY_INLINE void extend_strips(const float* norms, const float* products, float score,
                                             const float* const* crosses, std::size_t n_cross, std::size_t b,
                                             std::size_t k, Steps& best) {
    __m512 found[WIDTH];
#pragma GCC unroll 4
    for (std::size_t w = 0; w < WIDTH; ++w)
        found[w] = _mm512_add_ps(_mm512_add_ps(_mm512_loadu_ps(norms + k + kStrip * w),
                                               _mm512_loadu_ps(products + k + kStrip * w)),
                                 _mm512_set1_ps(score));
    for (std::size_t l = 0; l < n_cross; ++l)
#pragma GCC unroll 4
        for (std::size_t w = 0; w < WIDTH; ++w)
            found[w] = _mm512_add_ps(found[w], _mm512_loadu_ps(crosses[l] + k + kStrip * w));
#pragma GCC unroll 4
    for (std::size_t w = 0; w < WIDTH; ++w) {
        unsigned mask = _mm512_cmp_ps_mask(found[w], _mm512_set1_ps(best.worst), _CMP_LT_OQ);
        if (mask == 0) continue;
        float each[kStrip];
        _mm512_storeu_ps(each, found[w]);
        for (; mask != 0; mask &= mask - 1) {
            const unsigned e = static_cast<unsigned>(__builtin_ctz(mask));
            best.push(each[e], b, k + kStrip * w + e);
        }
    }
}

INLAY_AVX512 inline std::size_t extend_avx512(const float* norms, const float* products, std::size_t entries,
                                              const float* scores, std::size_t parents,
                                              const float* const* crosses, std::size_t n_cross,
                                              std::size_t room, Step* out) {
    Steps best = {out, 0, room, __builtin_huge_valf()};
    for (std::size_t b = 0; b < parents; ++b, crosses += n_cross) {
        std::size_t k = 0;
        for (; k + 4 * kStrip <= entries; k += 4 * kStrip)
            extend_strips<4>(norms, products, scores[b], crosses, n_cross, b, k, best);
        for (; k < entries; k += kStrip)
            extend_strips<1>(norms, products, scores[b], crosses, n_cross, b, k, best);
    }
    return best.size;
}
#endif

}  // namespace inlay::additive
