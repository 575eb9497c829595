// The front of a walk by estimates: the best vertices so far, in no order, each by the least of the estimates
// that it got from the vertices that link to it.
//
// What a beam in order (beam.hpp) spends on keeping it, some 25 ns a vertex, is as much here for a whole
// front of 200: the best that is left and the worst that is in are looked for by comparing 8 or 16 at a time.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/beam.hpp"

namespace inlay::front {

constexpr std::size_t kLanes = 16;
// The walk ends where the best estimate left lies so many standard deviations of the estimates above the
// worst score that is wanted. 100k text embeddings, expansions for a recall of 0.994: 136 instead of 204
// without; with three deviations 17 % fewer yet at 0.98, but more than 0.987 is out of reach however wide the
// front.
constexpr float kDeviations = 4.0f;

constexpr std::uint32_t kClosed = 0xFFFFFFFFu, kExpanded = 0xFFFFFFFFu;

// How many keys, a power of two, find the vertices that a walk meets which keeps `most` in view: 16 times as
// many are twice what it meets.
inline std::size_t known_of(std::size_t most) {
    std::size_t n = 1024;
    while (n < 16 * most) n *= 2;
    return n;
}

// How many numbers of 32 bits the places of `most` vertices take.
inline std::size_t memory_of(std::size_t most) {
    return 3 * ((most + kLanes - 1) / kLanes * kLanes);
}

// The place of the least (or greatest) of n numbers, the first of them if there are several. What follows the
// n up to a multiple of kLanes, and the first kLanes in any case, is there and no better than any of them.
using Extreme = std::size_t (*)(const std::uint32_t* numbers, std::size_t n);

template <bool LEAST>
inline std::size_t extreme_scalar(const std::uint32_t* numbers, std::size_t n) {
    std::size_t at = 0;
    for (std::size_t i = 1; i < n; ++i)
        if (LEAST ? numbers[i] < numbers[at] : numbers[i] > numbers[at]) at = i;
    return at;
}

#if defined(INLAY_X86)
template <bool LEAST>
INLAY_AVX2 INLAY_INLINE __m256i better_avx2(__m256i a, __m256i b) {
    return LEAST ? _mm256_min_epu32(a, b) : _mm256_max_epu32(a, b);
}
template <bool LEAST>
INLAY_AVX2 inline std::size_t extreme_avx2(const std::uint32_t* numbers, std::size_t n) {
    const __m256i* from = reinterpret_cast<const __m256i*>(numbers);
    __m256i best = _mm256_loadu_si256(from);
    for (std::size_t i = 1; 8 * i < n; ++i) best = better_avx2<LEAST>(best, _mm256_loadu_si256(from + i));
    best = better_avx2<LEAST>(best, _mm256_permute2x128_si256(best, best, 1));
    best = better_avx2<LEAST>(best, _mm256_shuffle_epi32(best, 0x4E));
    best = better_avx2<LEAST>(best, _mm256_shuffle_epi32(best, 0xB1));
    for (std::size_t i = 0;; ++i) {
        const __m256i same = _mm256_cmpeq_epi32(_mm256_loadu_si256(from + i), best);
        const int mask = _mm256_movemask_ps(_mm256_castsi256_ps(same));
        if (mask != 0) return 8 * i + static_cast<std::size_t>(__builtin_ctz(static_cast<unsigned>(mask)));
    }
}
template <bool LEAST>
INLAY_AVX512 inline std::size_t extreme_avx512(const std::uint32_t* numbers, std::size_t n) {
    __m512i best = _mm512_loadu_si512(numbers);
    for (std::size_t i = kLanes; i < n; i += kLanes) {
        const __m512i next = _mm512_loadu_si512(numbers + i);
        best = LEAST ? _mm512_min_epu32(best, next) : _mm512_max_epu32(best, next);
    }
    best = _mm512_set1_epi32(
        static_cast<int>(LEAST ? _mm512_reduce_min_epu32(best) : _mm512_reduce_max_epu32(best)));
    for (std::size_t i = 0;; i += kLanes) {
        const __mmask16 mask = _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(numbers + i), best);
        if (mask != 0) return i + static_cast<std::size_t>(__builtin_ctz(mask));
    }
}
#elif defined(INLAY_NEON)
template <bool LEAST>
inline std::size_t extreme_neon(const std::uint32_t* numbers, std::size_t n) {
    uint32x4_t best = vld1q_u32(numbers);
    for (std::size_t i = 4; i < n; i += 4) {
        const uint32x4_t next = vld1q_u32(numbers + i);
        best = LEAST ? vminq_u32(best, next) : vmaxq_u32(best, next);
    }
    const std::uint32_t value = LEAST ? vminvq_u32(best) : vmaxvq_u32(best);
    std::size_t at = 0;
    while (numbers[at] != value) ++at;
    return at;
}
#endif

