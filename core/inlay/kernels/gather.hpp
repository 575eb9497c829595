// Scores of an int8 query against coded rows that are named by their slots: what a walk over a graph goes by.
// A query is anything that reads scale * v + offset in each dimension; a row's own codes are one.
//
// Row layout. A row is one run of bytes, read from front to back:
//     codes       8 bits: byte i is dimension i
//                 4 bits: the low nibble of byte i is dimension i, the high one dimension `bytes` + i
//                 `bytes` in all, a multiple of 4; dimensions that there are not have code 0
//     step, low, norm     float32
//     total               of the codes, int32
//     up to the stride    anything
// A query's values stand in the order of the codes' bytes, those of high nibbles apart, each part filled up
// with zeros to whole lines. So whole registers are loaded from both: what a last load takes in of a row's
// constants meets zeros.
//
//     score = step * (scale * dot + offset * total) + (low * sum + norm) + shift, but not below `least`
//
// where `sum` is that of the query's dimensions, and with `norm` for squared L2 only. |dot| fits 32 bits as
// in codes.hpp, down to values of -128, integers are exact, and the floats are taken in this order, so every
// level gives the same bits. NaN, which only a damaged file can bring about, stays NaN.
#pragma once

#include <cstring>

#include "kernels/codes.hpp"
#include "kernels/isa.hpp"

namespace inlay::gather {

// What stands behind the codes of a row.
struct Constants {
    float step, low, norm;
    std::int32_t total;
};
constexpr std::size_t kConstants = sizeof(Constants);
constexpr std::size_t kPart = 64;  // a part of a query's values is a multiple of this

// On a line of its own, since queries of several threads lie side by side.
struct alignas(64) Query {
    const std::int8_t* values;
    std::int32_t total;  // of the values
    float scale, offset, sum, shift, least;
    bool norms;
};

// out[j] = score of the row in slots[j]; rows begin `stride` bytes apart.
using Near = void (*)(const std::uint8_t* rows, std::size_t stride, std::size_t bytes,
                      const std::uint32_t* slots, std::size_t n, const Query* query, float* out);

// A row has four bytes of each line that a block of such rows has.
inline std::size_t bytes_of(int bits, std::size_t dim) {
    return 4 * codes::lines_of(bits, dim);
}

// How many values one part of a query has.
INLAY_INLINE std::size_t part_of(std::size_t bytes) {
    return (bytes + kPart - 1) / kPart * kPart;
}

// GCC would work out the addresses of four rows in a vector register, to take them out of it one by one: that
// cost 10 % of a score at 8 bits and 25 % at 4. It cannot where it does not know what becomes of each.
INLAY_INLINE const std::uint8_t* row_at(const std::uint8_t* rows, std::size_t stride, std::uint32_t slot) {
    const std::uint8_t* row = rows + static_cast<std::size_t>(slot) * stride;
#if defined(INLAY_X86)
    asm("" : "+r"(row));
#endif
    return row;
}

INLAY_INLINE float score(const std::uint8_t* row, std::size_t bytes, std::int32_t dot, const Query& query) {
    Constants constants;
    std::memcpy(&constants, row + bytes, sizeof constants);
    float constant = constants.low * query.sum;
    if (query.norms) constant += constants.norm;
    const float product =
        query.scale * static_cast<float>(dot) + query.offset * static_cast<float>(constants.total);
    const float found = constants.step * product + constant + query.shift;
    return found < query.least ? query.least : found;
}

// The scores of a tile's R rows.
template <std::size_t R>
INLAY_INLINE void scores_of(const std::uint8_t* const* rows, std::size_t bytes, const std::int32_t* dots,
                            const Query& query, float* out) {
    for (std::size_t b = 0; b < R; ++b) out[b] = score(rows[b], bytes, dots[b], query);
}

#if defined(INLAY_X86)
// With instructions that every x86-64 has: 1.3 ns a row less than one by one, of 6.
template <>
INLAY_INLINE void scores_of<4>(const std::uint8_t* const* rows, std::size_t bytes, const std::int32_t* dots,
                               const Query& query, float* out) {
    __m128 row[4];
    for (int b = 0; b < 4; ++b) row[b] = _mm_loadu_ps(reinterpret_cast<const float*>(rows[b] + bytes));
    const __m128 front = _mm_unpacklo_ps(row[0], row[1]), front2 = _mm_unpacklo_ps(row[2], row[3]);
    const __m128 rear = _mm_unpackhi_ps(row[0], row[1]), rear2 = _mm_unpackhi_ps(row[2], row[3]);
    const __m128 steps = _mm_movelh_ps(front, front2), lows = _mm_movehl_ps(front2, front);
    __m128 constant = _mm_mul_ps(lows, _mm_set1_ps(query.sum));
    if (query.norms) constant = _mm_add_ps(constant, _mm_movelh_ps(rear, rear2));
    const __m128 total = _mm_cvtepi32_ps(_mm_castps_si128(_mm_movehl_ps(rear2, rear)));
    const __m128 dot = _mm_cvtepi32_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(dots)));
    const __m128 product =
        _mm_add_ps(_mm_mul_ps(_mm_set1_ps(query.scale), dot), _mm_mul_ps(_mm_set1_ps(query.offset), total));
    const __m128 found =
        _mm_add_ps(_mm_add_ps(_mm_mul_ps(steps, product), constant), _mm_set1_ps(query.shift));
    _mm_storeu_ps(out, _mm_max_ps(_mm_set1_ps(query.least), found));  // the second where one is NaN
}
#endif

