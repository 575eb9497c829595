// Locally-adaptive quantisation of one row: finding its grid, making its codes, scoring and undoing them.
//
//     r ~ low + step * c                        c in 0 .. 2^bits - 1, one a dimension     (first level)
//       ~ low + step2 * (c * 2^bits2 + c2)      step2 = step / 2^bits2, c2 signed         (second level)
//
// These loops are plain C++ over 16 lanes; every level compiles the same text with its own vectors. Sums are
// kept in 16 lanes and added up in one fixed order, and nothing is fused, so all levels give the same bits: a
// file made on one CPU is the file made on another.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/codes.hpp"
#include "kernels/isa.hpp"

namespace inlay::lvq {

constexpr std::size_t kLanes = 16;

INLAY_INLINE float lane_total(const float* lanes) {
    float half[8], quarter[4];
    for (int j = 0; j < 8; ++j) half[j] = lanes[j] + lanes[j + 8];
    for (int j = 0; j < 4; ++j) quarter[j] = half[j] + half[j + 4];
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

// Walk `dim` dimensions 16 lanes at a time; BODY sees i (dimension) and j (lane).
#define INLAY_LANES(dim, ...)                            \
    {                                                    \
        std::size_t base = 0;                            \
        for (; base + kLanes <= (dim); base += kLanes)   \
            for (std::size_t j = 0; j < kLanes; ++j) {   \
                const std::size_t i = base + j;          \
                __VA_ARGS__                              \
            }                                            \
        for (std::size_t j = 0; base + j < (dim); ++j) { \
            const std::size_t i = base + j;              \
            __VA_ARGS__                                  \
        }                                                \
    }

struct Grid {
    float low, step;
};

// Nearest code, halves rounded up, clamped to the grid.
INLAY_INLINE float code_of(float r, float low, float inverse, float top) {
    float t = (r - low) * inverse;
    t = t > 0.0f ? t : 0.0f;
    t = t < top ? t : top;
    return static_cast<float>(static_cast<std::int32_t>(t + 0.5f));
}

// The grid from the smallest to the largest value. A constant row takes step 1 and code 0 everywhere, so that
// `low` alone gives it back; so does a row whose range is too narrow for a float32 step.
INLAY_INLINE Grid min_max_body(const float* r, std::size_t dim, float top) {
    float low[kLanes], high[kLanes];
    for (std::size_t j = 0; j < kLanes; ++j) low[j] = high[j] = r[0];
    INLAY_LANES(dim, low[j] = r[i] < low[j] ? r[i] : low[j]; high[j] = r[i] > high[j] ? r[i] : high[j];)
    for (std::size_t j = 1; j < kLanes; ++j) {
        low[0] = low[j] < low[0] ? low[j] : low[0];
        high[0] = high[j] > high[0] ? high[j] : high[0];
    }
    // Halved before they are subtracted: the range of finite floats need not be finite.
    const float step = (high[0] * 0.5f - low[0] * 0.5f) / (top * 0.5f);
    return {low[0], step > 1e-37f ? step : 1.0f};
}

struct Fit {
    float error, n_code, n_code2, n_product;
};

// How well a grid fits, and the sums its least-squares refit needs.
INLAY_INLINE Fit measure(const float* r, std::size_t dim, Grid grid, float top) {
    const float inverse = 1.0f / grid.step;
    float error[kLanes] = {}, code[kLanes] = {}, code2[kLanes] = {}, product[kLanes] = {};
    INLAY_LANES(dim, const float c = code_of(r[i], grid.low, inverse, top);
                const float e = r[i] - (grid.low + grid.step * c); error[j] += e * e; code[j] += c;
                code2[j] += c * c; product[j] += c * r[i];)
    return {lane_total(error), lane_total(code), lane_total(code2), lane_total(product)};
}

// Bounds that lose less than min-max: shrink the range about its mean by each factor, refit low and step by
// least squares a few times, keep the best. The factor 1 without refit is min-max itself, so this is never
// worse.
INLAY_INLINE Grid multi_start_body(const float* r, std::size_t dim, float top) {
    constexpr float kShrink[] = {1.0f, 0.9f, 0.8f, 0.7f, 0.6f, 0.5f};
    constexpr int kRefits = 3;
    const Grid start = min_max_body(r, dim, top);
    float sums[kLanes] = {};
    INLAY_LANES(dim, sums[j] += r[i];)
    const float total = lane_total(sums), n = static_cast<float>(dim), mean = total / n;
    Grid best = start;
    float least = measure(r, dim, start, top).error;
    for (const float shrink : kShrink) {
        Grid grid = {mean + (start.low - mean) * shrink, start.step * shrink};
        for (int round = 0; round <= kRefits; ++round) {
            const Fit fit = measure(r, dim, grid, top);
            if (fit.error < least) {
                least = fit.error;
                best = grid;
            }
            const float spread = n * fit.n_code2 - fit.n_code * fit.n_code;
            const float step = (n * fit.n_product - fit.n_code * total) / spread;
            if (!(spread > 0.0f) || !(step > 1e-37f)) break;
            grid = {(total - step * fit.n_code) / n, step};
        }
    }
    return best;
}

// Codes, one byte a dimension; returns <r, low + step c> / |.| sums for the correction: out[0] = |r|^2,
// out[1] = <r, rhat>.
INLAY_INLINE void quantise_body(const float* r, std::size_t dim, Grid grid, float top, std::uint8_t* codes,
                                float* out) {
    float square[kLanes] = {}, product[kLanes] = {};
    INLAY_LANES(dim, float t = (r[i] - grid.low) / grid.step; t = t > 0.0f ? t : 0.0f; t = t < top ? t : top;
                const std::int32_t c = static_cast<std::int32_t>(t + 0.5f);
                codes[i] = static_cast<std::uint8_t>(c);
                const float rhat = grid.low + grid.step * static_cast<float>(c); square[j] += r[i] * r[i];
                product[j] += r[i] * rhat;)
    out[0] = lane_total(square);
    out[1] = lane_total(product);
}

// Second level, one signed byte a dimension.
INLAY_INLINE void residual_body(const float* r, const std::uint8_t* codes, std::size_t dim, Grid grid,
                                float step2, float half2, std::int8_t* codes2) {
    for (std::size_t i = 0; i < dim; ++i) {
        const float e = r[i] - (grid.low + grid.step * static_cast<float>(codes[i]));
        float t = e / step2 + half2 + 0.5f;
        t = t > 0.0f ? t : 0.0f;
        t = t < 2.0f * half2 - 0.5f ? t : 2.0f * half2 - 0.5f;
        codes2[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(t) - static_cast<std::int32_t>(half2));
    }
}

// rhat from one or both levels: low + step * (codes * scale2 + codes2); codes2 null for one level (scale2 1).
INLAY_INLINE void expand_body(const std::uint8_t* codes, const std::int8_t* codes2, std::size_t dim,
                              float low, float step, std::int32_t scale2, const float* mean, float* out) {
    if (codes2 == nullptr)
        for (std::size_t i = 0; i < dim; ++i)
            out[i] = mean[i] + (low + step * static_cast<float>(static_cast<std::int32_t>(codes[i])));
    else
        for (std::size_t i = 0; i < dim; ++i) {
            const std::int32_t both = static_cast<std::int32_t>(codes[i]) * scale2 + codes2[i];
            out[i] = mean[i] + (low + step * static_cast<float>(both));
        }
}

// Signed nibbles, dimension 2i below 2i + 1, to signed bytes.
INLAY_INLINE void unpack_nibbles_body(const std::uint8_t* packed, std::size_t dim, std::int8_t* codes2) {
    // Two a round, so that compilers see vectors: 384 dimensions took 320 ns one by one, and take 10.
    for (std::size_t i = 0; i < dim / 2; ++i) {
        codes2[2 * i] = static_cast<std::int8_t>(((packed[i] & 15) ^ 8) - 8);
        codes2[2 * i + 1] = static_cast<std::int8_t>(((packed[i] >> 4) ^ 8) - 8);
    }
    if (dim % 2 != 0) codes2[dim - 1] = static_cast<std::int8_t>(((packed[dim / 2] & 15) ^ 8) - 8);
}

// What the rows of a run need beside their integer products: see codecs/lvq.pyx. norms and selectors may be
// null.
struct Constants {
    const float *steps, *lows, *norms;
    const std::uint8_t* selectors;
};

// score = steps * (scale * dot) + (lows * sum + (norms + offsets[selector]))
template <bool NORMS, bool SELECTORS>
INLAY_INLINE void estimate_as(const std::int32_t* dots, std::size_t n, Constants rows, float scale, float sum,
                              const float* offsets, float* out) {
    for (std::size_t i = 0; i < n; ++i) {
        float constant = rows.lows[i] * sum;
        if (NORMS) constant += rows.norms[i];
        if (SELECTORS) constant += offsets[rows.selectors[i]];
        out[i] = rows.steps[i] * (scale * static_cast<float>(dots[i])) + constant;
    }
}

INLAY_INLINE void estimate_body(const std::int32_t* dots, std::size_t n, Constants rows, float scale,
                                float sum, const float* offsets, float* out) {
    if (rows.norms != nullptr && rows.selectors != nullptr)
        estimate_as<true, true>(dots, n, rows, scale, sum, offsets, out);
    else if (rows.norms != nullptr)
        estimate_as<true, false>(dots, n, rows, scale, sum, offsets, out);
    else if (rows.selectors != nullptr)
        estimate_as<false, true>(dots, n, rows, scale, sum, offsets, out);
    else
        estimate_as<false, false>(dots, n, rows, scale, sum, offsets, out);
}

using Estimate = void (*)(const std::int32_t* dots, std::size_t n, Constants rows, float scale, float sum,
                          const float* offsets, float* out);

// Queries as a scan takes them: int8 values (of one, or of eight interleaved as codes.hpp says) and what
// turns integer products into scores. Offsets of query a begin at offsets + a * offset_stride; n_offsets of
// them are in use, and there is room for 64 at least.
struct Queries {
    const std::int8_t* values;
    const float *scales, *sums, *offsets;
    std::size_t offset_stride, n_offsets;
};

// Scores of one or eight queries against n rows: out[a * out_stride + i]. `blocks` and `rows` begin at the
// same row.
using Scan = void (*)(const std::uint8_t* blocks, std::size_t lines, Queries queries, Constants rows,
                      std::size_t n, float* out, std::size_t out_stride);

// Products first, then scores, in runs whose products stay in the first cache.
template <codes::Dots DOTS, Estimate ESTIMATE, std::size_t Q>
inline void scan_in_runs(const std::uint8_t* blocks, std::size_t lines, Queries queries, Constants rows,
                         std::size_t n, float* out, std::size_t out_stride) {
    constexpr std::size_t kRun = 256;
    std::int32_t products[Q * kRun];
    for (std::size_t first = 0; first < n; first += kRun) {
        const std::size_t run = n - first < kRun ? n - first : kRun;
        DOTS(blocks + first / codes::kRows * lines * codes::kLine, (run + codes::kRows - 1) / codes::kRows,
             lines, queries.values, products, kRun);
        const Constants here = {rows.steps + first, rows.lows + first,
                                rows.norms == nullptr ? nullptr : rows.norms + first,
                                rows.selectors == nullptr ? nullptr : rows.selectors + first};
        for (std::size_t a = 0; a < Q; ++a)
            ESTIMATE(products + a * kRun, run, here, queries.scales[a], queries.sums[a],
                     queries.offsets + a * queries.offset_stride, out + a * out_stride + first);
    }
}

#if defined(INLAY_X86)
// The same without leaving the registers: 4 % less time for eight queries. The operations and their order
// are those of estimate_as, so the scores are too.
enum Offsets { kNoOffsets, kFewOffsets, kManyOffsets };
constexpr std::size_t kFew = 64;  // offsets that fit four registers

template <bool NORMS, Offsets OFFSETS>
struct Score {
    Queries queries;
    Constants all;
    std::size_t n;
    float* out;
    std::size_t out_stride;

    struct Rows {
        __m512 steps, lows, norms;
        __m512i selectors;
        float* out;
        __mmask16 valid;
    };
    INLAY_AVX512 INLAY_INLINE Rows rows(std::size_t block) const {
        const std::size_t first = block * codes::kRows;
        const __mmask16 valid =
            n - first >= codes::kRows ? 0xFFFF : static_cast<__mmask16>((1u << (n - first)) - 1);
        return {_mm512_maskz_loadu_ps(valid, all.steps + first),
                _mm512_maskz_loadu_ps(valid, all.lows + first),
                NORMS ? _mm512_maskz_loadu_ps(valid, all.norms + first) : _mm512_setzero_ps(),
                OFFSETS != kNoOffsets
                    ? _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(valid, all.selectors + first))
                    : _mm512_setzero_si512(),
                out + first,
                valid};
    }
    // Looked up in registers where they fit: with gathers, batches over 64 means ran at 3,700 q/s, not 4,700.
    INLAY_AVX512 INLAY_INLINE __m512 offsets(const float* table, __m512i which) const {
        if (OFFSETS == kManyOffsets) return _mm512_i32gather_ps(which, table, 4);
        const __m512 low = _mm512_permutex2var_ps(_mm512_loadu_ps(table), which, _mm512_loadu_ps(table + 16));
        const __m512 high =
            _mm512_permutex2var_ps(_mm512_loadu_ps(table + 32), which, _mm512_loadu_ps(table + 48));
        return _mm512_mask_blend_ps(_mm512_test_epi32_mask(which, _mm512_set1_epi32(32)), low, high);
    }
    INLAY_AVX512 INLAY_INLINE void operator()(const Rows& rows, std::size_t a, __m512i sum) const {
        __m512 constant = _mm512_mul_ps(rows.lows, _mm512_set1_ps(queries.sums[a]));
        if (NORMS) constant = _mm512_add_ps(constant, rows.norms);
        if (OFFSETS != kNoOffsets)
            constant =
                _mm512_add_ps(constant, offsets(queries.offsets + a * queries.offset_stride, rows.selectors));
        const __m512 product = _mm512_mul_ps(_mm512_set1_ps(queries.scales[a]), _mm512_cvtepi32_ps(sum));
        _mm512_mask_storeu_ps(rows.out + a * out_stride, rows.valid,
                              _mm512_add_ps(_mm512_mul_ps(rows.steps, product), constant));
    }
};

template <int BITS, std::size_t Q, bool NORMS, Offsets OFFSETS>
INLAY_AVX512 inline void scan_as_avx512(const std::uint8_t* blocks, std::size_t lines, Queries queries,
                                        Constants rows, std::size_t n, float* out, std::size_t out_stride) {
    const Score<NORMS, OFFSETS> score{queries, rows, n, out, out_stride};
    const std::size_t n_blocks = (n + codes::kRows - 1) / codes::kRows;
    if constexpr (Q == 1)
        codes::pass_one_avx512<BITS>(blocks, n_blocks, lines, queries.values, score);
    else
        codes::pass_eight_avx512<BITS>(blocks, n_blocks, lines, queries.values, score);
}

template <int BITS, std::size_t Q>
inline void scan_avx512(const std::uint8_t* blocks, std::size_t lines, Queries queries, Constants rows,
                        std::size_t n, float* out, std::size_t out_stride) {
    constexpr Scan kForms[2][3] = {
        {scan_as_avx512<BITS, Q, false, kNoOffsets>, scan_as_avx512<BITS, Q, false, kFewOffsets>,
         scan_as_avx512<BITS, Q, false, kManyOffsets>},
        {scan_as_avx512<BITS, Q, true, kNoOffsets>, scan_as_avx512<BITS, Q, true, kFewOffsets>,
         scan_as_avx512<BITS, Q, true, kManyOffsets>},
    };
    const Offsets offsets = rows.selectors == nullptr   ? kNoOffsets
                            : queries.n_offsets <= kFew ? kFewOffsets
                                                        : kManyOffsets;
    const Scan as = kForms[rows.norms != nullptr][offsets];
    as(blocks, lines, queries, rows, n, out, out_stride);
}
#endif

// int8 values of a query: scale = max |q| / 127, values = round(q / scale). Returns the scale (1 for zeros).
INLAY_INLINE float query_body(const float* q, std::size_t dim, std::int8_t* values) {
    float sizes[kLanes] = {}, most = 0.0f;
    INLAY_LANES(dim, const float size = std::fabs(q[i]); sizes[j] = size > sizes[j] ? size : sizes[j];)
    for (std::size_t j = 0; j < kLanes; ++j) most = sizes[j] > most ? sizes[j] : most;
    const float scale = most > 1e-35f ? most / 127.0f : 1.0f;
    for (std::size_t i = 0; i < dim; ++i) {
        float t = q[i] / scale + 127.5f;
        t = t > 0.0f ? t : 0.0f;
        t = t < 254.5f ? t : 254.5f;
        values[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(t) - 127);
    }
    return scale;
}

using FindGrid = Grid (*)(const float* r, std::size_t dim, float top);
using Quantise = void (*)(const float* r, std::size_t dim, Grid grid, float top, std::uint8_t* codes,
                          float* out);
using Residual = void (*)(const float* r, const std::uint8_t* codes, std::size_t dim, Grid grid, float step2,
                          float half2, std::int8_t* codes2);
using Expand = void (*)(const std::uint8_t* codes, const std::int8_t* codes2, std::size_t dim, float low,
                        float step, std::int32_t scale2, const float* mean, float* out);
using UnpackNibbles = void (*)(const std::uint8_t* packed, std::size_t dim, std::int8_t* codes2);
using Query = float (*)(const float* q, std::size_t dim, std::int8_t* values);

#define INLAY_LVQ_LEVEL(TARGET, SUFFIX)                                                              \
    TARGET inline Grid min_max_##SUFFIX(const float* r, std::size_t dim, float top) {                \
        return min_max_body(r, dim, top);                                                            \
    }                                                                                                \
    TARGET inline Grid multi_start_##SUFFIX(const float* r, std::size_t dim, float top) {            \
        return multi_start_body(r, dim, top);                                                        \
    }                                                                                                \
    TARGET inline void quantise_##SUFFIX(const float* r, std::size_t dim, Grid grid, float top,      \
                                         std::uint8_t* codes, float* out) {                          \
        quantise_body(r, dim, grid, top, codes, out);                                                \
    }                                                                                                \
    TARGET inline void residual_##SUFFIX(const float* r, const std::uint8_t* codes, std::size_t dim, \
                                         Grid grid, float step2, float half2, std::int8_t* codes2) { \
        residual_body(r, codes, dim, grid, step2, half2, codes2);                                    \
    }                                                                                                \
    TARGET inline void unpack_nibbles_##SUFFIX(const std::uint8_t* packed, std::size_t dim,          \
                                               std::int8_t* codes2) {                                \
        unpack_nibbles_body(packed, dim, codes2);                                                    \
    }                                                                                                \
    TARGET inline void estimate_##SUFFIX(const std::int32_t* dots, std::size_t n, Constants rows,    \
                                         float scale, float sum, const float* offsets, float* out) { \
        estimate_body(dots, n, rows, scale, sum, offsets, out);                                      \
    }                                                                                                \
    TARGET inline float query_##SUFFIX(const float* q, std::size_t dim, std::int8_t* values) {       \
        return query_body(q, dim, values);                                                           \
    }

