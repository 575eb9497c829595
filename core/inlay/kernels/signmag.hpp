// Codes of two bits a dimension, sign and magnitude, against queries of two or four: XORs and popcounts.
//
// Rows and queries are weighted sums of digits that are +1 or -1, one bit each (set for +1):
//
//     row      x = a P + T           a = 2: levels -3 -1 1 3        a = 3: levels -4 -2 2 4, which are 1:2
//     query    Y = sum_b w_b U_b     2 bits: w = 1 a, as a row      4 bits: w = 1 2 4 8, levels -15 .. 15
//
// The product of two digits is -1 where their bits differ, so over n dimensions popcounts give
//
//     <x, Y> = (a + 1) sum_b w_b n - 2 h        h = sum_b w_b (a popc(p ^ u_b) + popc(t ^ u_b))
//
// A row is ceil(n / 64) pairs of words, p t p t .., and its constants. A query's planes have each word twice,
// u u v v .., so one XOR and one popcount of a register serve both planes of a row. Bits past n are 0 on both
// sides and never differ.
//
// h is exact, and what follows are the same four float32 operations everywhere: every level gives the same
// bits. 2 h <= 120 n fits 32 bits for n <= kMaxDim.
#pragma once

#include <cstring>

#include "kernels/isa.hpp"

namespace inlay::signmag {

constexpr std::size_t kMaxDim = 1 << 24;
constexpr std::size_t kBlock = 8;  // words; a query's planes are filled up with zeros to whole blocks

// A row has `words` words of planes; the two float32 in word number `pair` are its constants.
struct Rows {
    const std::uint8_t* bytes;
    std::size_t stride, words, pair;
};

// Plane b begins at word b * plane.
struct Query {
    const std::uint64_t* planes;
    std::size_t plane;
    std::int32_t a, all;  // all = (a + 1) sum_b w_b n
    float base, factor;
};

// out[i] = (pair[1] + base) - (pair[0] * factor) * <x, Y> for the rows named by slots.
using Scores = void (*)(Rows rows, const std::uint32_t* slots, std::size_t n, const Query& query, float* out);

INLAY_INLINE std::uint64_t word_at(const void* bytes, std::size_t i) {
    std::uint64_t word;
    std::memcpy(&word, static_cast<const unsigned char*>(bytes) + 8 * i, sizeof word);
    return word;
}

// How many bits are set; compilers know this form, and use the instruction where a target has it.
INLAY_INLINE std::uint32_t ones(std::uint64_t x) {
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return static_cast<std::uint32_t>(x * 0x0101010101010101u >> 56);
}

INLAY_INLINE const std::uint8_t* row_of(const Rows& rows, std::uint32_t slot) {
    return rows.bytes + slot * rows.stride;
}

INLAY_INLINE float score_of(const std::uint8_t* row, const Rows& rows, const Query& query, std::int32_t h) {
    float pair[2];
    std::memcpy(pair, row + 8 * rows.pair, sizeof pair);
    return (pair[1] + query.base) - (pair[0] * query.factor) * static_cast<float>(query.all - 2 * h);
}

// The weight of plane b.
template <int BITS>
INLAY_INLINE std::uint32_t weight(const Query& query, int b) {
    return BITS == 2 && b == 1 ? static_cast<std::uint32_t>(query.a) : 1u << b;
}

template <int BITS>
inline void scores_scalar(Rows rows, const std::uint32_t* slots, std::size_t n, const Query& query,
                          float* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* row = row_of(rows, slots[i]);
        std::uint32_t differ[2] = {};  // in the first plane, in the second
        for (std::size_t word = 0; word < rows.words; ++word)
            for (int b = 0; b < BITS; ++b)
                differ[word % 2] +=
                    weight<BITS>(query, b) * ones(word_at(row, word) ^ query.planes[b * query.plane + word]);
        const std::uint32_t h = static_cast<std::uint32_t>(query.a) * differ[0] + differ[1];
        out[i] = score_of(row, rows, query, static_cast<std::int32_t>(h));
    }
}

#if defined(INLAY_X86)
// Bits by table, half a byte at a time. A step adds at most 8 to a byte of counts, so 31 steps fit.
constexpr std::size_t kRun = 31;

INLAY_AVX2 INLAY_INLINE __m256i low_half_avx2(__m256i x) {
    return _mm256_and_si256(x, _mm256_set1_epi8(15));
}
INLAY_AVX2 INLAY_INLINE __m256i high_half_avx2(__m256i x) {
    return low_half_avx2(_mm256_srli_epi16(x, 4));
}

