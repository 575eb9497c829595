// Integer products of an int8 query with packed 4- and 8-bit codes, 16 rows at a time.
//
// Packed16 layout. A block holds 16 rows; its lines of 64 bytes are 16 lanes of 32 bits, one lane a row:
//     8 bits: byte j of lane v in line g is dimension 4g + j of row v                          (4 dimensions
//     a line) 4 bits: byte j of lane v in line g is dimension 8g + j below, 8g + 4 + j above           (8
//     dimensions a line)
// so one broadcast of four query values meets the same four dimensions of 16 rows, one multiply-add does 64
// products, and the sums of 16 rows end in 16 lanes: no horizontal sum anywhere.
//
// A query is its int8 values in natural order, padded with zeros to whole lines. Eight queries together are
// interleaved by groups of four values, so that they share each load of codes:
//     int8 values 4p .. 4p + 3 of query a stand at byte 4 * (8 * p + a).
//
// |sum| <= 255 * 127 * dim fits 32 bits for dim <= 65,536 (kMaxDim). Every level gives the same integers.
#pragma once

#include <cstring>

#include "kernels/isa.hpp"

namespace inlay::codes {

constexpr std::size_t kMaxDim = 65536;
constexpr std::size_t kRows = 16;     // rows a block
constexpr std::size_t kLine = 64;     // bytes a line
constexpr std::size_t kTogether = 8;  // queries that share a pass

// blocks: n_blocks x lines x 64 bytes. out[a * out_stride + 16 * block + v], a < 1 or a < 8.
using Dots = void (*)(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines,
                      const std::int8_t* query, std::int32_t* out, std::size_t out_stride);

// BITS is 4 or 8, Q is 1 or 8. The four-value groups of a line: one at 8 bits, two at 4.
template <int BITS, int Q>
inline void dots_scalar(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines,
                        const std::int8_t* query, std::int32_t* out, std::size_t out_stride) {
    constexpr int kGroups = 8 / BITS;
    for (std::size_t block = 0; block < n_blocks; ++block) {
        const std::uint8_t* line = blocks + block * lines * kLine;
        std::int32_t sum[Q][kRows] = {};
        for (std::size_t g = 0; g < lines; ++g, line += kLine)
            for (int half = 0; half < kGroups; ++half)
                for (int a = 0; a < Q; ++a) {
                    const std::int8_t* values = query + 4 * ((g * kGroups + half) * Q + a);
                    for (std::size_t v = 0; v < kRows; ++v)
                        for (int j = 0; j < 4; ++j) {
                            const int code = line[4 * v + j];
                            sum[a][v] += values[j] * (BITS == 8 ? code : half == 0 ? code & 15 : code >> 4);
                        }
                }
        for (int a = 0; a < Q; ++a) std::memcpy(out + a * out_stride + block * kRows, sum[a], sizeof sum[a]);
    }
}

INLAY_INLINE std::int32_t load32(const std::int8_t* bytes) {
    std::int32_t word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

#if defined(INLAY_X86)
// What becomes of the 16 sums of a block and a query: `rows` looks at a block once, and the call is made for
// each query. Here the sums are stored; a codec may turn them into scores while they are still in a register
// (lvq.hpp).
struct Store {
    std::int32_t* out;
    std::size_t out_stride;
    INLAY_AVX512 INLAY_INLINE std::int32_t* rows(std::size_t block) const { return out + block * kRows; }
    INLAY_AVX512 INLAY_INLINE void operator()(std::int32_t* at, std::size_t a, __m512i sum) const {
        _mm512_storeu_si512(at + a * out_stride, sum);
    }
};

// One query: two or four chains of sums hide the latency of the multiply-add. High nibbles stay where they
// are, sixteen times their value, which their sum is divided by at the end. Codes then come from the
// third-level cache at 66 GB/s, where reading alone does 78; asking for lines ahead of time only slows it
// (58).
template <int BITS>
INLAY_AVX512 INLAY_INLINE void add_line(__m512i code, const std::int8_t* values, __m512i& first,
                                        __m512i& second) {
    if constexpr (BITS == 8) {
        first = _mm512_dpbusd_epi32(first, code, _mm512_set1_epi32(load32(values)));
    } else {
        const __m512i low = _mm512_and_si512(code, _mm512_set1_epi8(15));
        const __m512i high = _mm512_and_si512(code, _mm512_set1_epi8(static_cast<char>(0xF0)));
        first = _mm512_dpbusd_epi32(first, low, _mm512_set1_epi32(load32(values)));
        second = _mm512_dpbusd_epi32(second, high, _mm512_set1_epi32(load32(values + 4)));
    }
}

template <int BITS, class Finish>
INLAY_AVX512 INLAY_INLINE void pass_one_avx512(const std::uint8_t* blocks, std::size_t n_blocks,
                                               std::size_t lines, const std::int8_t* query, Finish finish) {
    constexpr std::size_t kValues = 32 / BITS;  // a line
    for (std::size_t block = 0; block < n_blocks; ++block) {
        const std::uint8_t* line = blocks + block * lines * kLine;
        __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
        std::size_t g = 0;
        for (; g + 2 <= lines; g += 2) {
            add_line<BITS>(_mm512_loadu_si512(line + g * kLine), query + g * kValues, a, b);
            add_line<BITS>(_mm512_loadu_si512(line + (g + 1) * kLine), query + (g + 1) * kValues, c, d);
        }
        if (g < lines) add_line<BITS>(_mm512_loadu_si512(line + g * kLine), query + g * kValues, a, b);
        finish(finish.rows(block), 0,
               _mm512_add_epi32(_mm512_add_epi32(a, c), _mm512_srai_epi32(_mm512_add_epi32(b, d), 4)));
    }
}

// Eight queries: a load of codes serves eight multiply-adds, which then are the limit (64 products a cycle).
// Unrolled by pragma, or the sums leave their registers when `finish` is more than a store.
template <int BITS, class Finish>
INLAY_AVX512 INLAY_INLINE void pass_eight_avx512(const std::uint8_t* blocks, std::size_t n_blocks,
                                                 std::size_t lines, const std::int8_t* query, Finish finish) {
    const __m512i low = _mm512_set1_epi8(15);
    for (std::size_t block = 0; block < n_blocks; ++block) {
        const std::uint8_t* line = blocks + block * lines * kLine;
        __m512i sum[kTogether];
#pragma GCC unroll 8
        for (std::size_t a = 0; a < kTogether; ++a) sum[a] = _mm512_setzero_si512();
        const std::int8_t* values = query;
        for (std::size_t g = 0; g < lines; ++g, line += kLine) {
            prefetch(line + 4096);
            const __m512i code = _mm512_loadu_si512(line);
            const __m512i first = BITS == 8 ? code : _mm512_and_si512(code, low);
#pragma GCC unroll 8
            for (std::size_t a = 0; a < kTogether; ++a)
                sum[a] = _mm512_dpbusd_epi32(sum[a], first, _mm512_set1_epi32(load32(values + 4 * a)));
            values += 4 * kTogether;
            if constexpr (BITS == 4) {
                const __m512i second = _mm512_and_si512(_mm512_srli_epi16(code, 4), low);
#pragma GCC unroll 8
                for (std::size_t a = 0; a < kTogether; ++a)
                    sum[a] = _mm512_dpbusd_epi32(sum[a], second, _mm512_set1_epi32(load32(values + 4 * a)));
                values += 4 * kTogether;
            }
        }
        const auto rows = finish.rows(block);
#pragma GCC unroll 8
        for (std::size_t a = 0; a < kTogether; ++a) finish(rows, a, sum[a]);
    }
}

template <int BITS>
INLAY_AVX512 inline void dots_one_avx512(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines,
                                         const std::int8_t* query, std::int32_t* out,
                                         std::size_t out_stride) {
    pass_one_avx512<BITS>(blocks, n_blocks, lines, query, Store{out, out_stride});
}
template <int BITS>
INLAY_AVX512 inline void dots_eight_avx512(const std::uint8_t* blocks, std::size_t n_blocks,
                                           std::size_t lines, const std::int8_t* query, std::int32_t* out,
                                           std::size_t out_stride) {
    pass_eight_avx512<BITS>(blocks, n_blocks, lines, query, Store{out, out_stride});
}

// 4 bits without VNNI: code * value <= 15 * 127, two of them a 16-bit lane, so eight lines' worth of pairs
// (8 * 3,810 = 30,480) may be added before they are widened; four lines give eight.
template <int Q>
INLAY_AVX2 inline void dots4_avx2(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines,
                                  const std::int8_t* query, std::int32_t* out, std::size_t out_stride) {
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    constexpr std::size_t kNarrow = 4;
    for (std::size_t block = 0; block < n_blocks; ++block)
        for (std::size_t half = 0; half < 2; ++half) {
            const std::uint8_t* line = blocks + block * lines * kLine + half * 32;
            __m256i sum[Q];
            for (auto& s : sum) s = _mm256_setzero_si256();
            const std::int8_t* values = query;
            for (std::size_t g = 0; g < lines; g += kNarrow) {
                __m256i narrow[Q];
                for (auto& s : narrow) s = _mm256_setzero_si256();
                const std::size_t end = lines - g < kNarrow ? lines - g : kNarrow;
                for (std::size_t i = 0; i < end; ++i, line += kLine, values += 8 * Q) {
                    const __m256i code = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(line));
                    const __m256i first = _mm256_and_si256(code, low);
                    const __m256i second = _mm256_and_si256(_mm256_srli_epi16(code, 4), low);
                    for (int a = 0; a < Q; ++a) {
                        const __m256i u =
                            _mm256_maddubs_epi16(first, _mm256_set1_epi32(load32(values + 4 * a)));
                        const __m256i v =
                            _mm256_maddubs_epi16(second, _mm256_set1_epi32(load32(values + 4 * (Q + a))));
                        narrow[a] = _mm256_add_epi16(narrow[a], _mm256_add_epi16(u, v));
                    }
                }
                for (int a = 0; a < Q; ++a)
                    sum[a] = _mm256_add_epi32(sum[a], _mm256_madd_epi16(narrow[a], ones));
            }
            for (int a = 0; a < Q; ++a)
                _mm256_storeu_si256(
                    reinterpret_cast<__m256i*>(out + a * out_stride + block * kRows + half * 8), sum[a]);
        }
}

// 8 bits without VNNI: the byte multiply-add would saturate (255 * 127 * 2), so both sides are widened to 16
// bits.
template <int Q>
INLAY_AVX2 inline void dots8_avx2(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines,
                                  const std::int8_t* query, std::int32_t* out, std::size_t out_stride) {
    for (std::size_t block = 0; block < n_blocks; ++block)
        for (std::size_t half = 0; half < 2; ++half) {
            const std::uint8_t* line = blocks + block * lines * kLine + half * 32;
            __m256i sum[Q][2];
            for (auto& s : sum) s[0] = s[1] = _mm256_setzero_si256();
            const std::int8_t* values = query;
            for (std::size_t g = 0; g < lines; ++g, line += kLine, values += 4 * Q) {
                const __m128i* at = reinterpret_cast<const __m128i*>(line);
                const __m256i code[2] = {_mm256_cvtepu8_epi16(_mm_loadu_si128(at)),
                                         _mm256_cvtepu8_epi16(_mm_loadu_si128(at + 1))};
                for (int a = 0; a < Q; ++a) {
                    const __m256i four = _mm256_cvtepi8_epi16(_mm_set1_epi32(load32(values + 4 * a)));
                    sum[a][0] = _mm256_add_epi32(sum[a][0], _mm256_madd_epi16(code[0], four));
                    sum[a][1] = _mm256_add_epi32(sum[a][1], _mm256_madd_epi16(code[1], four));
                }
            }
            for (int a = 0; a < Q; ++a) {
                // hadd works within 128-bit halves: rows 0 1 4 5 | 2 3 6 7, put back in order.
                const __m256i mixed = _mm256_hadd_epi32(sum[a][0], sum[a][1]);
                _mm256_storeu_si256(
                    reinterpret_cast<__m256i*>(out + a * out_stride + block * kRows + half * 8),
                    _mm256_permute4x64_epi64(mixed, 0xD8));
            }
        }
}
#endif

#if defined(INLAY_NEON)
// NEON multiplies bytes of one sign only. Flipping the top bit of an 8-bit code makes it the signed number
// code - 128; what that takes from a sum is 128 times the sum of the query's values.
template <int BITS, int Q>
INLAY_INLINE void owed(const std::int8_t* query, std::size_t lines, std::int32_t* out) {
    for (int a = 0; a < Q; ++a) out[a] = 0;
    for (std::size_t g = 0; BITS == 8 && g < lines; ++g)
        for (int a = 0; a < Q; ++a)
            for (int j = 0; j < 4; ++j) out[a] += 128 * query[4 * (g * Q + a) + j];
}
INLAY_INLINE int8x16_t less_128(uint8x16_t codes) {
    return vreinterpretq_s8_u8(veorq_u8(codes, vdupq_n_u8(128)));
}
INLAY_INLINE int8x16_t low_nibbles(uint8x16_t codes) {
    return vreinterpretq_s8_u8(vandq_u8(codes, vdupq_n_u8(15)));
}
INLAY_INLINE int8x16_t high_nibbles(uint8x16_t codes) {
    return vreinterpretq_s8_u8(vshrq_n_u8(codes, 4));
}
INLAY_INLINE int8x16_t four_values(const std::int8_t* values) {
    return vreinterpretq_s8_s32(vdupq_n_s32(load32(values)));
}

// A register holds four rows of a line, and their products two: rows 0 and 1, rows 2 and 3. One query passes
// over whole lines (8 registers of sums), eight over four rows of each (16).
template <int Q>
constexpr std::size_t kNeonParts = Q == 1 ? 4 : 1;

// 4 bits without SDOT: code * value <= 15 * 128, two of them a 16-bit lane and line, so eight lines
// (16 * 1,920 = 30,720) may be added before they are widened.
template <int Q>
inline void dots4_neon(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines,
                       const std::int8_t* query, std::int32_t* out, std::size_t out_stride) {
    constexpr std::size_t kParts = kNeonParts<Q>, kNarrow = 8;
    for (std::size_t block = 0; block < n_blocks; ++block)
        for (std::size_t part = 0; part < 4; part += kParts) {
            const std::uint8_t* line = blocks + block * lines * kLine + 16 * part;
            int32x4_t sum[Q][kParts][2];
            for (auto& of_query : sum)
                for (auto& s : of_query) s[0] = s[1] = vdupq_n_s32(0);
            const std::int8_t* values = query;
            for (std::size_t g = 0; g < lines; g += kNarrow) {
                int16x8_t narrow[Q][kParts][2];
                for (auto& of_query : narrow)
                    for (auto& s : of_query) s[0] = s[1] = vdupq_n_s16(0);
                const std::size_t end = lines - g < kNarrow ? lines - g : kNarrow;
                for (std::size_t i = 0; i < end; ++i, line += kLine, values += 8 * Q)
                    for (std::size_t p = 0; p < kParts; ++p) {
                        const uint8x16_t code = vld1q_u8(line + 16 * p);
                        const int8x16_t first = low_nibbles(code), second = high_nibbles(code);
                        for (int a = 0; a < Q; ++a) {
                            const int8x16_t u = four_values(values + 4 * a);
                            const int8x16_t v = four_values(values + 4 * (Q + a));
                            int16x8_t* to = narrow[a][p];
                            to[0] = vmlal_s8(to[0], vget_low_s8(first), vget_low_s8(u));
                            to[1] = vmlal_high_s8(to[1], first, u);
                            to[0] = vmlal_s8(to[0], vget_low_s8(second), vget_low_s8(v));
                            to[1] = vmlal_high_s8(to[1], second, v);
                        }
                    }
                for (int a = 0; a < Q; ++a)
                    for (std::size_t p = 0; p < kParts; ++p)
                        for (int pair = 0; pair < 2; ++pair)
                            sum[a][p][pair] = vpadalq_s16(sum[a][p][pair], narrow[a][p][pair]);
            }
            for (int a = 0; a < Q; ++a)
                for (std::size_t p = 0; p < kParts; ++p)
                    vst1q_s32(out + a * out_stride + block * kRows + 4 * (part + p),
                              vpaddq_s32(sum[a][p][0], sum[a][p][1]));
        }
}

// 8 bits without SDOT: two products (128 * 128 * 2) are more than 16 bits hold, so each is widened at once.
template <int Q>
inline void dots8_neon(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines,
                       const std::int8_t* query, std::int32_t* out, std::size_t out_stride) {
    constexpr std::size_t kParts = kNeonParts<Q>;
    std::int32_t back[Q];
    owed<8, Q>(query, lines, back);
    for (std::size_t block = 0; block < n_blocks; ++block)
        for (std::size_t part = 0; part < 4; part += kParts) {
            const std::uint8_t* line = blocks + block * lines * kLine + 16 * part;
            int32x4_t sum[Q][kParts][2];
            for (auto& of_query : sum)
                for (auto& s : of_query) s[0] = s[1] = vdupq_n_s32(0);
            const std::int8_t* values = query;
            for (std::size_t g = 0; g < lines; ++g, line += kLine, values += 4 * Q)
                for (std::size_t p = 0; p < kParts; ++p) {
                    const int8x16_t code = less_128(vld1q_u8(line + 16 * p));
                    for (int a = 0; a < Q; ++a) {
                        const int8x16_t u = four_values(values + 4 * a);
                        int32x4_t* to = sum[a][p];
                        to[0] = vpadalq_s16(to[0], vmull_s8(vget_low_s8(code), vget_low_s8(u)));
                        to[1] = vpadalq_s16(to[1], vmull_high_s8(code, u));
                    }
                }
            for (int a = 0; a < Q; ++a)
                for (std::size_t p = 0; p < kParts; ++p)
                    vst1q_s32(out + a * out_stride + block * kRows + 4 * (part + p),
                              vaddq_s32(vpaddq_s32(sum[a][p][0], sum[a][p][1]), vdupq_n_s32(back[a])));
        }
}

// SDOT adds four products to a 32-bit lane, which is a row: the sums of a line are four registers a query.
template <int BITS>
INLAY_NEON_DOT inline void dots_one_neon_dot(const std::uint8_t* blocks, std::size_t n_blocks,
                                             std::size_t lines, const std::int8_t* query, std::int32_t* out,
                                             std::size_t) {
    std::int32_t back;
    owed<BITS, 1>(query, lines, &back);
    for (std::size_t block = 0; block < n_blocks; ++block) {
        const std::uint8_t* line = blocks + block * lines * kLine;
        int32x4_t sum[4];
        for (auto& s : sum) s = vdupq_n_s32(back);
        const std::int8_t* values = query;
        for (std::size_t g = 0; g < lines; ++g, line += kLine, values += 32 / BITS)
            for (int p = 0; p < 4; ++p) {
                const uint8x16_t code = vld1q_u8(line + 16 * p);
                const int8x16_t first = BITS == 8 ? less_128(code) : low_nibbles(code);
                sum[p] = vdotq_s32(sum[p], first, four_values(values));
                if constexpr (BITS == 4)
                    sum[p] = vdotq_s32(sum[p], high_nibbles(code), four_values(values + 4));
            }
        for (int p = 0; p < 4; ++p) vst1q_s32(out + block * kRows + 4 * p, sum[p]);
    }
}

// Four rows of one group meet eight queries; values are the group's four of each query.
INLAY_NEON_DOT INLAY_INLINE void dot_eight(int32x4_t* sum, int8x16_t code, const std::int8_t* values) {
    const int8x16_t front = vld1q_s8(values), rear = vld1q_s8(values + 16);
    sum[0] = vdotq_laneq_s32(sum[0], code, front, 0);
    sum[1] = vdotq_laneq_s32(sum[1], code, front, 1);
    sum[2] = vdotq_laneq_s32(sum[2], code, front, 2);
    sum[3] = vdotq_laneq_s32(sum[3], code, front, 3);
    sum[4] = vdotq_laneq_s32(sum[4], code, rear, 0);
    sum[5] = vdotq_laneq_s32(sum[5], code, rear, 1);
    sum[6] = vdotq_laneq_s32(sum[6], code, rear, 2);
    sum[7] = vdotq_laneq_s32(sum[7], code, rear, 3);
}

// Eight queries: half a line at a time, so that their 16 sums stay in registers.
template <int BITS>
INLAY_NEON_DOT inline void dots_eight_neon_dot(const std::uint8_t* blocks, std::size_t n_blocks,
                                               std::size_t lines, const std::int8_t* query, std::int32_t* out,
                                               std::size_t out_stride) {
    std::int32_t back[kTogether];
    owed<BITS, 8>(query, lines, back);
    for (std::size_t block = 0; block < n_blocks; ++block)
        for (std::size_t half = 0; half < 2; ++half) {
            const std::uint8_t* line = blocks + block * lines * kLine + 32 * half;
            int32x4_t sum[2][kTogether];
            for (auto& of_rows : sum)
                for (std::size_t a = 0; a < kTogether; ++a) of_rows[a] = vdupq_n_s32(back[a]);
            const std::int8_t* values = query;
            for (std::size_t g = 0; g < lines; ++g, line += kLine, values += 32 / BITS * kTogether)
                for (int p = 0; p < 2; ++p) {
                    const uint8x16_t code = vld1q_u8(line + 16 * p);
                    dot_eight(sum[p], BITS == 8 ? less_128(code) : low_nibbles(code), values);
                    if constexpr (BITS == 4) dot_eight(sum[p], high_nibbles(code), values + 4 * kTogether);
                }
            for (std::size_t a = 0; a < kTogether; ++a)
                for (int p = 0; p < 2; ++p)
                    vst1q_s32(out + a * out_stride + block * kRows + 8 * half + 4 * p, sum[p][a]);
        }
}
#endif

// ---- moving codes in and out of blocks
// ---------------------------------------------------------------------

inline std::size_t lines_of(int bits, std::size_t dim) {
    const std::size_t a_line = static_cast<std::size_t>(32 / bits);
    return (dim + a_line - 1) / a_line;
}

// codes: one byte a dimension, `lines * 32 / bits` of them (padding zero) -> lane `row` of `block`.
inline void put_row(int bits, const std::uint8_t* codes, std::size_t lines, std::size_t row,
                    std::uint8_t* block) {
    for (std::size_t g = 0; g < lines; ++g) {
        std::uint8_t* lane = block + g * kLine + 4 * row;
        if (bits == 8)
            std::memcpy(lane, codes + 4 * g, 4);
        else
            for (int j = 0; j < 4; ++j)
                lane[j] = static_cast<std::uint8_t>(codes[8 * g + j] | codes[8 * g + 4 + j] << 4);
    }
}

inline void get_row(int bits, const std::uint8_t* block, std::size_t lines, std::size_t row,
                    std::uint8_t* codes) {
    const std::uint8_t* lane = block + 4 * row;
    for (std::size_t g = 0; g < lines; ++g, lane += kLine) {
        std::uint32_t word;
        std::memcpy(&word, lane, sizeof word);
        if (bits == 8) {
            std::memcpy(codes + 4 * g, &word, sizeof word);
        } else {
            const std::uint32_t first = word & 0x0F0F0F0Fu, second = word >> 4 & 0x0F0F0F0Fu;
            std::memcpy(codes + 8 * g, &first, sizeof first);
            std::memcpy(codes + 8 * g + 4, &second, sizeof second);
        }
    }
}

// Ask for the lines that a later get_row will read four bytes each of.
inline void prefetch_row(const std::uint8_t* block, std::size_t lines, std::size_t row) {
    for (std::size_t g = 0; g < lines; ++g) prefetch(block + g * kLine + 4 * row);
}
// Ask for every line that n bytes touch, wherever they begin.
inline void prefetch_bytes(const std::uint8_t* bytes, std::size_t n) {
    const std::uint8_t* end = bytes + n;
    for (bytes -= reinterpret_cast<std::uintptr_t>(bytes) % kLine; bytes < end; bytes += kLine)
        prefetch(bytes);
}

inline void clear_row(std::size_t lines, std::size_t row, std::uint8_t* block) {
    for (std::size_t g = 0; g < lines; ++g) std::memset(block + g * kLine + 4 * row, 0, 4);
}

}  // namespace inlay::codes