// A tile takes the products of R rows side by side, so that their sums do not wait for each other.
struct Scalar {
    template <int BITS, std::size_t R>
    static INLAY_INLINE void tile(const std::uint8_t* const* rows, std::size_t bytes, const Query& query,
                                  std::int32_t* dots) {
        const std::int8_t *low = query.values, *high = low + part_of(bytes);
        for (std::size_t b = 0; b < R; ++b) {
            std::int32_t sum = 0;
            for (std::size_t i = 0; i < bytes; ++i)
                sum += BITS == 8 ? low[i] * rows[b][i]
                                 : low[i] * (rows[b][i] & 15) + high[i] * (rows[b][i] >> 4);
            dots[b] = sum;
        }
    }
    static constexpr std::size_t kTile = 1;
};

#if defined(INLAY_X86)
struct Avx2 {
    INLAY_AVX2 static INLAY_INLINE __m256i load(const void* p) {
        return _mm256_loadu_si256(static_cast<const __m256i*>(p));
    }
    INLAY_AVX2 static INLAY_INLINE __m128i load_half(const void* p) {
        return _mm_loadu_si128(static_cast<const __m128i*>(p));
    }
    INLAY_AVX2 static INLAY_INLINE std::int32_t total(__m256i v) {
        __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
        return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
    }
    // 8 bits: both sides are widened, for the byte multiply-add would saturate (255 * 127 * 2).
    // 4 bits: 4 * 15 * 127 fits 16 bits.
    template <int BITS, std::size_t R>
    INLAY_AVX2 static INLAY_INLINE void tile(const std::uint8_t* const* rows, std::size_t bytes,
                                             const Query& query, std::int32_t* dots) {
        const std::int8_t *low = query.values, *high = low + part_of(bytes);
        const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
        __m256i sum[R];
#pragma GCC unroll 8
        for (std::size_t b = 0; b < R; ++b) sum[b] = _mm256_setzero_si256();
        constexpr std::size_t kStep = BITS == 8 ? 16 : 32;
        for (std::size_t i = 0; i < bytes; i += kStep) {
            const __m256i u = BITS == 8 ? _mm256_cvtepi8_epi16(load_half(low + i)) : load(low + i);
            const __m256i v = BITS == 8 ? u : load(high + i);
            // 4 to 16 bytes are left: with the constants that is half a register at least.
            const bool half = BITS == 4 && bytes - i <= 16;
#pragma GCC unroll 8
            for (std::size_t b = 0; b < R; ++b) {
                __m256i product;
                if (BITS == 8) {
                    product = _mm256_madd_epi16(_mm256_cvtepu8_epi16(load_half(rows[b] + i)), u);
                } else {
                    const __m256i code =
                        half ? _mm256_zextsi128_si256(load_half(rows[b] + i)) : load(rows[b] + i);
                    const __m256i above = _mm256_and_si256(_mm256_srli_epi16(code, 4), nibble);
                    product = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_and_si256(code, nibble), u),
                                               _mm256_maddubs_epi16(above, v));
                    product = _mm256_madd_epi16(product, ones);
                }
                sum[b] = _mm256_add_epi32(sum[b], product);
            }
        }