// sum[r][b]: how many bits differ in each word, added up: even lanes p, odd ones t.
template <int BITS, int R>
INLAY_AVX2 INLAY_INLINE void count_avx2(const std::uint8_t* const* row, std::size_t words, const Query& query,
                                        __m256i (&sum)[R][BITS]) {
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    for (std::size_t start = 0; start < words; start += 4 * kRun) {
        __m256i count[R][BITS];
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int b = 0; b < BITS; ++b) count[r][b] = _mm256_setzero_si256();
        const std::size_t end = words - start < 4 * kRun ? words : start + 4 * kRun;
        for (std::size_t i = start; i < end; i += 4) {
            __m256i low[R], high[R];
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) {
                const __m128i* at = reinterpret_cast<const __m128i*>(row[r] + 8 * i);
                const __m256i x = end - i >= 4 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at))
                                               : _mm256_zextsi128_si256(_mm_loadu_si128(at));
                low[r] = low_half_avx2(x);
                high[r] = high_half_avx2(x);
            }
#pragma GCC unroll 4
            for (int b = 0; b < BITS; ++b) {
                const __m256i u =
                    _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query.planes + b * query.plane + i));
                const __m256i u_low = low_half_avx2(u), u_high = high_half_avx2(u);
#pragma GCC unroll 2
                for (int r = 0; r < R; ++r) {
                    const __m256i ones =
                        _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_xor_si256(low[r], u_low)),
                                        _mm256_shuffle_epi8(table, _mm256_xor_si256(high[r], u_high)));
                    count[r][b] = _mm256_add_epi8(count[r][b], ones);
                }
            }
        }
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int b = 0; b < BITS; ++b)
                sum[r][b] = _mm256_add_epi64(sum[r][b], _mm256_sad_epu8(count[r][b], _mm256_setzero_si256()));
    }
}

template <int BITS, int R>
INLAY_AVX2 INLAY_INLINE void tile_avx2(const Rows& rows, const std::uint32_t* slots, const Query& query,
                                       float* out) {
    const std::uint8_t* row[R];
    __m256i sum[R][BITS];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
        row[r] = row_of(rows, slots[r]);
#pragma GCC unroll 4
        for (int b = 0; b < BITS; ++b) sum[r][b] = _mm256_setzero_si256();
    }
    count_avx2<BITS, R>(row, rows.words, query, sum);
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
        __m256i all = sum[r][0];
#pragma GCC unroll 4
        for (int b = 1; b < BITS; ++b)
            all = _mm256_add_epi64(all,
                                   _mm256_mul_epu32(sum[r][b], _mm256_set1_epi64x(weight<BITS>(query, b))));
        const __m128i both = _mm_add_epi64(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
        out[r] =
            score_of(row[r], rows, query, query.a * _mm_cvtsi128_si32(both) + _mm_extract_epi32(both, 2));
    }
}

template <int BITS>
INLAY_AVX2 inline void scores_avx2(Rows rows, const std::uint32_t* slots, std::size_t n, const Query& query,
                                   float* out) {
    std::size_t i = 0;
    for (; i + 2 <= n; i += 2) tile_avx2<BITS, 2>(rows, slots + i, query, out + i);
    if (i < n) tile_avx2<BITS, 1>(rows, slots + i, query, out + i);
}

// R rows at a time, each with a register of counts a plane: even lanes count in p, odd ones in t.
template <int BITS, int R>
INLAY_AVX512 INLAY_INLINE void count_avx512(const std::uint8_t* const* row, std::size_t words,
                                            const Query& query, __m512i (&count)[R][BITS]) {
    std::size_t i = 0;
    for (; i + 8 <= words; i += 8) {
        __m512i u[BITS];
#pragma GCC unroll 4
        for (int b = 0; b < BITS; ++b) u[b] = _mm512_loadu_si512(query.planes + b * query.plane + i);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const __m512i x = _mm512_loadu_si512(row[r] + 8 * i);
#pragma GCC unroll 4
            for (int b = 0; b < BITS; ++b)
                count[r][b] = _mm512_add_epi64(count[r][b], _mm512_popcnt_epi64(_mm512_xor_si512(x, u[b])));
        }
    }
    // Half a register where that is enough: on a CPU that does a whole one in two steps it is half the work.
    for (; i < words; i += 4) {
        const __mmask8 valid = words - i >= 4 ? 15 : 3;
        __m256i u[BITS];
#pragma GCC unroll 4
        for (int b = 0; b < BITS; ++b)
            u[b] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query.planes + b * query.plane + i));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const __m256i x = _mm256_maskz_loadu_epi64(valid, row[r] + 8 * i);
#pragma GCC unroll 4
            for (int b = 0; b < BITS; ++b)
                count[r][b] = _mm512_add_epi64(
                    count[r][b], _mm512_zextsi256_si512(_mm256_popcnt_epi64(_mm256_xor_si256(x, u[b]))));
        }
    }
}

