// FastScan: sums of 32 or 64 coded vectors from tables of bytes, by shuffles that look up many codes at once.
//
// Four dimensions, or six, are a group and have a table of 16 entries, or 64. A vector's code in a group is
// the number of an entry, and its sum is that of the entries its codes name. Codes lie in blocks:
//
//     32 vectors   a group is 16 bytes. Byte j has vector v = j / 2 (j even) or 8 + j / 2 (j odd) in its
//                  low nibble and vector 16 + v in its high one
//     64 vectors   four groups are 3 x 64 bytes. Byte j of each is vector j / 2 (j even) or 32 + j / 2 (j
//                  odd): the low six bits are its codes in three groups, the pairs of bits above them, lowest
//                  pair first, its code in the fourth
//
// so that even and odd bytes, which part when they are added in 16 bits, are vectors in their order. Codes of
// several bits a dimension are planes, one block after the other, and plane b counts 2^b times.
//
// Sums are exact, and fit 32 bits if 255 * groups * 2^planes does.
#pragma once

#include <cstring>

#include "kernels/isa.hpp"

namespace inlay::fastscan {

// The sums of a block's 32 or 64 vectors.
using Sums = void (*)(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t groups,
                      std::size_t planes, std::uint32_t* sums);

// Which vector byte j is, of as many as there are bytes.
INLAY_INLINE std::size_t vector_of(std::size_t j, std::size_t bytes) {
    return j / 2 + j % 2 * (bytes / 2);
}

// The code in one of four groups, of the vector that byte j of a block of 64 is.
INLAY_INLINE std::size_t code64(const std::uint8_t* four, std::size_t group, std::size_t j) {
    if (group < 3) return four[64 * group + j] & 63u;
    return four[j] >> 6 | four[64 + j] >> 6 << 2 | four[128 + j] >> 6 << 4;
}

inline void sums32_scalar(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t groups,
                          std::size_t planes, std::uint32_t* sums) {
    std::memset(sums, 0, 32 * sizeof *sums);
    for (std::size_t b = 0; b < planes; ++b)
        for (std::size_t group = 0; group < groups; ++group, codes += 16) {
            const std::uint8_t* table = tables + 16 * group;
            for (std::size_t j = 0; j < 16; ++j) {
                sums[vector_of(j, 16)] += static_cast<std::uint32_t>(table[codes[j] & 15]) << b;
                sums[16 + vector_of(j, 16)] += static_cast<std::uint32_t>(table[codes[j] >> 4]) << b;
            }
        }
}

inline void sums64_scalar(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t groups,
                          std::size_t planes, std::uint32_t* sums) {
    std::memset(sums, 0, 64 * sizeof *sums);
    for (std::size_t b = 0; b < planes; ++b)
        for (std::size_t group = 0; group < groups; group += 4, codes += 192)
            for (std::size_t i = 0; i < 4; ++i)
                for (std::size_t j = 0; j < 64; ++j)
                    sums[vector_of(j, 64)] +=
                        static_cast<std::uint32_t>(tables[64 * (group + i) + code64(codes, i, j)]) << b;
}

// As many entries as are added in 16 bits.
constexpr std::size_t kRun = 256;

INLAY_INLINE std::size_t end_of_run(std::size_t group, std::size_t groups) {
    return groups - group < kRun ? groups : group + kRun;
}

#if defined(INLAY_X86)
INLAY_AVX2 INLAY_INLINE __m256i load_avx2(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
INLAY_AVX2 INLAY_INLINE __m128i load_half_avx2(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
INLAY_AVX2 INLAY_INLINE void store_avx2(void* p, __m256i value) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), value);
}

// sum[0] takes words as they are, that is even bytes and 256 times the odd ones; sum[1] odd bytes alone.
INLAY_AVX2 INLAY_INLINE void add_avx2(__m256i bytes, __m256i (&sum)[2]) {
    sum[0] = _mm256_add_epi16(sum[0], bytes);
    sum[1] = _mm256_add_epi16(sum[1], _mm256_srli_epi16(bytes, 8));
}
INLAY_AVX2 INLAY_INLINE __m256i even_avx2(const __m256i (&sum)[2]) {
    return _mm256_sub_epi16(sum[0], _mm256_slli_epi16(sum[1], 8));
}
INLAY_AVX2 INLAY_INLINE void widen_avx2(__m128i words, __m256i& total) {
    total = _mm256_add_epi32(total, _mm256_cvtepu16_epi32(words));
}
template <std::size_t N>
INLAY_AVX2 INLAY_INLINE void double_avx2(__m256i (&total)[N]) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < N; ++i) total[i] = _mm256_add_epi32(total[i], total[i]);
}

