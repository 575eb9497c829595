// Scores of float32 queries against float32 or float16 rows; smaller is nearer.
//
//     squared L2       score(q, x) = sum over i of (q[i] - x[i])^2
//     inner product    score(q, x) = -sum over i of q[i] * x[i]
//
// A tile keeps Q x R sums in registers while it walks the dimensions once. Every sum has one accumulator,
// walked in the same order whatever the tile, so a score does not depend on how many queries or rows share
// the call. The levels differ from one another by rounding alone. A row of float16 is widened, which is
// exact, as it is loaded: its scores are those of the same values in float32.
#pragma once

#include <cstring>

#include "kernels/isa.hpp"

namespace inlay::float32 {

// A float16 number. Rows hold finite ones.
struct Half {
    std::uint16_t bits;
};

// queries: n_queries x dim float32, rows: n_rows x dim of the kernel's type, both without gaps.
// out[q * out_stride + r].
using Scores = void (*)(const float* queries, std::size_t n_queries, const void* rows, std::size_t n_rows,
                        std::size_t dim, float* out, std::size_t out_stride);
// The same for one query and the rows named by slots: out[j] = score(query, rows[slots[j]]).
using ScoresOf = void (*)(const float* query, const void* rows, const std::uint32_t* slots, std::size_t n,
                          std::size_t dim, float* out);

// Rows that lie one after the other are a single stream, but a tile of them reads as several short ones,
// which the processor does not follow (114 ns a row of 384 dimensions from memory). Asking for the stream's
// bytes in order, two pages ahead, makes it 46 ns, the speed of memory itself.
template <int VALUES, class X>
INLAY_INLINE void look_ahead(const X* next) {
    constexpr int kBytes = VALUES * static_cast<int>(sizeof(X));
    const char* ahead = reinterpret_cast<const char*>(next) + 8192;
#pragma GCC unroll 8
    for (int byte = 0; byte < kBytes; byte += 64) prefetch(ahead + byte);
}

// The float32 of a float16: its exponent has 15 for zero, not 127, and where it is the least or denormal, the
// multiplication sets that right.
INLAY_INLINE float widened(float x) {
    return x;
}
INLAY_INLINE float widened(Half x) {
    const std::uint32_t size = static_cast<std::uint32_t>(x.bits & 0x7FFF) << 13;
    const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000) << 16;
    float value;
    std::memcpy(&value, &size, sizeof value);
    value *= 0x1p112f;
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits |= sign;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Scalar {
    template <bool L2, bool AHEAD, int Q, int R, class X>
    static INLAY_INLINE void tile(const float* const* q, const X* const* x, std::size_t dim, float* out,
                                  std::size_t out_stride) {
        for (int a = 0; a < Q; ++a)
            for (int b = 0; b < R; ++b) {
                float sum = 0.0f;
                for (std::size_t i = 0; i < dim; ++i) {
                    const float value = widened(x[b][i]), term = L2 ? q[a][i] - value : q[a][i];
                    sum += L2 ? term * term : term * value;
                }
                out[a * out_stride + b] = L2 ? sum : -sum;
            }
    }
    static constexpr int kQueries = 1, kRows = 4, kRowsOfOne = 4;
};

#if defined(INLAY_X86)
struct Avx2 {
    INLAY_AVX2 static INLAY_INLINE float total(__m256 v) {
        __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        s = _mm_add_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
    }
    INLAY_AVX2 static INLAY_INLINE __m256 load(const float* p) { return _mm256_loadu_ps(p); }
    INLAY_AVX2 static INLAY_INLINE __m256 load(const Half* p) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    // Lanes past the end load as zero from both sides and add nothing; one to seven are left.
    INLAY_AVX2 static INLAY_INLINE __m256 rest(const float* p, std::size_t left) {
        return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left)),
                                                        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
    }
    INLAY_AVX2 static INLAY_INLINE __m256 rest(const Half* p, std::size_t left) {
        Half whole[8] = {};
        std::memcpy(whole, p, left * sizeof(Half));
        return load(whole);
    }
    // One step of eight dimensions; LANES says whether some of them lie past the end.
    template <bool L2, bool LANES, int Q, int R, class X>
    INLAY_AVX2 static INLAY_INLINE void step(const float* const* q, const X* const* x, std::size_t i,
                                             std::size_t left, __m256 (&sum)[Q][R]) {
        __m256 u[Q];
#pragma GCC unroll 8
        for (int a = 0; a < Q; ++a) u[a] = LANES ? rest(q[a] + i, left) : load(q[a] + i);
#pragma GCC unroll 8
        for (int b = 0; b < R; ++b) {
            const __m256 v = LANES ? rest(x[b] + i, left) : load(x[b] + i);
#pragma GCC unroll 8
            for (int a = 0; a < Q; ++a) {
                const __m256 term = L2 ? _mm256_sub_ps(u[a], v) : u[a];
                sum[a][b] = _mm256_fmadd_ps(term, L2 ? term : v, sum[a][b]);
            }
        }
    }
    template <bool L2, bool AHEAD, int Q, int R, class X>
    INLAY_AVX2 static INLAY_INLINE void tile(const float* const* q, const X* const* x, std::size_t dim,
                                             float* out, std::size_t out_stride) {
        __m256 sum[Q][R];
#pragma GCC unroll 8
        for (int a = 0; a < Q; ++a)
#pragma GCC unroll 8
            for (int b = 0; b < R; ++b) sum[a][b] = _mm256_setzero_ps();
        std::size_t i = 0;
        for (; i + 8 <= dim; i += 8) {
            if (AHEAD) look_ahead<R * 8>(x[0] + i * R);
            step<L2, false, Q, R>(q, x, i, 8, sum);
        }
        if (i < dim) step<L2, true, Q, R>(q, x, i, dim - i, sum);
#pragma GCC unroll 8
        for (int a = 0; a < Q; ++a)
#pragma GCC unroll 8
            for (int b = 0; b < R; ++b) out[a * out_stride + b] = L2 ? total(sum[a][b]) : -total(sum[a][b]);
    }
    static constexpr int kQueries = 2, kRows = 4, kRowsOfOne = 4;
};

