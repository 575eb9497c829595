// The k best of a stream of scores: a threshold turns nearly all away, the survivors are appended to a
// buffer, and a full buffer is cut back to its k best, which lowers the threshold.
//
// A candidate is one 64-bit key: the score's bits, made to order as an unsigned integer, above the 32-bit
// slot of its row. Keys of equal score are ordered by the rows' ids, so which rows win a tie depends neither
// on the order of the scan nor on how it was cut over threads. NaN scores never pass.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/isa.hpp"

namespace inlay::topk {

INLAY_INLINE std::uint32_t ordered(float score) {
    std::uint32_t bits;
    score += 0.0f;  // -0 and +0 are one score
    std::memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
INLAY_INLINE float score_of(std::uint64_t key) {
    std::uint32_t bits = static_cast<std::uint32_t>(key >> 32);
    bits = bits & 0x80000000u ? bits & 0x7FFFFFFFu : ~bits;
    float score;
    std::memcpy(&score, &bits, sizeof score);
    return score;
}
INLAY_INLINE std::uint32_t slot_of(std::uint64_t key) {
    return static_cast<std::uint32_t>(key);
}
INLAY_INLINE std::uint64_t key_of(float score, std::uint32_t slot) {
    return static_cast<std::uint64_t>(ordered(score)) << 32 | slot;
}

// Nearer first; equal scores by id, or by slot where ids is null.
struct Nearer {
    const std::int64_t* ids;
    bool operator()(std::uint64_t a, std::uint64_t b) const {
        if (ids == nullptr || a >> 32 != b >> 32) return a < b;
        return ids[slot_of(a)] < ids[slot_of(b)];
    }
};

inline void sort_keys(std::uint64_t* keys, std::size_t n, const std::int64_t* ids) {
    std::sort(keys, keys + n, Nearer{ids});
}

// Let the k smallest of n keys, 0 < k <= n, be the first k, the largest of them the last. As
// std::nth_element, but with a partition that has nothing to predict: keys in no order cost it a branch in
// two.
inline void select_keys(std::uint64_t* keys, std::size_t n, std::size_t k) {
    constexpr std::size_t kFew = 24;
    std::size_t first = 0, end = n;
    // A round halves what is left, more or less; keys that are always against it are left to the other.
    for (int round = 0; round < 48 && end - first > kFew; ++round) {
        std::uint64_t some[3] = {keys[first], keys[first + (end - first) / 2], keys[end - 1]};
        if (some[1] < some[0]) std::swap(some[0], some[1]);
        if (some[2] < some[1]) std::swap(some[1], some[2]);
        const std::uint64_t pivot = some[1] < some[0] ? some[0] : some[1];
        std::size_t less = first;
        for (std::size_t i = first; i < end; ++i) {
            const std::uint64_t key = keys[i];
            keys[i] = keys[less];
            keys[less] = key;
            less += key <= pivot;
        }
        // keys[first .. less) <= pivot < keys[less .. end)
        if (k > less)
            first = less;
        else if (less < end)
            end = less;
        else
            break;
    }
    std::nth_element(keys + first, keys + k - 1, keys + end);
}

// Append the slots first, first + 1, ... of the scores <= threshold to keys, and return how many there were.
// allowed: null, or a bit a slot (bit s % 64 of word s / 64); `first` is a multiple of 16 then.
using Collect = std::size_t (*)(const float* scores, std::size_t n, float threshold, std::uint32_t first,
                                const std::uint64_t* allowed, std::uint64_t* keys);

inline std::size_t collect_scalar(const float* scores, std::size_t n, float threshold, std::uint32_t first,
                                  const std::uint64_t* allowed, std::uint64_t* keys) {
    std::size_t found = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t slot = first + i;
        if (!(scores[i] <= threshold)) continue;
        if (allowed != nullptr && (allowed[slot / 64] >> slot % 64 & 1) == 0) continue;
        keys[found++] = key_of(scores[i], static_cast<std::uint32_t>(slot));
    }
    return found;
}

#if defined(INLAY_X86)
INLAY_AVX2 inline std::size_t collect_avx2(const float* scores, std::size_t n, float threshold,
                                           std::uint32_t first, const std::uint64_t* allowed,
                                           std::uint64_t* keys) {
    const __m256 limit = _mm256_set1_ps(threshold);
    std::size_t found = 0, i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 near = _mm256_cmp_ps(_mm256_loadu_ps(scores + i), limit, _CMP_LE_OQ);
        unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(near));
        if (mask == 0) continue;
        const std::size_t slot = first + i;
        if (allowed != nullptr) mask &= static_cast<unsigned>(allowed[slot / 64] >> slot % 64);
        for (; mask != 0; mask &= mask - 1) {
            const unsigned lane = static_cast<unsigned>(__builtin_ctz(mask));
            keys[found++] = key_of(scores[i + lane], static_cast<std::uint32_t>(slot + lane));
        }
    }
    if (i < n) {
        // The rest may begin inside a word of `allowed`; the scalar form takes any first slot.
        found += collect_scalar(scores + i, n - i, threshold, static_cast<std::uint32_t>(first + i), allowed,
                                keys + found);
    }
    return found;
}