// Two groups, one a lane.
INLAY_AVX2 INLAY_INLINE void look_up32_avx2(__m256i code, __m256i table, __m256i (&low)[2],
                                            __m256i (&high)[2]) {
    const __m256i nibble = _mm256_set1_epi8(15);
    add_avx2(_mm256_shuffle_epi8(table, _mm256_and_si256(code, nibble)), low);
    add_avx2(_mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(code, 4), nibble)), high);
}

// Both lanes of even and odd bytes together, as vectors in their order.
INLAY_AVX2 INLAY_INLINE void fold_avx2(const __m256i (&sum)[2], __m256i* total) {
    const __m256i even = even_avx2(sum), odd = sum[1];
    widen_avx2(_mm_add_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1)), total[0]);
    widen_avx2(_mm_add_epi16(_mm256_castsi256_si128(odd), _mm256_extracti128_si256(odd, 1)), total[1]);
}

INLAY_AVX2 inline void sums32_avx2(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t groups,
                                   std::size_t planes, std::uint32_t* sums) {
    __m256i total[4];
    total[0] = total[1] = total[2] = total[3] = _mm256_setzero_si256();
    for (std::size_t b = planes; b-- > 0;) {
        const std::uint8_t* plane = codes + 16 * groups * b;
        double_avx2(total);
        for (std::size_t group = 0; group < groups;) {
            const std::size_t end = end_of_run(group, groups);
            __m256i low[2], high[2];
            low[0] = low[1] = high[0] = high[1] = _mm256_setzero_si256();
#pragma GCC unroll 2
            // By twos, which takes a tenth less.
            for (; group + 2 <= end; group += 2)
                look_up32_avx2(load_avx2(plane + 16 * group), load_avx2(tables + 16 * group), low, high);
            if (group < end) {
                look_up32_avx2(_mm256_zextsi128_si256(load_half_avx2(plane + 16 * group)),
                               _mm256_zextsi128_si256(load_half_avx2(tables + 16 * group)), low, high);
                ++group;
            }
            fold_avx2(low, total);
            fold_avx2(high, total + 2);
        }
    }
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) store_avx2(sums + 8 * i, total[i]);
}

// The low four bits look up in all four quarters of the table, bits 4 and 5 choose; bits 6 and 7 must be 0.
// (Shuffles that give zero outside their own quarter, combined by OR, took 18 % longer on Zen 4.)
INLAY_AVX2 INLAY_INLINE void look_up64_avx2(__m256i code, const std::uint8_t* table, __m256i (&sum)[2]) {
    __m256i found[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q)
        found[q] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_half_avx2(table + 16 * q)), code);
    const __m256i bit4 = _mm256_slli_epi16(code, 3), bit5 = _mm256_slli_epi16(code, 2);
    add_avx2(_mm256_blendv_epi8(_mm256_blendv_epi8(found[0], found[1], bit4),
                                _mm256_blendv_epi8(found[2], found[3], bit4), bit5),
             sum);
}

INLAY_AVX2 INLAY_INLINE void four64_avx2(const std::uint8_t* codes, const std::uint8_t* tables,
                                         __m256i (&sum)[2]) {
    const __m256i c0 = load_avx2(codes), c1 = load_avx2(codes + 64), c2 = load_avx2(codes + 128);
    const __m256i six = _mm256_set1_epi8(63);
    const __m256i fourth =
        _mm256_or_si256(_mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(c0, 6), _mm256_set1_epi8(3)),
                                        _mm256_and_si256(_mm256_srli_epi16(c1, 4), _mm256_set1_epi8(12))),
                        _mm256_and_si256(_mm256_srli_epi16(c2, 2), _mm256_set1_epi8(48)));
    look_up64_avx2(_mm256_and_si256(c0, six), tables, sum);
    look_up64_avx2(_mm256_and_si256(c1, six), tables + 64, sum);
    look_up64_avx2(_mm256_and_si256(c2, six), tables + 128, sum);
    look_up64_avx2(fourth, tables + 192, sum);
}