struct Avx512 {
    INLAY_AVX512 static INLAY_INLINE __m512 load(const float* p) { return _mm512_loadu_ps(p); }
    INLAY_AVX512 static INLAY_INLINE __m512 load(const Half* p) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    // Lanes past the end load as zero from both sides and add nothing; one to fifteen are left.
    INLAY_AVX512 static INLAY_INLINE __m512 rest(const float* p, std::size_t left) {
        return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << left) - 1), p);
    }
    INLAY_AVX512 static INLAY_INLINE __m512 rest(const Half* p, std::size_t left) {
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << left) - 1), p));
    }
    // One step of sixteen dimensions; LANES says whether some of them lie past the end.
    template <bool L2, bool LANES, int Q, int R, class X>
    INLAY_AVX512 static INLAY_INLINE void step(const float* const* q, const X* const* x, std::size_t i,
                                               std::size_t left, __m512 (&sum)[Q][R]) {
        __m512 u[Q];
#pragma GCC unroll 8
        for (int a = 0; a < Q; ++a) u[a] = LANES ? rest(q[a] + i, left) : load(q[a] + i);
#pragma GCC unroll 8
        for (int b = 0; b < R; ++b) {
            const __m512 v = LANES ? rest(x[b] + i, left) : load(x[b] + i);
#pragma GCC unroll 8
            for (int a = 0; a < Q; ++a) {
                const __m512 term = L2 ? _mm512_sub_ps(u[a], v) : u[a];
                sum[a][b] = _mm512_fmadd_ps(term, L2 ? term : v, sum[a][b]);
            }
        }
    }
    template <bool L2, bool AHEAD, int Q, int R, class X>
    INLAY_AVX512 static INLAY_INLINE void tile(const float* const* q, const X* const* x, std::size_t dim,
                                               float* out, std::size_t out_stride) {
        __m512 sum[Q][R];
#pragma GCC unroll 8
        for (int a = 0; a < Q; ++a)
#pragma GCC unroll 8
            for (int b = 0; b < R; ++b) sum[a][b] = _mm512_setzero_ps();
        std::size_t i = 0;
        for (; i + 16 <= dim; i += 16) {
            if (AHEAD) look_ahead<R * 16>(x[0] + i * R);
            step<L2, false, Q, R>(q, x, i, 16, sum);
        }
        if (i < dim) step<L2, true, Q, R>(q, x, i, dim - i, sum);
#pragma GCC unroll 8
        for (int a = 0; a < Q; ++a)
#pragma GCC unroll 8
            for (int b = 0; b < R; ++b) {
                const float total = _mm512_reduce_add_ps(sum[a][b]);
                out[a * out_stride + b] = L2 ? total : -total;
            }
    }
    // 4 x 6 sums, 4 queries and one row fill 29 of the 32 registers.
    static constexpr int kQueries = 4, kRows = 6, kRowsOfOne = 4;
};
#endif