#pragma GCC unroll 8
        for (std::size_t b = 0; b < R; ++b) dots[b] = total(sum[b]);
    }
    static constexpr std::size_t kTile = 4;
};

struct Avx512 {
    // The totals of four registers.
    INLAY_AVX512 static INLAY_INLINE __m128i totals(__m512i a, __m512i b, __m512i c, __m512i d) {
        const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
        return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    }
    // One step of 64 bytes. High nibbles stay where they are, sixteen times their value, which their sum is
    // divided by at the end.
    template <int BITS, bool PART, std::size_t R>
    INLAY_AVX512 static INLAY_INLINE void step(const std::uint8_t* const* rows, std::size_t i, __mmask64 mask,
                                               const std::int8_t* low, const std::int8_t* high,
                                               __m512i (&sum)[R], __m512i (&above)[R]) {
        const __m512i nibble = _mm512_set1_epi8(15), rest = _mm512_set1_epi8(static_cast<char>(0xF0));
        const __m512i u = _mm512_loadu_si512(low + i), v = BITS == 8 ? u : _mm512_loadu_si512(high + i);
#pragma GCC unroll 8
        for (std::size_t b = 0; b < R; ++b) {
            const __m512i code =
                PART ? _mm512_maskz_loadu_epi8(mask, rows[b] + i) : _mm512_loadu_si512(rows[b] + i);
            if (BITS == 8) {
                sum[b] = _mm512_dpbusd_epi32(sum[b], code, u);
            } else {
                sum[b] = _mm512_dpbusd_epi32(sum[b], _mm512_and_si512(code, nibble), u);
                above[b] = _mm512_dpbusd_epi32(above[b], _mm512_and_si512(code, rest), v);
            }
        }
    }
    template <int BITS, std::size_t R>
    INLAY_AVX512 static INLAY_INLINE void tile(const std::uint8_t* const* rows, std::size_t bytes,
                                               const Query& query, std::int32_t* dots) {
        static_assert(R == 4);
        const std::int8_t *low = query.values, *high = low + part_of(bytes);
        __m512i sum[R], above[R];
#pragma GCC unroll 8
        for (std::size_t b = 0; b < R; ++b) sum[b] = above[b] = _mm512_setzero_si512();
        std::size_t i = 0;
        for (; i + 64 <= bytes; i += 64) step<BITS, false, R>(rows, i, 0, low, high, sum, above);
        if (i < bytes) step<BITS, true, R>(rows, i, (1ull << (bytes - i)) - 1, low, high, sum, above);
#pragma GCC unroll 8
        for (std::size_t b = 0; BITS == 4 && b < R; ++b)
            sum[b] = _mm512_add_epi32(sum[b], _mm512_srai_epi32(above[b], 4));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(dots), totals(sum[0], sum[1], sum[2], sum[3]));
    }
    static constexpr std::size_t kTile = 4;
};
#endif

#if defined(INLAY_NEON)
// The product with codes from that with codes less 128; a damaged file may hold any total, so this wraps.
INLAY_INLINE std::int32_t plus_128(std::int32_t product, std::int32_t total) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(product) +
                                     128 * static_cast<std::uint32_t>(total));
}

