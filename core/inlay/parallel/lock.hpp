// A lock that many readers hold together, or one writer alone.
//
// Neither side starves: a reader that arrives while a writer waits goes behind it, and the readers that
// waited while a writer was in go before the next one. The lock knows which threads hold it, so a thread that
// reads already may read again in front of a waiting writer, and what would deadlock a thread with itself is
// refused.
//
// fork() copies the lock but not the threads that hold it: the child starts with a free one and leaks the old
// state, whose mutex may be locked and whose waiters are gone.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "interrupt.hpp"

namespace inlay {

enum Outcome { HELD, BUSY, INTERRUPTED, INSIDE_EXCLUSIVE, INSIDE_SHARED, NOT_HELD };

class LockState {
  public:
    explicit LockState(unsigned forks) : forks(forks) {}

    const unsigned forks;  // the process this state belongs to

    // Returns BUSY rather than wait when `interrupted` is null. No outcome but HELD changes who holds the
    // lock.
    Outcome take(bool exclusive, Interrupted interrupted) {
        return exclusive ? take_exclusive(interrupted) : take_shared(interrupted);
    }

    Outcome release(bool exclusive) noexcept { return exclusive ? release_exclusive() : release_shared(); }

  private:
    using Lock = std::unique_lock<std::mutex>;
    using Thread = std::thread::id;

    struct Reader {
        Thread thread;
        int depth;
    };

    Outcome take_shared(Interrupted interrupted) {
        Lock lock(mutex_);
        const Thread me = std::this_thread::get_id();
        if (writer_ == me) return INSIDE_EXCLUSIVE;
        const auto mine = find(me);
        if (mine != readers_.end()) {
            ++mine->depth;
            return HELD;
        }
        const Outcome outcome = occupied() || writers_waiting_ > 0 ? queue_reader(lock, interrupted) : HELD;
        if (outcome == HELD) readers_.push_back({me, 1});
        return outcome;
    }

    Outcome take_exclusive(Interrupted interrupted) {
        Lock lock(mutex_);
        const Thread me = std::this_thread::get_id();
        if (writer_ == me) return INSIDE_EXCLUSIVE;
        if (find(me) != readers_.end()) return INSIDE_SHARED;
        const Outcome outcome = writer_may_enter() ? HELD : queue_writer(lock, interrupted);
        if (outcome == HELD) writer_ = me;
        return outcome;
    }

    Outcome release_shared() {
        const Lock lock(mutex_);
        const auto mine = find(std::this_thread::get_id());
        if (mine == readers_.end()) return NOT_HELD;
        if (--mine->depth > 0) return HELD;
        *mine = readers_.back();
        readers_.pop_back();
        if (readers_.empty() && writers_waiting_ > 0) changed_.notify_all();
        return HELD;
    }

    Outcome release_exclusive() {
        const Lock lock(mutex_);
        if (writer_ != std::this_thread::get_id()) return NOT_HELD;
        writer_ = Thread();
        ++turn_;
        readers_due_ = readers_waiting_;
        if (readers_waiting_ + writers_waiting_ > 0) changed_.notify_all();
        return HELD;
    }

    bool occupied() const { return writer_ != Thread(); }
    bool writer_may_enter() const { return !occupied() && readers_.empty() && readers_due_ == 0; }

    // As many entries as threads are inside, so there is nothing faster than to look at each.
    std::vector<Reader>::iterator find(Thread thread) {
        return std::find_if(readers_.begin(), readers_.end(),
                            [&](const Reader& r) { return r.thread == thread; });
    }

    Outcome queue_reader(Lock& lock, Interrupted interrupted) {
        if (interrupted == nullptr) return BUSY;
        const unsigned long mine = turn_;
        const auto due = [&] { return turn_ != mine; };
        ++readers_waiting_;
        const Outcome outcome =
            wait(lock, interrupted, [&] { return !occupied() && (due() || writers_waiting_ == 0); });
        --readers_waiting_;
        if (due() && --readers_due_ == 0) changed_.notify_all();
        return outcome;
    }

    Outcome queue_writer(Lock& lock, Interrupted interrupted) {
        if (interrupted == nullptr) return BUSY;
        ++writers_waiting_;
        const Outcome outcome = wait(lock, interrupted, [&] { return writer_may_enter(); });
        --writers_waiting_;
        if (outcome != HELD) changed_.notify_all();  // readers may be waiting for this writer only
        return outcome;
    }

    template <class Free>
    Outcome wait(Lock& lock, Interrupted interrupted, Free free) {
        while (!changed_.wait_for(lock, PATIENCE, free)) {
            lock.unlock();  // the holder may need the GIL that `interrupted` takes
            const bool raised = interrupted();
            lock.lock();
            if (raised) return INTERRUPTED;
        }
        return HELD;
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    Thread writer_;                // none: no writer is inside
    std::vector<Reader> readers_;  // inside
    int readers_waiting_ = 0, writers_waiting_ = 0;
    int readers_due_ = 0;     // of the waiting readers, those that waited for a writer which has left
    unsigned long turn_ = 0;  // writers that have left
};

class ReadersWriterLock {
  public:
    using Forks = unsigned (*)();  // counts the forks between this process and the first

    explicit ReadersWriterLock(Forks forks) : forks_(forks), state_(new LockState(forks())) {}
    ReadersWriterLock(const ReadersWriterLock&) = delete;
    ReadersWriterLock& operator=(const ReadersWriterLock&) = delete;

    ~ReadersWriterLock() {
        LockState* last = state_.load();
        if (last->forks == forks_()) delete last;
    }

    // The state that belongs to this process.
    LockState& state() {
        const unsigned forks = forks_();
        LockState* present = state_.load(std::memory_order_acquire);
        if (present->forks == forks) return *present;
        LockState* fresh = new LockState(forks);
        if (state_.compare_exchange_strong(present, fresh)) return *fresh;
        delete fresh;
        return *present;
    }

  private:
    const Forks forks_;
    std::atomic<LockState*> state_;
};

}  // namespace inlay