// The keys of the scores that `mask` marks among sixteen.
INLAY_AVX512 INLAY_INLINE std::size_t store_keys_avx512(__m512 score, __mmask16 mask, std::size_t slot,
                                                        std::uint64_t* keys) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i bits = _mm512_castps_si512(_mm512_add_ps(score, _mm512_setzero_ps()));
    // Negative: all bits flipped; otherwise the sign bit set.
    const __m512i flip = _mm512_or_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(INT32_MIN));
    const __m512i high = _mm512_maskz_compress_epi32(mask, _mm512_xor_si512(bits, flip));
    const __m512i low =
        _mm512_maskz_compress_epi32(mask, _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(slot))));
    const unsigned found = static_cast<unsigned>(__builtin_popcount(mask));
    for (unsigned done = 0; done < found; done += 8) {
        const __m256i h = done == 0 ? _mm512_castsi512_si256(high) : _mm512_extracti64x4_epi64(high, 1);
        const __m256i l = done == 0 ? _mm512_castsi512_si256(low) : _mm512_extracti64x4_epi64(low, 1);
        const unsigned left = found - done;
        _mm512_mask_storeu_epi64(
            keys + done, static_cast<__mmask8>(left >= 8 ? 0xFF : (1u << left) - 1),
            _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepu32_epi64(h), 32), _mm512_cvtepu32_epi64(l)));
    }
    return found;
}

INLAY_AVX512 inline std::size_t collect_avx512(const float* scores, std::size_t n, float threshold,
                                               std::uint32_t first, const std::uint64_t* allowed,
                                               std::uint64_t* keys) {
    const __m512 limit = _mm512_set1_ps(threshold);
    std::size_t found = 0, i = 0;
    // Nearly always none of 64 passes: one branch for four comparisons.
    for (; i + 64 <= n; i += 64) {
        __m512 score[4];
        __mmask16 mask[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
            score[j] = _mm512_loadu_ps(scores + i + 16 * j);
            mask[j] = _mm512_cmp_ps_mask(score[j], limit, _CMP_LE_OQ);
        }
        if ((mask[0] | mask[1] | mask[2] | mask[3]) == 0) continue;
        for (int j = 0; j < 4; ++j) {
            const std::size_t slot = first + i + 16 * j;
            if (allowed != nullptr) mask[j] &= static_cast<__mmask16>(allowed[slot / 64] >> slot % 64);
            if (mask[j] != 0) found += store_keys_avx512(score[j], mask[j], slot, keys + found);
        }
    }
    for (; i < n; i += 16) {
        const __mmask16 valid = n - i >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << (n - i)) - 1);
        const __m512 score = _mm512_maskz_loadu_ps(valid, scores + i);
        __mmask16 mask = _mm512_mask_cmp_ps_mask(valid, score, limit, _CMP_LE_OQ);
        const std::size_t slot = first + i;
        if (allowed != nullptr) mask &= static_cast<__mmask16>(allowed[slot / 64] >> slot % 64);
        if (mask != 0) found += store_keys_avx512(score, mask, slot, keys + found);
    }
    return found;
}
#endif

#if defined(INLAY_NEON)
inline std::size_t collect_neon(const float* scores, std::size_t n, float threshold, std::uint32_t first,
                                const std::uint64_t* allowed, std::uint64_t* keys) {
    const float32x4_t limit = vdupq_n_f32(threshold);
    std::size_t found = 0, i = 0;
    for (; i + 16 <= n; i += 16) {
        uint16x8_t near[2];
        for (int half = 0; half < 2; ++half) {
            const float* eight = scores + i + 8 * half;
            near[half] = vcombine_u16(vmovn_u32(vcleq_f32(vld1q_f32(eight), limit)),
                                      vmovn_u32(vcleq_f32(vld1q_f32(eight + 4), limit)));
        }
        // Each byte of the comparison gives one of its halves, and of that one bit is kept.
        const uint8x16_t bytes = vcombine_u8(vmovn_u16(near[0]), vmovn_u16(near[1]));
        const uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(bytes), 4);
        std::uint64_t mask = vget_lane_u64(vreinterpret_u64_u8(nibbles), 0) & 0x1111111111111111u;
        for (; mask != 0; mask &= mask - 1) {
            const std::size_t lane = static_cast<std::size_t>(__builtin_ctzll(mask)) / 4;
            const std::size_t slot = first + i + lane;
            if (allowed != nullptr && (allowed[slot / 64] >> slot % 64 & 1) == 0) continue;
            keys[found++] = key_of(scores[i + lane], static_cast<std::uint32_t>(slot));
        }
    }
    return found + collect_scalar(scores + i, n - i, threshold, static_cast<std::uint32_t>(first + i),
                                  allowed, keys + found);
}
#endif