struct Neon {
    template <int BITS, std::size_t R>
    static INLAY_INLINE void tile(const std::uint8_t* const* rows, std::size_t bytes, const Query& query,
                                  std::int32_t* dots) {
        const std::int8_t *low = query.values, *high = low + part_of(bytes);
        int32x4_t sum[R];
        for (std::size_t b = 0; b < R; ++b) sum[b] = vdupq_n_s32(0);
        for (std::size_t i = 0; i < bytes; i += 16) {
            const int8x16_t u = vld1q_s8(low + i), v = BITS == 8 ? u : vld1q_s8(high + i);
            for (std::size_t b = 0; b < R; ++b) {
                const uint8x16_t code = vld1q_u8(rows[b] + i);
                if (BITS == 8) {
                    // Two products (128 * 127 * 2) are more than 16 bits hold, so each is widened at once.
                    const int8x16_t c = codes::less_128(code);
                    sum[b] = vpadalq_s16(sum[b], vmull_s8(vget_low_s8(c), vget_low_s8(u)));
                    sum[b] = vpadalq_s16(sum[b], vmull_high_s8(c, u));
                } else {
                    const int8x16_t first = codes::low_nibbles(code), second = codes::high_nibbles(code);
                    int16x8_t product = vmull_s8(vget_low_s8(first), vget_low_s8(u));
                    product = vmlal_high_s8(product, first, u);
                    product = vmlal_s8(product, vget_low_s8(second), vget_low_s8(v));
                    sum[b] = vpadalq_s16(sum[b], vmlal_high_s8(product, second, v));
                }
            }
        }
        for (std::size_t b = 0; b < R; ++b)
            dots[b] = BITS == 8 ? plus_128(vaddvq_s32(sum[b]), query.total) : vaddvq_s32(sum[b]);
    }
    static constexpr std::size_t kTile = 4;
};

struct NeonDot {
    template <int BITS, std::size_t R>
    INLAY_NEON_DOT static INLAY_INLINE void tile(const std::uint8_t* const* rows, std::size_t bytes,
                                                 const Query& query, std::int32_t* dots) {
        const std::int8_t *low = query.values, *high = low + part_of(bytes);
        int32x4_t sum[R];
        for (std::size_t b = 0; b < R; ++b) sum[b] = vdupq_n_s32(0);
        for (std::size_t i = 0; i < bytes; i += 16) {
            const int8x16_t u = vld1q_s8(low + i), v = BITS == 8 ? u : vld1q_s8(high + i);
            for (std::size_t b = 0; b < R; ++b) {
                const uint8x16_t code = vld1q_u8(rows[b] + i);
                sum[b] = vdotq_s32(sum[b], BITS == 8 ? codes::less_128(code) : codes::low_nibbles(code), u);
                if (BITS == 4) sum[b] = vdotq_s32(sum[b], codes::high_nibbles(code), v);
            }
        }
        for (std::size_t b = 0; b < R; ++b)
            dots[b] = BITS == 8 ? plus_128(vaddvq_s32(sum[b]), query.total) : vaddvq_s32(sum[b]);
    }
    static constexpr std::size_t kTile = 4;
};
#endif