#if defined(INLAY_NEON)
struct Neon {
    static INLAY_INLINE float32x4_t load(const float* p) { return vld1q_f32(p); }
    static INLAY_INLINE float32x4_t load(const Half* p) {
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits)));
    }
    // Lanes past the end load as zero from both sides and add nothing; one to three are left.
    static INLAY_INLINE float32x4_t rest(const float* p, std::size_t left) {
        const float32x2_t none = vdup_n_f32(0.0f);
        if (left == 1) return vcombine_f32(vld1_lane_f32(p, none, 0), none);
        const float32x4_t two = vcombine_f32(vld1_f32(p), none);
        return left == 2 ? two : vld1q_lane_f32(p + 2, two, 2);
    }
    static INLAY_INLINE float32x4_t rest(const Half* p, std::size_t left) {
        Half whole[4] = {};
        std::memcpy(whole, p, left * sizeof(Half));
        return load(whole);
    }
    // One step of four dimensions; LANES says whether some of them lie past the end.
    template <bool L2, bool LANES, int Q, int R, class X>
    static INLAY_INLINE void step(const float* const* q, const X* const* x, std::size_t i, std::size_t left,
                                  float32x4_t (&sum)[Q][R]) {
        float32x4_t u[Q];
        for (int a = 0; a < Q; ++a) u[a] = LANES ? rest(q[a] + i, left) : load(q[a] + i);
        for (int b = 0; b < R; ++b) {
            const float32x4_t v = LANES ? rest(x[b] + i, left) : load(x[b] + i);
            for (int a = 0; a < Q; ++a) {
                const float32x4_t term = L2 ? vsubq_f32(u[a], v) : u[a];
                sum[a][b] = vfmaq_f32(sum[a][b], term, L2 ? term : v);
            }
        }
    }
    template <bool L2, bool AHEAD, int Q, int R, class X>
    static INLAY_INLINE void tile(const float* const* q, const X* const* x, std::size_t dim, float* out,
                                  std::size_t out_stride) {
        float32x4_t sum[Q][R];
        for (int a = 0; a < Q; ++a)
            for (int b = 0; b < R; ++b) sum[a][b] = vdupq_n_f32(0.0f);
        std::size_t i = 0;
        for (; i + 4 <= dim; i += 4) {
            if (AHEAD) look_ahead<R * 4>(x[0] + i * R);
            step<L2, false, Q, R>(q, x, i, 4, sum);
        }
        if (i < dim) step<L2, true, Q, R>(q, x, i, dim - i, sum);
        for (int a = 0; a < Q; ++a)
            for (int b = 0; b < R; ++b) {
                const float total = vaddvq_f32(sum[a][b]);
                out[a * out_stride + b] = L2 ? total : -total;
            }
    }
    // 4 x 6 sums would fit 32 registers, but GCC takes the differences of a whole step first and spills them.
    static constexpr int kQueries = 4, kRows = 4, kRowsOfOne = 8;
};
#endif