INLAY_LVQ_LEVEL(, scalar)
#if defined(INLAY_X86)
INLAY_LVQ_LEVEL(INLAY_AVX2, avx2)
INLAY_LVQ_LEVEL(INLAY_AVX512, avx512)
#endif
#undef INLAY_LVQ_LEVEL

inline void expand_scalar(const std::uint8_t* codes, const std::int8_t* codes2, std::size_t dim, float low,
                          float step, std::int32_t scale2, const float* mean, float* out) {
    expand_body(codes, codes2, dim, low, step, scale2, mean, out);
}
#if defined(INLAY_X86)
INLAY_AVX2 inline void expand_avx2(const std::uint8_t* codes, const std::int8_t* codes2, std::size_t dim,
                                   float low, float step, std::int32_t scale2, const float* mean,
                                   float* out) {
    expand_body(codes, codes2, dim, low, step, scale2, mean, out);
}
// By hand: in the compiler's form two levels took 110 ns more than one for 384 dimensions. Cold searches,
// which wait for memory, showed no difference.
INLAY_AVX512 inline void expand_avx512(const std::uint8_t* codes, const std::int8_t* codes2, std::size_t dim,
                                       float low, float step, std::int32_t scale2, const float* mean,
                                       float* out) {
    const __m512 lows = _mm512_set1_ps(low), steps = _mm512_set1_ps(step);
    const __m512i scale = _mm512_set1_epi32(codes2 == nullptr ? 1 : scale2);
    for (std::size_t i = 0; i < dim; i += 16) {
        const __mmask16 valid = dim - i >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << (dim - i)) - 1);
        __m512i code = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(valid, codes + i));
        if (codes2 != nullptr)
            code = _mm512_add_epi32(_mm512_mullo_epi32(code, scale),
                                    _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(valid, codes2 + i)));
        const __m512 rhat = _mm512_add_ps(lows, _mm512_mul_ps(steps, _mm512_cvtepi32_ps(code)));
        _mm512_mask_storeu_ps(out + i, valid, _mm512_add_ps(_mm512_maskz_loadu_ps(valid, mean + i), rhat));
    }
}
#endif
#undef INLAY_LANES

}  // namespace inlay::lvq