// The walk over tiles is the same text for every level, but a target does not reach through a template
// argument, so each level gets its own copy of it. A last tile is filled up with its last row.
#define INLAY_GATHER_LEVEL(TARGET, ARCH, SUFFIX)                                                             \
    template <int BITS>                                                                                      \
    TARGET inline void near_##SUFFIX(const std::uint8_t* rows, std::size_t stride, std::size_t bytes,        \
                                     const std::uint32_t* slots, std::size_t n, const Query* query,          \
                                     float* out) {                                                           \
        constexpr std::size_t R = ARCH::kTile;                                                               \
        const std::uint8_t* row[R];                                                                          \
        std::int32_t dots[R];                                                                                \
        std::size_t j = 0;                                                                                   \
        for (; j + R <= n; j += R) {                                                                         \
            for (std::size_t b = 0; b < R; ++b) row[b] = row_at(rows, stride, slots[j + b]);                 \
            ARCH::tile<BITS, R>(row, bytes, *query, dots);                                                   \
            scores_of<R>(row, bytes, dots, *query, out + j);                                                 \
        }                                                                                                    \
        if (j == n) return;                                                                                  \
        float found[R];                                                                                      \
        for (std::size_t b = 0; b < R; ++b) row[b] = row_at(rows, stride, slots[j + b < n ? j + b : n - 1]); \
        ARCH::tile<BITS, R>(row, bytes, *query, dots);                                                       \
        scores_of<R>(row, bytes, dots, *query, found);                                                       \
        for (; j < n; ++j) out[j] = found[j % R];                                                            \
    }

INLAY_GATHER_LEVEL(, Scalar, scalar)
#if defined(INLAY_X86)
INLAY_GATHER_LEVEL(INLAY_AVX2, Avx2, avx2)
INLAY_GATHER_LEVEL(INLAY_AVX512, Avx512, avx512)
#elif defined(INLAY_NEON)
INLAY_GATHER_LEVEL(, Neon, neon)
INLAY_GATHER_LEVEL(INLAY_NEON_DOT, NeonDot, neon_dot)
#endif
#undef INLAY_GATHER_LEVEL

// ---- moving codes in and out of rows

// codes: one byte a dimension, 8 / BITS * bytes of them (padding zero) -> a row, all of it.
inline void lay_row(int bits, const std::uint8_t* codes, std::size_t bytes, float step, float low, float norm,
                    std::uint8_t* row) {
    Constants constants = {step, low, norm, 0};
    const std::size_t dim = bytes * static_cast<std::size_t>(8 / bits);
    for (std::size_t i = 0; i < dim; ++i) constants.total += codes[i];
    if (bits == 8)
        std::memcpy(row, codes, bytes);
    else
        for (std::size_t i = 0; i < bytes; ++i)
            row[i] = static_cast<std::uint8_t>(codes[i] | codes[bytes + i] << 4);
    std::memcpy(row + bytes, &constants, sizeof constants);
}

// The values of a query, one a dimension -> its parts, which have room for whole lines and are cleared here.
inline void put_values(int bits, const std::int8_t* query, std::size_t dim, std::size_t bytes,
                       std::int8_t* values) {
    const std::size_t part = part_of(bytes), front = dim < bytes ? dim : bytes;
    std::memset(values, 0, part * static_cast<std::size_t>(8 / bits));
    std::memcpy(values, query, front);
    std::memcpy(values + part, query + front, dim - front);
}

// The codes of a row, less half of all there can be, as the values of a query. Those of dimensions that there
// are not stay as they are, zero.
inline void codes_as_values(int bits, const std::uint8_t* row, std::size_t dim, std::size_t bytes,
                            std::int8_t* values) {
    const std::size_t front = dim < bytes ? dim : bytes;
    if (bits == 8) {
        for (std::size_t i = 0; i < dim; ++i) values[i] = static_cast<std::int8_t>(row[i] ^ 128);
        return;
    }
    std::int8_t* high = values + part_of(bytes);
    for (std::size_t i = 0; i < front; ++i) values[i] = static_cast<std::int8_t>((row[i] & 15) - 8);
    for (std::size_t i = 0; i < dim - front; ++i) high[i] = static_cast<std::int8_t>((row[i] >> 4) - 8);
}

// The codes of a row, one byte a dimension, written to `codes` if they do not stand like that in the row.
inline const std::uint8_t* get_codes(int bits, const std::uint8_t* row, std::size_t bytes,
                                     std::uint8_t* codes) {
    if (bits == 8) return row;
    for (std::size_t i = 0; i < bytes; ++i) {
        codes[i] = row[i] & 15;
        codes[bytes + i] = row[i] >> 4;
    }
    return codes;
}

}  // namespace inlay::gather
