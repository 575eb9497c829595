// What comes before and after fastscan.hpp: the tables of a query, and the scores that sums stand for.
//
// A table has an entry for each subset of a few coordinates, their sum, so that the code of a vector with one
// bit a dimension looks up the inner product of its bits with the query. As bytes:
//
//     entry = least of its table + step * byte        one step for all tables; `low` is the sum of the least
//
// Floats are float32 operations in one order and sums float64 in four lanes: every level gives the same bits.
#pragma once

#include <cstring>

#include "kernels/isa.hpp"

namespace inlay::lookup {

// The 2^width sums of some of `width` coordinates, 4 or 6, for all of y's: bit b of an entry's number stands
// for coordinate b of its table. Past its end y is 0, up to whole tables of 4, or four tables of 6.
using SubsetTables = void (*)(const float* y, std::size_t dim, std::size_t width, float* tables);

// `groups` tables of 16, 64 or 256 entries as bytes 0 .. most.
using QuantiseTables = void (*)(const float* tables, std::size_t groups, std::size_t size, unsigned most,
                                std::uint8_t* out, float* step, float* low);

// out[i] = (adds[i] + base) + rescales[i] * (step * sums[i] + shift) for n = 32 or 64 vectors, whose factors
// are bfloat16, the upper halves of float32; sums are below 2^31. Bit i of what is returned says
// out[i] < worst.
using Estimates = std::uint64_t (*)(const std::uint32_t* sums, const std::uint16_t* adds,
                                    const std::uint16_t* rescales, std::size_t n, float base, float step,
                                    float shift, float worst, float* out);

// Entry e is the entry without e's highest bit, and the coordinate of that bit.
template <std::size_t WIDTH>
INLAY_INLINE void subsets_scalar(const float* y, float* table) {
    table[0] = 0.0f;
    for (std::size_t b = 0; b < WIDTH; ++b)
        for (std::size_t e = 0; e < std::size_t{1} << b; ++e)
            table[(std::size_t{1} << b) + e] = table[e] + y[b];
}

struct Extent {
    float least, most;
};

template <std::size_t SIZE>
INLAY_INLINE Extent extent(const float* table) {
    Extent found = {table[0], table[0]};
    for (std::size_t e = 1; e < SIZE; ++e) {
        found.least = table[e] < found.least ? table[e] : found.least;
        found.most = table[e] > found.most ? table[e] : found.most;
    }
    return found;
}

// What is known of all tables; the least entry of each waits where its bytes will be.
struct Measured {
    float range = 0.0f;
    double lows[4] = {};

    template <std::size_t SIZE>
    INLAY_INLINE void add(const float* tables, std::size_t group, std::uint8_t* out) {
        const Extent found = extent<SIZE>(tables + SIZE * group);
        range = found.most - found.least > range ? found.most - found.least : range;
        lows[group % 4] += found.least;
        std::memcpy(out + SIZE * group, &found.least, sizeof found.least);
    }
    // 1 where no entry differs, or too little for a float32 step.
    INLAY_INLINE float step(unsigned most) const {
        const float found = range / static_cast<float>(most);
        return found > 1e-37f ? found : 1.0f;
    }
    INLAY_INLINE float low() const { return static_cast<float>((lows[0] + lows[2]) + (lows[1] + lows[3])); }
};

template <std::size_t SIZE>
INLAY_INLINE Measured measure_scalar(const float* tables, std::size_t groups, std::uint8_t* out) {
    Measured found;
    for (std::size_t group = 0; group < groups; ++group) found.add<SIZE>(tables, group, out);
    return found;
}

// Halves are rounded up.
template <std::size_t SIZE>
INLAY_INLINE void bytes_scalar(const float* table, float least, float inverse, float top, std::uint8_t* out) {
    for (std::size_t e = 0; e < SIZE; ++e) {
        const float t = (table[e] - least) * inverse + 0.5f;
        out[e] = static_cast<std::uint8_t>(t < top ? t : top);
    }
}

#if defined(INLAY_X86)
template <std::size_t WIDTH>
INLAY_AVX2 INLAY_INLINE void subsets_avx2(const float* y, float* table) {
    constexpr std::size_t kVectors = (std::size_t{1} << WIDTH) / 8;
    const __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256 entries[kVectors];
    entries[0] = _mm256_setzero_ps();
#pragma GCC unroll 3
    for (int b = 0; b < 3; ++b) {
        const __m256i bit = _mm256_set1_epi32(1 << b);
        const __m256 chosen = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(number, bit), bit));
        entries[0] = _mm256_add_ps(entries[0], _mm256_and_ps(_mm256_set1_ps(y[b]), chosen));
    }
