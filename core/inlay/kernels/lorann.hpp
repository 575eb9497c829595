// Scores of coded vectors whose first coordinate is kept as it is: both halves of a LoRANN cluster's model.
//
//     v ~ first | step * (c - half)          c in 0 .. 2^bits - 1, half = 2^(bits - 1), one a coordinate
//     q ~ first | scale * values             int8 values
//
//     score = step * (scale * (<c, values> - half * sum(values))) + first * first' (+ norm)
//
// The first coordinate is that of the largest numbers, which would leave the others none of the 8 bits; so
// these stay even, and one step a vector and one scale a query do. Codes lie in blocks of 16 vectors,
// products are those of codes.hpp, step and first are float16. half * sum(values) is one integer a query, so
// the sums are exact; the floats are taken in the order written here, nothing is fused, and every level gives
// the same bits.
#pragma once

#include "kernels/codes.hpp"
#include "kernels/float32.hpp"
#include "kernels/isa.hpp"

namespace inlay::lorann {

// Of the vectors from a block on, whole blocks of each. norms may be null.
struct Constants {
    const float32::Half *steps, *firsts;
    const float* norms;
};

// Of one query, or of eight whose values are interleaved as codes.hpp says.
struct Queries {
    const std::int8_t* values;
    const std::int32_t* offsets;  // half * sum(values)
    const float *scales, *firsts;
};

// out[a * out_stride + 16 * block + v], a < 1 or a < 8.
using Scan = void (*)(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines, Queries queries,
                      Constants rows, float* out, std::size_t out_stride);

// Scores from products, 16 n_blocks of them.
using Finish = void (*)(const std::int32_t* products, std::size_t n_blocks, std::int32_t offset, float scale,
                        float first, Constants rows, float* out);

inline void finish_scalar(const std::int32_t* products, std::size_t n_blocks, std::int32_t offset,
                          float scale, float first, Constants rows, float* out) {
    for (std::size_t i = 0; i < n_blocks * codes::kRows; ++i) {
        const float rest = float32::widened(rows.firsts[i]) * first;
        out[i] = float32::widened(rows.steps[i]) * (scale * static_cast<float>(products[i] - offset)) +
                 (rows.norms == nullptr ? rest : rest + rows.norms[i]);
    }
}

#if defined(INLAY_X86)
INLAY_AVX2 INLAY_INLINE __m256 wide_avx2(const float32::Half* halves) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)));
}
INLAY_AVX2 inline void finish_avx2(const std::int32_t* products, std::size_t n_blocks, std::int32_t offset,
                                   float scale, float first, Constants rows, float* out) {
    for (std::size_t i = 0; i < n_blocks * codes::kRows; i += 8) {
        const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(products + i));
        const __m256 product = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(offset)));
        __m256 rest = _mm256_mul_ps(wide_avx2(rows.firsts + i), _mm256_set1_ps(first));
        if (rows.norms != nullptr) rest = _mm256_add_ps(rest, _mm256_loadu_ps(rows.norms + i));
        const __m256 main =
            _mm256_mul_ps(wide_avx2(rows.steps + i), _mm256_mul_ps(_mm256_set1_ps(scale), product));
        _mm256_storeu_ps(out + i, _mm256_add_ps(main, rest));
    }
}
#elif defined(INLAY_NEON)
INLAY_INLINE float32x4_t wide_neon(const float32::Half* halves) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(halves))));
}
inline void finish_neon(const std::int32_t* products, std::size_t n_blocks, std::int32_t offset, float scale,
                        float first, Constants rows, float* out) {
    for (std::size_t i = 0; i < n_blocks * codes::kRows; i += 4) {
        const float32x4_t product = vcvtq_f32_s32(vsubq_s32(vld1q_s32(products + i), vdupq_n_s32(offset)));
        float32x4_t rest = vmulq_n_f32(wide_neon(rows.firsts + i), first);
        if (rows.norms != nullptr) rest = vaddq_f32(rest, vld1q_f32(rows.norms + i));
        const float32x4_t main = vmulq_f32(wide_neon(rows.steps + i), vmulq_n_f32(product, scale));
        vst1q_f32(out + i, vaddq_f32(main, rest));
    }
}
#endif

// Products first, then scores, in runs whose products stay in the first cache.
template <codes::Dots DOTS, Finish FINISH, std::size_t Q>
inline void scan_in_runs(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines, Queries queries,
                         Constants rows, float* out, std::size_t out_stride) {
    constexpr std::size_t kRun = 16;  // blocks
    std::int32_t products[Q * kRun * codes::kRows];
    for (std::size_t block = 0; block < n_blocks; block += kRun) {
        const std::size_t run = n_blocks - block < kRun ? n_blocks - block : kRun;
        const std::size_t first = block * codes::kRows;
        DOTS(blocks + block * lines * codes::kLine, run, lines, queries.values, products,
             kRun * codes::kRows);
        const Constants here = {rows.steps + first, rows.firsts + first,
                                rows.norms == nullptr ? nullptr : rows.norms + first};
        for (std::size_t a = 0; a < Q; ++a)
            FINISH(products + a * kRun * codes::kRows, run, queries.offsets[a], queries.scales[a],
                   queries.firsts[a], here, out + a * out_stride + first);
    }
}

#if defined(INLAY_X86)
// The same without leaving the registers.
template <bool NORMS>
struct Score {
    Queries queries;
    Constants all;
    float* out;
    std::size_t out_stride;

    struct Rows {
        __m512 steps, firsts, norms;
        float* out;
    };
    INLAY_AVX512 static INLAY_INLINE __m512 wide(const float32::Half* halves) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
    }
    INLAY_AVX512 INLAY_INLINE Rows rows(std::size_t block) const {
        const std::size_t first = block * codes::kRows;
        return {wide(all.steps + first), wide(all.firsts + first),
                NORMS ? _mm512_loadu_ps(all.norms + first) : _mm512_setzero_ps(), out + first};
    }
    INLAY_AVX512 INLAY_INLINE void operator()(const Rows& rows, std::size_t a, __m512i sum) const {
        const __m512 product =
            _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(queries.offsets[a])));
        __m512 rest = _mm512_mul_ps(rows.firsts, _mm512_set1_ps(queries.firsts[a]));
        if (NORMS) rest = _mm512_add_ps(rest, rows.norms);
        const __m512 main =
            _mm512_mul_ps(rows.steps, _mm512_mul_ps(_mm512_set1_ps(queries.scales[a]), product));
        _mm512_storeu_ps(rows.out + a * out_stride, _mm512_add_ps(main, rest));
    }
};

template <int BITS, std::size_t Q, bool NORMS>
INLAY_AVX512 inline void scan_as_avx512(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines,
                                        Queries queries, Constants rows, float* out, std::size_t out_stride) {
    const Score<NORMS> score{queries, rows, out, out_stride};
    if constexpr (Q == 1)
        codes::pass_one_avx512<BITS>(blocks, n_blocks, lines, queries.values, score);
    else
        codes::pass_eight_avx512<BITS>(blocks, n_blocks, lines, queries.values, score);
}
template <int BITS, std::size_t Q>
inline void scan_avx512(const std::uint8_t* blocks, std::size_t n_blocks, std::size_t lines, Queries queries,
                        Constants rows, float* out, std::size_t out_stride) {
    const Scan as = rows.norms == nullptr ? scan_as_avx512<BITS, Q, false> : scan_as_avx512<BITS, Q, true>;
    as(blocks, n_blocks, lines, queries, rows, out, out_stride);
}
#endif

}  // namespace inlay::lorann
