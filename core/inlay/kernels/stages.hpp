// Scores of rows coded in stages: sums of one table entry a stage, 64 rows at a time.
//
// A row has a code for each stage, the number of an entry in the stage's table of bytes, and perhaps a norm.
//
//     score = (step * sum of entries + low) + (norm_step * norm + norm_low)
//
// 64 rows are a block, stage after stage:
//
//     256 entries   a stage is 64 bytes. Byte j is the code of row j / 2 (j even) or 32 + j / 2 (j odd), so
//                   that even and odd bytes, which part when they are added in 16 bits, are rows in order
//     16 entries    two halves of 32 rows, which lie as fastscan.hpp has them: a stage is 16 bytes
//
// then, where rows have norms, 64 bytes more, byte j that of row j. Only the first stages may be looked at.
//
// Sums are exact integers, whatever the number of stages (16 bits for 256 of them, then 32), and scores
// float32 operations in one order: every level gives the same bits.
#pragma once

#include "kernels/fastscan.hpp"

namespace inlay::stages {

constexpr std::size_t kRows = 64;

// Where things are in a block.
struct Shape {
    std::size_t stride;  // bytes from block to block
    std::size_t stored;  // stages that there are
    std::size_t used;    // how many of them are added up
    std::size_t norms;   // where the norms begin; 0 for none
};

struct Line {
    float step, low, norm_step, norm_low;
};

// Scores of n_blocks * 64 rows from tables of 256 or 16 bytes a stage.
using Scan = void (*)(const std::uint8_t* blocks, std::size_t n_blocks, const Shape& shape,
                      const std::uint8_t* tables, const Line& line, float* out);

// ---- places of codes

INLAY_INLINE std::size_t bytes_of(int bits, std::size_t n_stages) {
    return kRows * n_stages * static_cast<std::size_t>(bits) / 8;
}

// Which of n bytes vector v is: fastscan::vector_of the other way round.
INLAY_INLINE std::size_t byte_of(std::size_t v, std::size_t n) {
    return v < n / 2 ? 2 * v : 2 * v + 1 - n;
}

INLAY_INLINE std::size_t half_place(std::size_t n_stages, std::size_t row, std::size_t stage) {
    return 16 * (row / 32 * n_stages + stage) + byte_of(row % 16, 16);
}

INLAY_INLINE std::uint8_t get_code(int bits, const std::uint8_t* block, std::size_t n_stages, std::size_t row,
                                   std::size_t stage) {
    if (bits == 8) return block[kRows * stage + byte_of(row, kRows)];
    const int shift = row % 32 < 16 ? 0 : 4;
    return block[half_place(n_stages, row, stage)] >> shift & 15;
}

INLAY_INLINE void put_code(int bits, std::uint8_t* block, std::size_t n_stages, std::size_t row,
                           std::size_t stage, std::uint8_t code) {
    if (bits == 8) {
        block[kRows * stage + byte_of(row, kRows)] = code;
        return;
    }
    std::uint8_t& byte = block[half_place(n_stages, row, stage)];
    byte = row % 32 < 16 ? static_cast<std::uint8_t>((byte & 0xF0) | code)
                         : static_cast<std::uint8_t>((byte & 0x0F) | code << 4);
}

// ---- sums to scores

// Scores of 64 rows; norms may be null.
using Finish = void (*)(const std::uint32_t* sums, const std::uint8_t* norms, const Line& line, float* out);

inline void finish_scalar(const std::uint32_t* sums, const std::uint8_t* norms, const Line& line,
                          float* out) {
    for (std::size_t i = 0; i < kRows; ++i)
        out[i] = line.step * static_cast<float>(static_cast<std::int32_t>(sums[i])) + line.low;
    if (norms == nullptr) return;
    for (std::size_t i = 0; i < kRows; ++i) {
        const float norm = line.norm_step * static_cast<float>(norms[i]) + line.norm_low;
        out[i] = out[i] + norm;
    }
}

// ---- 256 entries, a block

using Sums = void (*)(const std::uint8_t* block, const Shape& shape, const std::uint8_t* tables,
                      std::uint32_t* sums);

inline void sums256_scalar(const std::uint8_t* block, const Shape& shape, const std::uint8_t* tables,
                           std::uint32_t* sums) {
    std::memset(sums, 0, kRows * sizeof *sums);
    for (std::size_t s = 0; s < shape.used; ++s, block += kRows, tables += 256)
        for (std::size_t j = 0; j < kRows; ++j) sums[fastscan::vector_of(j, kRows)] += tables[block[j]];
}

template <fastscan::Sums HALF>
inline void sums16(const std::uint8_t* block, const Shape& shape, const std::uint8_t* tables,
                   std::uint32_t* sums) {
    HALF(block, tables, shape.used, 1, sums);
    HALF(block + 16 * shape.stored, tables, shape.used, 1, sums + 32);
}

template <Sums SUMS, Finish FINISH>
inline void scan(const std::uint8_t* blocks, std::size_t n_blocks, const Shape& shape,
                 const std::uint8_t* tables, const Line& line, float* out) {
    std::uint32_t sums[kRows];
    for (std::size_t b = 0; b < n_blocks; ++b, blocks += shape.stride, out += kRows) {
        SUMS(blocks, shape, tables, sums);
        FINISH(sums, shape.norms != 0 ? blocks + shape.norms : nullptr, line, out);
    }
}

#if defined(INLAY_X86)
INLAY_AVX2 inline void finish_avx2(const std::uint32_t* sums, const std::uint8_t* norms, const Line& line,
                                   float* out) {
    for (std::size_t i = 0; i < kRows; i += 8) {
        const __m256 sum = _mm256_cvtepi32_ps(fastscan::load_avx2(sums + i));
        __m256 score = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(line.step), sum), _mm256_set1_ps(line.low));
        if (norms != nullptr) {
            const __m256 norm = _mm256_cvtepi32_ps(
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(norms + i))));
            score = _mm256_add_ps(score, _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(line.norm_step), norm),
                                                       _mm256_set1_ps(line.norm_low)));
        }
        _mm256_storeu_ps(out + i, score);
    }
}