#pragma GCC unroll 8
    for (std::size_t v = 1; v < kVectors; ++v) {
        const std::size_t b = v < 2 ? 0 : v < 4 ? 1 : 2;  // the highest bit of v
        entries[v] = _mm256_add_ps(entries[v - (std::size_t{1} << b)], _mm256_set1_ps(y[3 + b]));
    }
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kVectors; ++v) _mm256_storeu_ps(table + 8 * v, entries[v]);
}

// The least of each of four registers, or the largest.
#define INLAY_ACROSS(NAME)                                                                        \
    INLAY_AVX2 INLAY_INLINE __m128 NAME##_across_avx2(const __m256(&v)[4]) {                      \
        const __m256 ab =                                                                         \
            _mm256_##NAME##_ps(_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpackhi_ps(v[0], v[1]));   \
        const __m256 cd =                                                                         \
            _mm256_##NAME##_ps(_mm256_unpacklo_ps(v[2], v[3]), _mm256_unpackhi_ps(v[2], v[3]));   \
        const __m256 all =                                                                        \
            _mm256_##NAME##_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE)); \
        return _mm_##NAME##_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));       \
    }
INLAY_ACROSS(min)
INLAY_ACROSS(max)
#undef INLAY_ACROSS

template <std::size_t SIZE>
INLAY_AVX2 INLAY_INLINE Measured measure_avx2(const float* tables, std::size_t groups, std::uint8_t* out) {
    Measured found;
    __m128 range = _mm_setzero_ps();
    __m256d lows = _mm256_setzero_pd();
    std::size_t group = 0;
    for (; group + 4 <= groups; group += 4) {
        __m256 low[4], high[4];
#pragma GCC unroll 4
        for (std::size_t r = 0; r < 4; ++r) {
            const float* table = tables + SIZE * (group + r);
            low[r] = high[r] = _mm256_loadu_ps(table);
            for (std::size_t e = 8; e < SIZE; e += 8) {
                low[r] = _mm256_min_ps(low[r], _mm256_loadu_ps(table + e));
                high[r] = _mm256_max_ps(high[r], _mm256_loadu_ps(table + e));
            }
        }
        const __m128 least = min_across_avx2(low);
        range = _mm_max_ps(range, _mm_sub_ps(max_across_avx2(high), least));
        lows = _mm256_add_pd(lows, _mm256_cvtps_pd(least));
        float each[4];
        _mm_storeu_ps(each, least);
        for (std::size_t r = 0; r < 4; ++r) std::memcpy(out + SIZE * (group + r), each + r, sizeof *each);
    }
    float ranges[4];
    _mm_storeu_ps(ranges, range);
    for (const float one : ranges) found.range = one > found.range ? one : found.range;
    _mm256_storeu_pd(found.lows, lows);
    for (; group < groups; ++group) found.add<SIZE>(tables, group, out);
    return found;
}