INLAY_AVX2 inline void sums64_avx2(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t groups,
                                   std::size_t planes, std::uint32_t* sums) {
    for (std::size_t half = 0; half < 2; ++half) {
        __m256i total[4];
        total[0] = total[1] = total[2] = total[3] = _mm256_setzero_si256();
        for (std::size_t b = planes; b-- > 0;) {
            const std::uint8_t* plane = codes + 48 * groups * b + 32 * half;
            double_avx2(total);
            for (std::size_t group = 0; group < groups;) {
                const std::size_t end = end_of_run(group, groups);
                __m256i sum[2];
                sum[0] = sum[1] = _mm256_setzero_si256();
                for (; group < end; group += 4) four64_avx2(plane + 48 * group, tables + 64 * group, sum);
                const __m256i even = even_avx2(sum);
                widen_avx2(_mm256_castsi256_si128(even), total[0]);
                widen_avx2(_mm256_extracti128_si256(even, 1), total[1]);
                widen_avx2(_mm256_castsi256_si128(sum[1]), total[2]);
                widen_avx2(_mm256_extracti128_si256(sum[1], 1), total[3]);
            }
        }
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) store_avx2(sums + 16 * half + 8 * (i + i / 2 * 2), total[i]);
    }
}

// Four tables of 16 are one of 64 to VPERMB, if bits 4 and 5 of a code are its group. With the four groups of
// a vector side by side, their entries are added to 32 bits in one instruction.
INLAY_AVX512 INLAY_INLINE void look_up32_avx512(__m512i code, __m512i table, __m512i& low, __m512i& high) {
    const __m512i nibble = _mm512_set1_epi8(15), ones = _mm512_set1_epi8(1),
                  group = _mm512_set1_epi32(0x30201000);
    const __m512i byte =
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15),
                           _mm512_set1_epi32(0x01010101));
    code = _mm512_permutexvar_epi8(_mm512_or_si512(group, byte), code);
    const __m512i first = _mm512_ternarylogic_epi32(code, nibble, group, 0xEA);  // a & b | c
    const __m512i second = _mm512_ternarylogic_epi32(_mm512_srli_epi16(code, 4), nibble, group, 0xEA);
    low = _mm512_dpbusd_epi32(low, _mm512_permutexvar_epi8(first, table), ones);
    high = _mm512_dpbusd_epi32(high, _mm512_permutexvar_epi8(second, table), ones);
}

INLAY_AVX512 inline void sums32_avx512(const std::uint8_t* codes, const std::uint8_t* tables,
                                       std::size_t groups, std::size_t planes, std::uint32_t* sums) {
    const std::size_t bytes = 16 * groups;
    __m512i low = _mm512_setzero_si512(), high = low;
    for (std::size_t b = planes; b-- > 0;) {
        const std::uint8_t* plane = codes + bytes * b;
        low = _mm512_add_epi32(low, low);
        high = _mm512_add_epi32(high, high);
        std::size_t i = 0;
        for (; i + 64 <= bytes; i += 64)
            look_up32_avx512(_mm512_loadu_si512(plane + i), _mm512_loadu_si512(tables + i), low, high);
        if (i == bytes) continue;
        const __mmask8 valid = static_cast<__mmask8>((1u << (bytes - i) / 8) - 1);
        look_up32_avx512(_mm512_maskz_loadu_epi64(valid, plane + i),
                         _mm512_maskz_loadu_epi64(valid, tables + i), low, high);
    }
    _mm512_storeu_si512(sums, low);
    _mm512_storeu_si512(sums + 16, high);
}

// VPERMB takes no notice of bits 6 and 7.
INLAY_AVX512 INLAY_INLINE void look_up64_avx512(__m512i code, const std::uint8_t* table, __m512i (&sum)[2]) {
    const __m512i bytes = _mm512_permutexvar_epi8(code, _mm512_loadu_si512(table));
    sum[0] = _mm512_add_epi16(sum[0], bytes);
    // Odd bytes by a product: a shift would wait for the pipes that the permutes are in (5 % on Zen 4).
    sum[1] = _mm512_add_epi16(sum[1], _mm512_maddubs_epi16(bytes, _mm512_set1_epi16(0x100)));
}

INLAY_AVX512 INLAY_INLINE void four64_avx512(const std::uint8_t* codes, const std::uint8_t* tables,
                                             __m512i (&sum)[2]) {
    const __m512i c0 = _mm512_loadu_si512(codes), c1 = _mm512_loadu_si512(codes + 64);
    const __m512i c2 = _mm512_loadu_si512(codes + 128);
    // 0xE4 takes the bits set in the third operand from the first, the others from the second.
    const __m512i two = _mm512_ternarylogic_epi32(_mm512_srli_epi16(c0, 6), _mm512_srli_epi16(c1, 4),
                                                  _mm512_set1_epi8(3), 0xE4);
    const __m512i three =
        _mm512_ternarylogic_epi32(two, _mm512_srli_epi16(c2, 2), _mm512_set1_epi8(15), 0xE4);
    look_up64_avx512(c0, tables, sum);
    look_up64_avx512(c1, tables + 64, sum);
    look_up64_avx512(c2, tables + 128, sum);
    look_up64_avx512(three, tables + 192, sum);
}

