// What a walk over a graph remembers: the best vertices so far, and which it has seen.
#pragma once

#include <cstring>

#include "kernels/topk.hpp"

namespace inlay::beam {

// What stands where there is no link.
constexpr std::uint32_t kNone = 0xFFFFFFFFu;

// A vertex in the beam is one 64-bit key that sorts by (score, slot): the score's bits, made to order, above
// 31 bits of slot and a last bit that says whether the vertex has been expanded.
INLAY_INLINE std::uint64_t key_of(float score, std::uint32_t slot) {
    return static_cast<std::uint64_t>(topk::ordered(score)) << 32 | slot << 1;
}
INLAY_INLINE std::uint32_t slot_of(std::uint64_t key) {
    return static_cast<std::uint32_t>(key) >> 1;
}

// The best `room` vertices seen, in order. Memory is the caller's: room + 1 keys.
struct Beam {
    std::uint64_t* keys;
    std::size_t size, room;
    std::size_t next;  // no vertex before it is left to be expanded
    float worst;       // scores above it do not enter

    void start(std::uint64_t* memory, std::size_t most) {
        keys = memory;
        size = next = 0;
        room = most;
        worst = __builtin_huge_valf();
    }
    // Where a key stands, or would: a search without branches, half of which would be mispredicted; compilers
    // make one of `? half : 0`.
    INLAY_INLINE std::size_t rank_of(std::uint64_t key) const {
        const std::uint64_t* from = keys;
        for (std::size_t left = size; left > 0;) {
            const std::size_t half = (left + 1) / 2;
            from += half & (std::size_t{0} - (from[half - 1] < key));
            left -= half;
        }
        return static_cast<std::size_t>(from - keys);
    }
    // A NaN score (of a damaged file) never enters.
    INLAY_INLINE void push(float score, std::uint32_t slot) {
        if (!(score <= worst)) return;
        const std::uint64_t key = key_of(score, slot);
        const std::size_t at = rank_of(key);
        // The one beyond the last place has memory, but is not counted.
        std::memmove(keys + at + 1, keys + at, (size - at) * sizeof(std::uint64_t));
        keys[at] = key;
        if (size < room) ++size;
        if (size == room) worst = topk::score_of(keys[size - 1]);
        if (at < next) next = at;
    }
    // A key that is in the beam becomes a lesser one.
    INLAY_INLINE void improve(std::uint64_t from, std::uint64_t to) {
        const std::size_t was = rank_of(from), at = rank_of(to);
        std::memmove(keys + at + 1, keys + at, (was - at) * sizeof(std::uint64_t));
        keys[at] = to;
        if (size == room) worst = topk::score_of(keys[size - 1]);
        if (at < next) next = at;
    }
    // Whether a vertex is left to be expanded, whose key is keys[next] then.
    INLAY_INLINE bool peek() {
        while (next < size && keys[next] & 1) ++next;
        return next < size;
    }
    // Take the best vertex that is left to be expanded; false when there is none.
    INLAY_INLINE bool pop(std::uint32_t* slot) {
        if (!peek()) return false;
        keys[next] |= 1;
        *slot = slot_of(keys[next++]);
        return true;
    }
};

// Keep the `most` best of n scored slots, keys of topk, ties by id. Returns how many are kept.
inline std::size_t cut(std::uint64_t* keys, std::size_t n, std::size_t most, const std::int64_t* ids) {
    if (n <= most) return n;
    std::nth_element(keys, keys + most, keys + n, topk::Nearer{ids});
    return most;
}

// The same, in order, and as keys of a beam.
inline std::size_t keep_best(std::uint64_t* keys, std::size_t n, std::size_t most, const std::int64_t* ids) {
    n = cut(keys, n, most, ids);
    topk::sort_keys(keys, n, ids);
    for (std::size_t i = 0; i < n; ++i) keys[i] = key_of(topk::score_of(keys[i]), topk::slot_of(keys[i]));
    return n;
}

// Which slots were seen since `start`: a stamp a slot, so that a new walk clears nothing but once in 255
// times. Memory is the caller's: room bytes, zero at first.
struct Marks {
    std::uint8_t* stamps;
    std::size_t n, room;  // slots now, and stamps: all are cleared, as those beyond n may be slots again
    std::uint8_t now;

    void start() {
        if (++now == 0) {
            std::memset(stamps, 0, room);
            now = 1;
        }
    }
    // Append those of n_links slots that are new to `fresh`; slots beyond n are no vertices.
    INLAY_INLINE std::size_t take(const std::uint32_t* links, std::size_t n_links, std::uint32_t* fresh) {
        // Copies, which stores of bytes cannot be thought to change.
        std::uint8_t* const marks = stamps;
        const std::size_t n_slots = n;
        const std::uint8_t mark = now;
        std::size_t found = 0;
        for (std::size_t i = 0; i < n_links; ++i) {
            const std::uint32_t slot = links[i];
            if (slot >= n_slots) continue;
            fresh[found] = slot;
            found += marks[slot] != mark;
            marks[slot] = mark;
        }
        return found;
    }
};

}  // namespace inlay::beam