template <std::size_t SIZE>
INLAY_AVX2 INLAY_INLINE void bytes_avx2(const float* table, float least, float inverse, float top,
                                        std::uint8_t* out) {
#pragma GCC unroll 4
    for (std::size_t e = 0; e < SIZE; e += 16) {
        __m256i number[2];
#pragma GCC unroll 2
        for (std::size_t h = 0; h < 2; ++h) {
            const __m256 above = _mm256_sub_ps(_mm256_loadu_ps(table + e + 8 * h), _mm256_set1_ps(least));
            const __m256 t =
                _mm256_add_ps(_mm256_mul_ps(above, _mm256_set1_ps(inverse)), _mm256_set1_ps(0.5f));
            number[h] = _mm256_cvttps_epi32(_mm256_min_ps(t, _mm256_set1_ps(top)));
        }
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(number[0], number[1]), 0xD8);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + e),
                         _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    }
}
#endif

#define INLAY_TABLES_LEVEL(TARGET, SUFFIX)                                                                   \
    template <std::size_t WIDTH>                                                                             \
    TARGET INLAY_INLINE void subset_tables_of_##SUFFIX(const float* y, std::size_t dim, float* tables) {     \
        constexpr std::size_t kSize = std::size_t{1} << WIDTH, kWhole = WIDTH == 4 ? 4 : 24;                 \
        std::size_t i = 0;                                                                                   \
        for (; i + WIDTH <= dim; i += WIDTH, tables += kSize) subsets_##SUFFIX<WIDTH>(y + i, tables);        \
        for (; i < (dim + kWhole - 1) / kWhole * kWhole; i += WIDTH, tables += kSize) {                      \
            float rest[WIDTH] = {};                                                                          \
            for (std::size_t b = 0; i + b < dim; ++b) rest[b] = y[i + b];                                    \
            subsets_##SUFFIX<WIDTH>(rest, tables);                                                           \
        }                                                                                                    \
    }                                                                                                        \
    TARGET inline void subset_tables_##SUFFIX(const float* y, std::size_t dim, std::size_t width,            \
                                              float* tables) {                                               \
        width == 4 ? subset_tables_of_##SUFFIX<4>(y, dim, tables)                                            \
                   : subset_tables_of_##SUFFIX<6>(y, dim, tables);                                           \
    }                                                                                                        \
    template <std::size_t SIZE>                                                                              \
    TARGET INLAY_INLINE void quantise_tables_of_##SUFFIX(const float* tables, std::size_t groups,            \
                                                         unsigned most, std::uint8_t* out, float* step,      \
                                                         float* low) {                                       \
        const Measured found = measure_##SUFFIX<SIZE>(tables, groups, out);                                  \
        *step = found.step(most);                                                                            \
        *low = found.low();                                                                                  \
        const float inverse = 1.0f / *step;                                                                  \
        for (std::size_t i = 0; i < SIZE * groups; i += SIZE) {                                              \
            float least;                                                                                     \
            std::memcpy(&least, out + i, sizeof least);                                                      \
            bytes_##SUFFIX<SIZE>(tables + i, least, inverse, static_cast<float>(most), out + i);             \
        }                                                                                                    \
    }                                                                                                        \
    TARGET inline void quantise_tables_##SUFFIX(const float* tables, std::size_t groups, std::size_t size,   \
                                                unsigned most, std::uint8_t* out, float* step, float* low) { \
        size == 16   ? quantise_tables_of_##SUFFIX<16>(tables, groups, most, out, step, low)                 \
        : size == 64 ? quantise_tables_of_##SUFFIX<64>(tables, groups, most, out, step, low)                 \
                     : quantise_tables_of_##SUFFIX<256>(tables, groups, most, out, step, low);               \
    }

INLAY_TABLES_LEVEL(, scalar)
#if defined(INLAY_X86)
INLAY_TABLES_LEVEL(INLAY_AVX2, avx2)
#endif
#undef INLAY_TABLES_LEVEL

// ---- estimates

INLAY_INLINE float widen(std::uint16_t upper) {
    const std::uint32_t bits = static_cast<std::uint32_t>(upper) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline std::uint64_t estimates_scalar(const std::uint32_t* sums, const std::uint16_t* adds,
                                      const std::uint16_t* rescales, std::size_t n, float base, float step,
                                      float shift, float worst, float* out) {
    std::uint64_t better = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const float sum = static_cast<float>(static_cast<std::int32_t>(sums[i]));
        out[i] = (widen(adds[i]) + base) + widen(rescales[i]) * (step * sum + shift);
        better |= static_cast<std::uint64_t>(out[i] < worst) << i;
    }
    return better;
}