// The walk over tiles is the same text for every level, but a target does not reach through a template
// argument, so each level gets its own copy of it.
#define INLAY_FLOAT32_LEVEL(TARGET, ARCH, SUFFIX)                                                          \
    template <bool L2, bool AHEAD, int Q, int R, class X>                                                  \
    TARGET INLAY_INLINE void strip_##SUFFIX(const float* queries, const X* rows, std::size_t n_rows,       \
                                            std::size_t dim, float* out, std::size_t out_stride) {         \
        const float* q[Q];                                                                                 \
        for (int a = 0; a < Q; ++a) q[a] = queries + a * dim;                                              \
        std::size_t r = 0;                                                                                 \
        const X* x[R];                                                                                     \
        for (; r + R <= n_rows; r += R) {                                                                  \
            for (int b = 0; b < R; ++b) x[b] = rows + (r + b) * dim;                                       \
            ARCH::tile<L2, AHEAD, Q, R>(q, x, dim, out + r, out_stride);                                   \
        }                                                                                                  \
        for (; r < n_rows; ++r) {                                                                          \
            x[0] = rows + r * dim;                                                                         \
            ARCH::tile<L2, false, Q, 1>(q, x, dim, out + r, out_stride);                                   \
        }                                                                                                  \
    }                                                                                                      \
    template <bool L2, class X>                                                                            \
    TARGET inline void scores_##SUFFIX(const float* queries, std::size_t n_queries, const void* all,       \
                                       std::size_t n_rows, std::size_t dim, float* out,                    \
                                       std::size_t out_stride) {                                           \
        const X* rows = static_cast<const X*>(all);                                                        \
        /* A few rows stay in the first cache while all queries pass over them. */                         \
        constexpr std::size_t kStrip = 4 * ARCH::kRows;                                                    \
        for (std::size_t r = 0; n_queries > 1 && r < n_rows; r += kStrip) {                                \
            const std::size_t n = n_rows - r < kStrip ? n_rows - r : kStrip;                               \
            std::size_t a = 0;                                                                             \
            for (; a + ARCH::kQueries <= n_queries; a += ARCH::kQueries)                                   \
                strip_##SUFFIX<L2, false, ARCH::kQueries, ARCH::kRows>(                                    \
                    queries + a * dim, rows + r * dim, n, dim, out + a * out_stride + r, out_stride);      \
            for (; a < n_queries; ++a)                                                                     \
                strip_##SUFFIX<L2, false, 1, ARCH::kRowsOfOne>(queries + a * dim, rows + r * dim, n, dim,  \
                                                               out + a * out_stride + r, out_stride);      \
        }                                                                                                  \
        if (n_queries == 1)                                                                                \
            strip_##SUFFIX<L2, true, 1, ARCH::kRowsOfOne>(queries, rows, n_rows, dim, out, out_stride);    \
    }                                                                                                      \
    template <bool L2, class X>                                                                            \
    TARGET inline void scores_of_##SUFFIX(const float* query, const void* all, const std::uint32_t* slots, \
                                          std::size_t n, std::size_t dim, float* out) {                    \
        const X* rows = static_cast<const X*>(all);                                                        \
        constexpr int R = ARCH::kRowsOfOne;                                                                \
        const X* x[R];                                                                                     \
        std::size_t j = 0;                                                                                 \
        for (; j + R <= n; j += R) {                                                                       \
            for (int b = 0; b < R; ++b) x[b] = rows + static_cast<std::size_t>(slots[j + b]) * dim;        \
            ARCH::tile<L2, false, 1, R>(&query, x, dim, out + j, 0);                                       \
        }                                                                                                  \
        for (; j < n; ++j) {                                                                               \
            x[0] = rows + static_cast<std::size_t>(slots[j]) * dim;                                        \
            ARCH::tile<L2, false, 1, 1>(&query, x, dim, out + j, 0);                                       \
        }                                                                                                  \
    }

INLAY_FLOAT32_LEVEL(, Scalar, scalar)
#if defined(INLAY_X86)
INLAY_FLOAT32_LEVEL(INLAY_AVX2, Avx2, avx2)
INLAY_FLOAT32_LEVEL(INLAY_AVX512, Avx512, avx512)
#elif defined(INLAY_NEON)
INLAY_FLOAT32_LEVEL(, Neon, neon)
#endif
#undef INLAY_FLOAT32_LEVEL

// One row of float16 as float32.
inline void widen(const Half* row, std::size_t dim, float* out) {
    for (std::size_t i = 0; i < dim; ++i) out[i] = widened(row[i]);
}

}  // namespace inlay::float32