INLAY_AVX512 inline void sums64_avx512(const std::uint8_t* codes, const std::uint8_t* tables,
                                       std::size_t groups, std::size_t planes, std::uint32_t* sums) {
    __m512i total[4];
    total[0] = total[1] = total[2] = total[3] = _mm512_setzero_si512();
    for (std::size_t b = planes; b-- > 0;) {
        const std::uint8_t* plane = codes + 48 * groups * b;
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) total[i] = _mm512_add_epi32(total[i], total[i]);
        for (std::size_t group = 0; group < groups;) {
            const std::size_t end = end_of_run(group, groups);
            __m512i sum[2];
            sum[0] = sum[1] = _mm512_setzero_si512();
            for (; group < end; group += 4) four64_avx512(plane + 48 * group, tables + 64 * group, sum);
            sum[0] = _mm512_sub_epi16(sum[0], _mm512_slli_epi16(sum[1], 8));
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i)
                total[i] = _mm512_add_epi32(
                    total[i], _mm512_cvtepu16_epi32(i % 2 == 0 ? _mm512_castsi512_si256(sum[i / 2])
                                                               : _mm512_extracti64x4_epi64(sum[i / 2], 1)));
        }
    }
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) _mm512_storeu_si512(sums + 16 * i, total[i]);
}
#endif

#if defined(INLAY_NEON)
INLAY_INLINE void add_neon(uint8x16_t bytes, uint16x8_t (&sum)[2]) {
    const uint16x8_t words = vreinterpretq_u16_u8(bytes);
    sum[0] = vaddq_u16(sum[0], words);
    sum[1] = vsraq_n_u16(sum[1], words, 8);
}

// The even bytes' vectors are total[0] and [1], the odd ones' total[apart] and [apart + 1].
INLAY_INLINE void widen_neon(const uint16x8_t (&sum)[2], std::size_t apart, uint32x4_t* total) {
    const uint16x8_t even = vsubq_u16(sum[0], vshlq_n_u16(sum[1], 8));
    total[0] = vaddw_u16(total[0], vget_low_u16(even));
    total[1] = vaddw_high_u16(total[1], even);
    total[apart] = vaddw_u16(total[apart], vget_low_u16(sum[1]));
    total[apart + 1] = vaddw_high_u16(total[apart + 1], sum[1]);
}

inline void sums32_neon(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t groups,
                        std::size_t planes, std::uint32_t* sums) {
    uint32x4_t total[8];
    for (auto& t : total) t = vdupq_n_u32(0);
    for (std::size_t b = planes; b-- > 0;) {
        const std::uint8_t* plane = codes + 16 * groups * b;
        for (auto& t : total) t = vaddq_u32(t, t);
        for (std::size_t group = 0; group < groups;) {
            const std::size_t end = end_of_run(group, groups);
            uint16x8_t low[2], high[2];
            low[0] = low[1] = high[0] = high[1] = vdupq_n_u16(0);
            for (; group < end; ++group) {
                const uint8x16_t code = vld1q_u8(plane + 16 * group), table = vld1q_u8(tables + 16 * group);
                add_neon(vqtbl1q_u8(table, vandq_u8(code, vdupq_n_u8(15))), low);
                add_neon(vqtbl1q_u8(table, vshrq_n_u8(code, 4)), high);
            }
            widen_neon(low, 2, total);
            widen_neon(high, 2, total + 4);
        }
    }
    for (std::size_t i = 0; i < 8; ++i) vst1q_u32(sums + 4 * i, total[i]);
}

// Sixteen of the 64 bytes of a line at a time.
INLAY_INLINE void four64_neon(const std::uint8_t* codes, const std::uint8_t* tables, uint16x8_t (&sum)[2]) {
    const uint8x16_t six = vdupq_n_u8(63);
    const uint8x16_t c0 = vld1q_u8(codes), c1 = vld1q_u8(codes + 64), c2 = vld1q_u8(codes + 128);
    const uint8x16_t fourth = vshrq_n_u8(vsriq_n_u8(vsriq_n_u8(c2, c1, 2), c0, 4), 2);
    add_neon(vqtbl4q_u8(vld1q_u8_x4(tables), vandq_u8(c0, six)), sum);
    add_neon(vqtbl4q_u8(vld1q_u8_x4(tables + 64), vandq_u8(c1, six)), sum);
    add_neon(vqtbl4q_u8(vld1q_u8_x4(tables + 128), vandq_u8(c2, six)), sum);
    add_neon(vqtbl4q_u8(vld1q_u8_x4(tables + 192), fourth), sum);
}