#if defined(INLAY_X86)
INLAY_AVX2 INLAY_INLINE __m256 widen_avx2(const std::uint16_t* upper) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(upper))), 16));
}

INLAY_AVX2 inline std::uint64_t estimates_avx2(const std::uint32_t* sums, const std::uint16_t* adds,
                                               const std::uint16_t* rescales, std::size_t n, float base,
                                               float step, float shift, float worst, float* out) {
    std::uint64_t better = 0;
    for (std::size_t i = 0; i < n; i += 8) {
        const __m256 sum =
            _mm256_mul_ps(_mm256_set1_ps(step),
                          _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + i))));
        const __m256 found =
            _mm256_add_ps(_mm256_add_ps(widen_avx2(adds + i), _mm256_set1_ps(base)),
                          _mm256_mul_ps(widen_avx2(rescales + i), _mm256_add_ps(sum, _mm256_set1_ps(shift))));
        _mm256_storeu_ps(out + i, found);
        const int mask = _mm256_movemask_ps(_mm256_cmp_ps(found, _mm256_set1_ps(worst), _CMP_LT_OQ));
        better |= static_cast<std::uint64_t>(mask) << i;
    }
    return better;
}

INLAY_AVX512 INLAY_INLINE __m512 widen_avx512(const std::uint16_t* upper) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(upper))), 16));
}

INLAY_AVX512 inline std::uint64_t estimates_avx512(const std::uint32_t* sums, const std::uint16_t* adds,
                                                   const std::uint16_t* rescales, std::size_t n, float base,
                                                   float step, float shift, float worst, float* out) {
    std::uint64_t better = 0;
    for (std::size_t i = 0; i < n; i += 16) {
        const __m512 sum =
            _mm512_mul_ps(_mm512_set1_ps(step), _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + i)));
        const __m512 found = _mm512_add_ps(
            _mm512_add_ps(widen_avx512(adds + i), _mm512_set1_ps(base)),
            _mm512_mul_ps(widen_avx512(rescales + i), _mm512_add_ps(sum, _mm512_set1_ps(shift))));
        _mm512_storeu_ps(out + i, found);
        const __mmask16 mask = _mm512_cmp_ps_mask(found, _mm512_set1_ps(worst), _CMP_LT_OQ);
        better |= static_cast<std::uint64_t>(mask) << i;
    }
    return better;
}
#endif

#if defined(INLAY_NEON)
INLAY_INLINE float32x4_t widen_neon(const std::uint16_t* upper) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vld1_u16(upper)), 16));
}

inline std::uint64_t estimates_neon(const std::uint32_t* sums, const std::uint16_t* adds,
                                    const std::uint16_t* rescales, std::size_t n, float base, float step,
                                    float shift, float worst, float* out) {
    const uint32_t bits[4] = {1, 2, 4, 8};
    std::uint64_t better = 0;
    for (std::size_t i = 0; i < n; i += 4) {
        const float32x4_t sum = vcvtq_f32_s32(vreinterpretq_s32_u32(vld1q_u32(sums + i)));
        const float32x4_t scaled = vaddq_f32(vmulq_n_f32(sum, step), vdupq_n_f32(shift));
        const float32x4_t found = vaddq_f32(vaddq_f32(widen_neon(adds + i), vdupq_n_f32(base)),
                                            vmulq_f32(widen_neon(rescales + i), scaled));
        vst1q_f32(out + i, found);
        const uint32x4_t less = vcltq_f32(found, vdupq_n_f32(worst));
        better |= static_cast<std::uint64_t>(vaddvq_u32(vandq_u32(less, vld1q_u32(bits)))) << i;
    }
    return better;
}
#endif

}  // namespace inlay::lookup