// Counts of the planes to one register, by weight.
template <int BITS>
INLAY_AVX512 INLAY_INLINE __m512i weighted_avx512(const __m512i (&count)[BITS], __m512i a) {
    if constexpr (BITS == 2) return _mm512_add_epi64(count[0], _mm512_mul_epu32(count[1], a));
    __m512i sum = count[BITS - 1];
#pragma GCC unroll 4
    for (int b = BITS - 2; b >= 0; --b) sum = _mm512_add_epi64(_mm512_add_epi64(sum, sum), count[b]);
    return sum;
}

// Sums of four rows, in the low halves of lanes, to a * even + odd: a lane of 32 bits a row, four times.
INLAY_AVX512 INLAY_INLINE __m512i four_avx512(__m512i r0, __m512i r1, __m512i r2, __m512i r3, __m512i a) {
    const __m512i r01 = _mm512_mask_shuffle_epi32(r0, 0xAAAA, r1, _MM_PERM_CCAA);
    const __m512i r23 = _mm512_mask_shuffle_epi32(r2, 0xAAAA, r3, _MM_PERM_CCAA);
    return _mm512_add_epi32(_mm512_mullo_epi32(_mm512_unpacklo_epi64(r01, r23), a),
                            _mm512_unpackhi_epi64(r01, r23));
}

// factor base factor base of two rows
INLAY_AVX512 INLAY_INLINE __m128 pairs_avx512(const std::uint8_t* one, const std::uint8_t* other) {
    const __m128i front = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(one));
    return _mm_castpd_ps(_mm_loadh_pd(_mm_castsi128_pd(front), reinterpret_cast<const double*>(other)));
}

// score_of for R = 8 or 4 rows, of which the first n are wanted.
template <int BITS, int R>
INLAY_AVX512 INLAY_INLINE void tile_avx512(const Rows& rows, const std::uint32_t* slots, std::size_t n,
                                           const Query& query, float* out) {
    const std::uint8_t* row[R];
    // The last row stands in for those that a short group lacks.
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; ++r) row[r] = row_of(rows, slots[r < n ? r : n - 1]);
    __m512i count[R][BITS], sum[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int b = 0; b < BITS; ++b) count[r][b] = _mm512_setzero_si512();
    count_avx512<BITS, R>(row, rows.words, query, count);
    const __m512i a = _mm512_set1_epi32(query.a);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r] = weighted_avx512<BITS>(count[r], a);
    const __m512i front = four_avx512(sum[0], sum[1], sum[2], sum[3], a);
    const std::size_t pair = 8 * rows.pair;
    if constexpr (R == 8) {
        const __m512i rear = four_avx512(sum[4], sum[5], sum[6], sum[7], a);
        const __m512i half = _mm512_add_epi32(_mm512_shuffle_i32x4(front, rear, 0x88),
                                              _mm512_shuffle_i32x4(front, rear, 0xDD));
        const __m256i h = _mm512_castsi512_si256(
            _mm512_add_epi32(_mm512_shuffle_i32x4(half, half, 0x08), _mm512_shuffle_i32x4(half, half, 0x0D)));
        const __m256 one =
            _mm256_insertf128_ps(_mm256_castps128_ps256(pairs_avx512(row[0] + pair, row[1] + pair)),
                                 pairs_avx512(row[4] + pair, row[5] + pair), 1);
        const __m256 two =
            _mm256_insertf128_ps(_mm256_castps128_ps256(pairs_avx512(row[2] + pair, row[3] + pair)),
                                 pairs_avx512(row[6] + pair, row[7] + pair), 1);
        const __m256 dot =
            _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(query.all), _mm256_add_epi32(h, h)));
        const __m256 factor = _mm256_mul_ps(_mm256_shuffle_ps(one, two, 0x88), _mm256_set1_ps(query.factor));
        const __m256 base = _mm256_add_ps(_mm256_shuffle_ps(one, two, 0xDD), _mm256_set1_ps(query.base));
        _mm256_mask_storeu_ps(out, static_cast<__mmask8>((1u << n) - 1),
                              _mm256_sub_ps(base, _mm256_mul_ps(factor, dot)));
    } else {
        const __m256i half =
            _mm256_add_epi32(_mm512_castsi512_si256(front), _mm512_extracti64x4_epi64(front, 1));
        const __m128i h = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
        const __m128 one = pairs_avx512(row[0] + pair, row[1] + pair);
        const __m128 two = pairs_avx512(row[2] + pair, row[3] + pair);
        const __m128 dot = _mm_cvtepi32_ps(_mm_sub_epi32(_mm_set1_epi32(query.all), _mm_add_epi32(h, h)));
        const __m128 factor = _mm_mul_ps(_mm_shuffle_ps(one, two, 0x88), _mm_set1_ps(query.factor));
        const __m128 base = _mm_add_ps(_mm_shuffle_ps(one, two, 0xDD), _mm_set1_ps(query.base));
        _mm_mask_storeu_ps(out, static_cast<__mmask8>((1u << n) - 1),
                           _mm_sub_ps(base, _mm_mul_ps(factor, dot)));
    }
}