// A table of 64 by the low six bits of a code, for each quarter of the table of 256; the high two choose.
INLAY_AVX2 INLAY_INLINE __m256i quarter_avx2(__m256i low, __m256i bit4, __m256i bit5,
                                             const std::uint8_t* table) {
    __m256i found[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q)
        found[q] =
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(fastscan::load_half_avx2(table + 16 * q)), low);
    return _mm256_blendv_epi8(_mm256_blendv_epi8(found[0], found[1], bit4),
                              _mm256_blendv_epi8(found[2], found[3], bit4), bit5);
}

INLAY_AVX2 inline void sums256_avx2(const std::uint8_t* block, const Shape& shape, const std::uint8_t* tables,
                                    std::uint32_t* sums) {
    for (std::size_t half = 0; half < 2; ++half) {
        __m256i total[4];
        total[0] = total[1] = total[2] = total[3] = _mm256_setzero_si256();
        for (std::size_t s = 0; s < shape.used;) {
            const std::size_t end = fastscan::end_of_run(s, shape.used);
            __m256i sum[2];
            sum[0] = sum[1] = _mm256_setzero_si256();
            for (; s < end; ++s) {
                const __m256i code = fastscan::load_avx2(block + kRows * s + 32 * half);
                const std::uint8_t* table = tables + 256 * s;
                const __m256i low = _mm256_and_si256(code, _mm256_set1_epi8(15));
                const __m256i bit4 = _mm256_slli_epi16(code, 3), bit5 = _mm256_slli_epi16(code, 2);
                const __m256i bit6 = _mm256_slli_epi16(code, 1);
                const __m256i lower = _mm256_blendv_epi8(quarter_avx2(low, bit4, bit5, table),
                                                         quarter_avx2(low, bit4, bit5, table + 64), bit6);
                const __m256i upper = _mm256_blendv_epi8(quarter_avx2(low, bit4, bit5, table + 128),
                                                         quarter_avx2(low, bit4, bit5, table + 192), bit6);
                fastscan::add_avx2(_mm256_blendv_epi8(lower, upper, code), sum);
            }
            const __m256i even = fastscan::even_avx2(sum);
            fastscan::widen_avx2(_mm256_castsi256_si128(even), total[0]);
            fastscan::widen_avx2(_mm256_extracti128_si256(even, 1), total[1]);
            fastscan::widen_avx2(_mm256_castsi256_si128(sum[1]), total[2]);
            fastscan::widen_avx2(_mm256_extracti128_si256(sum[1], 1), total[3]);
        }
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i)
            fastscan::store_avx2(sums + 16 * half + 8 * (i + i / 2 * 2), total[i]);
    }
}

INLAY_AVX512 INLAY_INLINE void finish16_avx512(__m512i sum, const std::uint8_t* norms, const Line& line,
                                               float* out) {
    __m512 score = _mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(line.step), _mm512_cvtepi32_ps(sum)),
                                 _mm512_set1_ps(line.low));
    if (norms != nullptr) {
        const __m512 norm = _mm512_cvtepi32_ps(
            _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(norms))));
        score = _mm512_add_ps(score, _mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(line.norm_step), norm),
                                                   _mm512_set1_ps(line.norm_low)));
    }
    _mm512_storeu_ps(out, score);
}

INLAY_AVX512 inline void finish_avx512(const std::uint32_t* sums, const std::uint8_t* norms, const Line& line,
                                       float* out) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kRows; i += 16)
        finish16_avx512(_mm512_loadu_si512(sums + i), norms == nullptr ? nullptr : norms + i, line, out + i);
}