struct Front {
    // By place, of which `size` are taken: scores as numbers that sort like them, the same where the vertex
    // is left to be expanded and kClosed elsewhere, and slots.
    std::uint32_t *scores, *open, *slots;
    std::size_t size, room;
    std::uint32_t last;   // the greatest score, once all places are taken
    std::size_t last_at;  // and its place
    float worst;          // and itself
    // Every vertex that ever came in, by slot: slot + 1 above its last place, or kExpanded; 0 where there is
    // none.
    std::uint64_t* known;
    std::size_t mask, left;
    Extreme least, greatest;
    float errors, sum, square;  // score - estimate of the expanded: how many, their sum and their squares
};

// Memory is the caller's: memory_of(most) numbers, and n keys, a power of two. Where three quarters of these
// are taken new vertices are passed over.
inline void start(Front& front, std::uint32_t* memory, std::size_t most, std::uint64_t* known, std::size_t n,
                  Extreme least, Extreme greatest) {
    const std::size_t places = memory_of(most) / 3;
    front.scores = memory;
    front.open = memory + places;
    front.slots = memory + 2 * places;
    front.size = 0;
    front.room = most;
    front.last = kClosed;
    front.worst = __builtin_huge_valf();
    front.known = known;
    front.mask = n - 1;
    front.left = n / 4 * 3;
    front.least = least;
    front.greatest = greatest;
    front.errors = front.sum = front.square = 0;
    std::memset(front.scores, 0, places * sizeof *front.scores);
    std::memset(front.open, 0xFF, places * sizeof *front.open);
    std::memset(known, 0, n * sizeof *known);
}

INLAY_INLINE std::uint64_t* place_of(const Front& front, std::uint32_t slot) {
    for (std::size_t at = slot * 2654435769u >> 7;; ++at) {
        std::uint64_t* const place = front.known + (at & front.mask);
        if (*place == 0 || *place >> 32 == slot + std::uint64_t{1}) return place;
    }
}

INLAY_INLINE void find_last(Front& front) {
    front.last_at = front.greatest(front.scores, front.room);
    front.last = front.scores[front.last_at];
    front.worst = topk::score_of(static_cast<std::uint64_t>(front.last) << 32);
}

INLAY_INLINE void push(Front& front, float score, std::uint32_t slot) {
    const std::uint32_t number = topk::ordered(score);
    if (!(score < front.worst)) return;
    std::uint64_t* const known = place_of(front, slot);
    if (*known == 0) {
        if (front.left == 0) return;
        --front.left;
    } else {
        const std::uint32_t at = static_cast<std::uint32_t>(*known);
        if (at == kExpanded) return;
        if (front.slots[at] == slot) {
            if (number >= front.scores[at]) return;
            front.scores[at] = front.open[at] = number;
            if (front.size == front.room && at == front.last_at) find_last(front);
            return;
        }
        // another took its place
    }
    const std::size_t at = front.size < front.room ? front.size++ : front.last_at;
    front.scores[at] = front.open[at] = number;
    front.slots[at] = slot;
    *known = (slot + std::uint64_t{1}) << 32 | at;
    if (front.size == front.room) find_last(front);
}

// Those of up to 64 links that `below` names come in; slots from n_slots on are no vertices.
INLAY_INLINE void take(Front& front, const float* scores, std::uint64_t below, const std::uint32_t* links,
                       std::size_t n_slots) {
    for (; below != 0; below &= below - 1) {
        const int i = __builtin_ctzll(below);
        if (links[i] < n_slots) push(front, scores[i], links[i]);
    }
}

// Estimates above it are those of vertices that are not likely to be better than `enough`.
INLAY_INLINE float limit(const Front& front, float enough) {
    if (front.errors == 0) return __builtin_huge_valf();
    const float mean = front.sum / front.errors;
    // Rounding may leave less than nothing of errors that are all the same.
    const float variance = front.square / front.errors - mean * mean;
    return enough - mean + kDeviations * std::sqrt(variance > 0 ? variance : 0);
}

// Take the best vertex that is left to be expanded; false when there is none up to `most`.
INLAY_INLINE bool pop(Front& front, float most, std::uint32_t* slot, float* estimate) {
    const std::size_t at = front.least(front.open, front.size);
    const std::uint32_t number = front.open[at];
    *estimate = topk::score_of(static_cast<std::uint64_t>(number) << 32);
    if (number == kClosed || *estimate > most) return false;
    *slot = front.slots[at];
    front.open[at] = kClosed;
    *place_of(front, *slot) |= kExpanded;
    return true;
}

// A vertex that was expanded has this score; it was estimated so.
inline void learn(Front& front, float score, float estimate) {
    const float error = score - estimate;
    // Of an entry the score was known; that of a damaged row is none.
    if (!(std::fabs(error) > 0 && std::fabs(error) < __builtin_huge_valf())) return;
    front.errors += 1;
    front.sum += error;
    front.square += error * error;
}

}  // namespace inlay::front