template <int BITS>
INLAY_AVX512 inline void scores_avx512(Rows rows, const std::uint32_t* slots, std::size_t n,
                                       const Query& query, float* out) {
    constexpr std::size_t R = BITS == 2 ? 8 : 4;
    std::size_t i = 0;
    for (; i + R <= n; i += R) tile_avx512<BITS, R>(rows, slots + i, R, query, out + i);
    if (R == 8 && n - i > 4)
        tile_avx512<BITS, R>(rows, slots + i, n - i, query, out + i);
    else if (n > i)
        tile_avx512<BITS, 4>(rows, slots + i, n - i, query, out + i);
}
#endif

#if defined(INLAY_NEON)
// CNT counts the bits of bytes, of which a pair of words is one register: at most 8 a step, so 31 steps fit.
template <int BITS, int R>
INLAY_INLINE void tile_neon(const Rows& rows, const std::uint32_t* slots, const Query& query, float* out) {
    constexpr std::size_t kRun = 2 * 31;
    const std::uint8_t* row[R];
    uint64x2_t sum[R][BITS];
    for (int r = 0; r < R; ++r) {
        row[r] = row_of(rows, slots[r]);
        for (auto& s : sum[r]) s = vdupq_n_u64(0);
    }
    for (std::size_t start = 0; start < rows.words; start += kRun) {
        uint8x16_t count[R][BITS];
        for (auto& of_row : count)
            for (auto& c : of_row) c = vdupq_n_u8(0);
        const std::size_t end = rows.words - start < kRun ? rows.words : start + kRun;
        for (std::size_t i = start; i < end; i += 2) {
            uint8x16_t x[R];
            for (int r = 0; r < R; ++r) x[r] = vld1q_u8(row[r] + 8 * i);
            for (int b = 0; b < BITS; ++b) {
                const uint8x16_t u = vreinterpretq_u8_u64(vld1q_u64(query.planes + b * query.plane + i));
                for (int r = 0; r < R; ++r) count[r][b] = vaddq_u8(count[r][b], vcntq_u8(veorq_u8(x[r], u)));
            }
        }
        for (int r = 0; r < R; ++r)
            for (int b = 0; b < BITS; ++b)
                sum[r][b] = vpadalq_u32(sum[r][b], vpaddlq_u16(vpaddlq_u8(count[r][b])));
    }
    for (int r = 0; r < R; ++r) {
        std::uint64_t differ[2] = {};
        for (int b = 0; b < BITS; ++b) {
            differ[0] += weight<BITS>(query, b) * vgetq_lane_u64(sum[r][b], 0);
            differ[1] += weight<BITS>(query, b) * vgetq_lane_u64(sum[r][b], 1);
        }
        const auto h = static_cast<std::uint64_t>(query.a) * differ[0] + differ[1];
        out[r] = score_of(row[r], rows, query, static_cast<std::int32_t>(h));
    }
}

template <int BITS>
inline void scores_neon(Rows rows, const std::uint32_t* slots, std::size_t n, const Query& query,
                        float* out) {
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) tile_neon<BITS, 4>(rows, slots + i, query, out + i);
    for (; i < n; ++i) tile_neon<BITS, 1>(rows, slots + i, query, out + i);
}
#endif

// Differing signs and differing magnitudes, popc(pa ^ pb) + popc(sa ^ sb), where t is the XNOR of p and s.
INLAY_INLINE void hamming_body(Rows rows, const std::uint32_t* slots, std::size_t n, const Query& query,
                               float* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* row = row_of(rows, slots[i]);
        std::uint32_t h = 0;
        for (std::size_t word = 0; word < rows.words; word += 2) {
            const std::uint64_t p = word_at(row, word) ^ query.planes[query.plane + word];
            const std::uint64_t t = word_at(row, word + 1) ^ query.planes[word];
            h += ones(p) + ones(p ^ t);
        }
        out[i] = static_cast<float>(h);
    }
}

#define INLAY_HAMMING_LEVEL(TARGET, SUFFIX)                                                   \
    TARGET inline void hamming_##SUFFIX(Rows rows, const std::uint32_t* slots, std::size_t n, \
                                        const Query& query, float* out) {                     \
        hamming_body(rows, slots, n, query, out);                                             \
    }

INLAY_HAMMING_LEVEL(, scalar)
#if defined(INLAY_X86)
INLAY_HAMMING_LEVEL(INLAY_AVX2, avx2)
INLAY_HAMMING_LEVEL(INLAY_AVX512, avx512)
#endif
#undef INLAY_HAMMING_LEVEL

}  // namespace inlay::signmag