// N blocks share the loads of a stage's table, four registers: seven bits of a code choose within two of
// them, and the eighth between the pairs.
template <std::size_t N>
INLAY_AVX512 INLAY_INLINE void scan256_blocks(const std::uint8_t* blocks, const Shape& shape,
                                              const std::uint8_t* tables, const Line& line, float* out) {
    __m512i total[N][4];
#pragma GCC unroll 4
    for (std::size_t b = 0; b < N; ++b)
        total[b][0] = total[b][1] = total[b][2] = total[b][3] = _mm512_setzero_si512();
    for (std::size_t s = 0; s < shape.used;) {
        const std::size_t end = fastscan::end_of_run(s, shape.used);
        __m512i sum[N][2];
#pragma GCC unroll 4
        for (std::size_t b = 0; b < N; ++b) sum[b][0] = sum[b][1] = _mm512_setzero_si512();
        for (; s < end; ++s) {
            const std::uint8_t* table = tables + 256 * s;
            const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
            const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
#pragma GCC unroll 4
            for (std::size_t b = 0; b < N; ++b) {
                const __m512i code = _mm512_loadu_si512(blocks + shape.stride * b + kRows * s);
                const __m512i lower = _mm512_permutex2var_epi8(t0, code, t1);
                const __m512i upper = _mm512_permutex2var_epi8(t2, code, t3);
                const __m512i bytes = _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), lower, upper);
                sum[b][0] = _mm512_add_epi16(sum[b][0], bytes);
                sum[b][1] =
                    _mm512_add_epi16(sum[b][1], _mm512_maddubs_epi16(bytes, _mm512_set1_epi16(0x100)));
            }
        }
#pragma GCC unroll 4
        for (std::size_t b = 0; b < N; ++b) {
            sum[b][0] = _mm512_sub_epi16(sum[b][0], _mm512_slli_epi16(sum[b][1], 8));
#pragma GCC unroll 4
            for (std::size_t i = 0; i < 4; ++i) {
                const __m512i words = sum[b][i / 2];
                total[b][i] = _mm512_add_epi32(
                    total[b][i], _mm512_cvtepu16_epi32(i % 2 == 0 ? _mm512_castsi512_si256(words)
                                                                  : _mm512_extracti64x4_epi64(words, 1)));
            }
        }
    }
#pragma GCC unroll 4
    for (std::size_t b = 0; b < N; ++b) {
        const std::uint8_t* norms = shape.norms != 0 ? blocks + shape.stride * b + shape.norms : nullptr;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i)
            finish16_avx512(total[b][i], norms == nullptr ? nullptr : norms + 16 * i, line,
                            out + kRows * b + 16 * i);
    }
}

INLAY_AVX512 inline void scan256_avx512(const std::uint8_t* blocks, std::size_t n_blocks, const Shape& shape,
                                        const std::uint8_t* tables, const Line& line, float* out) {
    for (; n_blocks >= 2; n_blocks -= 2, blocks += 2 * shape.stride, out += 2 * kRows)
        scan256_blocks<2>(blocks, shape, tables, line, out);
    if (n_blocks != 0) scan256_blocks<1>(blocks, shape, tables, line, out);
}
#endif

#if defined(INLAY_NEON)
// Numbers from 64 on find nothing in a table of 64, so that each quarter finds what is its own.
INLAY_INLINE uint8x16_t look_up256_neon(uint8x16_t code, const std::uint8_t* table) {
    uint8x16_t found = vqtbl4q_u8(vld1q_u8_x4(table), code);
    for (int q = 1; q < 4; ++q) {
        code = vsubq_u8(code, vdupq_n_u8(64));
        found = vorrq_u8(found, vqtbl4q_u8(vld1q_u8_x4(table + 64 * q), code));
    }
    return found;
}

inline void sums256_neon(const std::uint8_t* block, const Shape& shape, const std::uint8_t* tables,
                         std::uint32_t* sums) {
    for (std::size_t quarter = 0; quarter < 4; ++quarter) {
        uint32x4_t total[4];
        for (auto& t : total) t = vdupq_n_u32(0);
        for (std::size_t s = 0; s < shape.used;) {
            const std::size_t end = fastscan::end_of_run(s, shape.used);
            uint16x8_t sum[2];
            sum[0] = sum[1] = vdupq_n_u16(0);
            for (; s < end; ++s) {
                const uint8x16_t code = vld1q_u8(block + kRows * s + 16 * quarter);
                fastscan::add_neon(look_up256_neon(code, tables + 256 * s), sum);
            }
            fastscan::widen_neon(sum, 2, total);
        }
        for (std::size_t i = 0; i < 4; ++i) vst1q_u32(sums + 8 * quarter + 4 * (i + i / 2 * 6), total[i]);
    }
}
#endif

}  // namespace inlay::stages