// Scores are collected in pieces of this many, and a buffer keeps room for one piece more than it is cut at.
constexpr std::size_t kPiece = 512;

// The buffer of one query. Memory is the caller's: room(keep) keys.
struct Best {
    std::uint64_t* keys;
    std::size_t size, keep, full;
    float threshold;
    const std::int64_t* ids;

    // Cut at twice k: later, and more keys pass the older threshold; earlier, and the cuts cost more than
    // they save.
    static std::size_t room(std::size_t keep) { return 2 * keep + 64 + kPiece; }

    void start(std::uint64_t* memory, std::size_t k, const std::int64_t* row_ids) {
        keys = memory;
        size = 0;
        keep = k;
        full = room(k) - kPiece;
        threshold = __builtin_huge_valf();
        ids = row_ids;
    }
    void cut() {
        if (size <= keep) return;
        // Without ids the keys order themselves.
        if (ids == nullptr)
            select_keys(keys, size, keep);
        else
            std::nth_element(keys, keys + keep - 1, keys + size, Nearer{ids});
        size = keep;
        // Equal scores still pass: their ids may win.
        threshold = score_of(keys[keep - 1]);
    }
    void take(Collect collect, const float* scores, std::size_t n, std::uint32_t first,
              const std::uint64_t* allowed) {
        for (std::size_t i = 0; i < n; i += kPiece) {
            const std::size_t piece = n - i < kPiece ? n - i : kPiece;
            size += collect(scores + i, piece, threshold, static_cast<std::uint32_t>(first + i), allowed,
                            keys + size);
            if (size > full) cut();
        }
    }
    // The same of rows that lie elsewhere than their slots say: scores[i] is of the row of slots[first + i].
    void take_from(Collect collect, const float* scores, std::size_t n, std::uint32_t first,
                   const std::uint32_t* slots, const std::uint64_t* allowed) {
        for (std::size_t i = 0; i < n; i += kPiece) {
            const std::size_t piece = n - i < kPiece ? n - i : kPiece;
            const std::size_t end =
                size + collect(scores + i, piece, threshold, static_cast<std::uint32_t>(first + i), nullptr,
                               keys + size);
            for (std::size_t at = size; at < end; ++at) {
                const std::uint32_t slot = slots[slot_of(keys[at])];
                if (allowed != nullptr && (allowed[slot / 64] >> slot % 64 & 1) == 0) continue;
                keys[size++] = (keys[at] >> 32 << 32) | slot;
            }
            if (size > full) cut();
        }
    }
    void merge(const Best& other) {
        for (std::size_t i = 0; i < other.size; ++i) {
            keys[size++] = other.keys[i];
            if (size > full) cut();
        }
    }
    void finish() {
        cut();
        sort_keys(keys, size, ids);
    }
};

// The k best of scores that come one by one, as a heap with the worst on top; NaN, of a damaged file, never
// enters. Memory is the caller's: k keys.
struct Heap {
    std::uint64_t* keys;
    std::size_t size, k;
    const std::int64_t* ids;

    void start(std::uint64_t* memory, std::size_t room, const std::int64_t* row_ids) {
        keys = memory;
        size = 0;
        k = room;
        ids = row_ids;
    }
    bool full() const { return size == k; }
    float worst() const { return score_of(keys[0]); }
    void push(float score, std::uint32_t slot) {
        if (score != score) return;
        const Nearer nearer{ids};
        const std::uint64_t key = key_of(score, slot);
        if (full()) {
            if (!nearer(key, keys[0])) return;
            std::pop_heap(keys, keys + size, nearer);
            keys[size - 1] = key;
        } else {
            keys[size++] = key;
        }
        std::push_heap(keys, keys + size, nearer);
    }
    void finish() { std::sort_heap(keys, keys + size, Nearer{ids}); }
};

}  // namespace inlay::topk