inline void sums64_neon(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t groups,
                        std::size_t planes, std::uint32_t* sums) {
    for (std::size_t quarter = 0; quarter < 4; ++quarter) {
        uint32x4_t total[4];
        for (auto& t : total) t = vdupq_n_u32(0);
        for (std::size_t b = planes; b-- > 0;) {
            const std::uint8_t* plane = codes + 48 * groups * b + 16 * quarter;
            for (auto& t : total) t = vaddq_u32(t, t);
            for (std::size_t group = 0; group < groups;) {
                const std::size_t end = end_of_run(group, groups);
                uint16x8_t sum[2];
                sum[0] = sum[1] = vdupq_n_u16(0);
                for (; group < end; group += 4) four64_neon(plane + 48 * group, tables + 64 * group, sum);
                widen_neon(sum, 2, total);
            }
        }
        for (std::size_t i = 0; i < 4; ++i) vst1q_u32(sums + 8 * quarter + 4 * (i + i / 2 * 6), total[i]);
    }
}
#endif

// ---- codes into blocks

// How many groups are turned round together.
constexpr std::size_t kTile = 16;

// Byte i goes to 2 i, and byte n / 2 + i to 2 i + 1: the highest bit of a place becomes the lowest.
template <std::size_t N>
INLAY_INLINE void shuffle(const std::uint8_t* from, std::uint8_t* to) {
    for (std::size_t i = 0; i < N / 2; ++i) {
        to[2 * i] = from[i];
        to[2 * i + 1] = from[N / 2 + i];
    }
}

// N rows of 16 bytes to 16 rows of N, N = 4^k: the bits of a row's number go below those of a column's.
template <std::size_t N>
INLAY_INLINE void transpose(std::uint8_t* bytes) {
    std::uint8_t between[N * kTile];
    for (std::size_t row = 1; row < N; row *= 4) {
        shuffle<N * kTile>(bytes, between);
        shuffle<N * kTile>(between, bytes);
    }
}

// Up to 16 codes; a copy whose length is known takes no call.
INLAY_INLINE void get_tile(const std::uint8_t* codes, std::size_t some, std::uint8_t* out) {
    if (some >= kTile)
        std::memcpy(out, codes, kTile);
    else
        std::memcpy(out, codes, some);
}

// Codes of 32 vectors, one byte a group, vector after vector -> a block of groups * 16 bytes.
inline void pack32(const std::uint8_t* codes, std::size_t groups, std::uint8_t* out) {
    for (std::size_t group = 0; group < groups; group += kTile) {
        const std::size_t some = groups - group;
        std::uint8_t tile[16 * kTile], low[kTile] = {}, high[kTile] = {};
        for (std::size_t j = 0; j < 16; ++j) {
            const std::uint8_t* code = codes + groups * vector_of(j, 16) + group;
            get_tile(code, some, low);
            get_tile(code + groups * 16, some, high);
            for (std::size_t i = 0; i < kTile; ++i)
                tile[kTile * j + i] = static_cast<std::uint8_t>(low[i] | high[i] << 4);
        }
        transpose<16>(tile);
        std::memcpy(out + 16 * group, tile, 16 * (some < kTile ? some : kTile));
    }
}

// Codes of 64 vectors, one byte a group, vector after vector -> a block of groups * 48 bytes.
inline void pack64(const std::uint8_t* codes, std::size_t groups, std::uint8_t* out) {
    std::uint8_t tile[64 * kTile] = {};
    for (std::size_t group = 0; group < groups; group += 4) {
        if (group % kTile == 0) {
            for (std::size_t j = 0; j < 64; ++j)
                get_tile(codes + groups * vector_of(j, 64) + group, groups - group, tile + kTile * j);
            transpose<64>(tile);
        }
        const std::uint8_t *code = tile + group % kTile * 64, *fourth = code + 192;
        for (std::size_t i = 0; i < 3; ++i)
            for (std::size_t j = 0; j < 64; ++j)
                out[48 * group + 64 * i + j] =
                    static_cast<std::uint8_t>(code[64 * i + j] | fourth[j] >> 2 * i << 6);
    }
}

}  // namespace inlay::fastscan
