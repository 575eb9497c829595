// The crew: threads that help whoever has a body to run over [0, n).
//
// A job is cut into pieces that are taken from an atomic counter. The caller works on its own job and waits
// only for helpers that are inside it, so a job always ends: however many callers there are, and if no helper
// ever comes.
//
// The crew is started by the first job that wants help and never destroyed, which leaves nothing to go wrong
// at exit. fork() copies the crew but not its threads: the child forgets it (leaked, its mutex may be locked)
// and starts its own.
//
// One of these exists per extension module that includes this header: only crew.pyx does.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <csignal>
#endif

#include "interrupt.hpp"

namespace inlay {

using Body = void (*)(void* context, std::size_t begin, std::size_t end, int worker);

// Whether this thread is inside a body. A job started from there runs on this thread alone, and leaves Ctrl-C
// to the outer job: a body has no way to hand a Python exception on.
inline thread_local bool inside_body = false;

struct InsideBody {
    InsideBody() { inside_body = true; }
    ~InsideBody() { inside_body = false; }
};

// Tells, between pieces, when it is time to look for Ctrl-C. The clock is read after 1, 2, 4, ... more pieces
// until the reads lie a millisecond apart, so jobs of few or tiny pieces hardly read it.
class Watch {
  public:
    bool due() {
        if (--countdown_ != 0) return false;
        const Clock::time_point now = Clock::now();
        if (read_ == Clock::time_point{}) looked_ = now;
        stride_ = now - read_ < std::chrono::milliseconds(1) ? 2 * stride_ : 1;
        countdown_ = stride_;
        read_ = now;
        if (now - looked_ < PATIENCE) return false;
        looked_ = now;
        return true;
    }

  private:
    using Clock = std::chrono::steady_clock;

    std::size_t countdown_ = 1, stride_ = 1;
    Clock::time_point read_{}, looked_{};
};

struct Job {
    const Body body;
    void* const context;
    const std::size_t n, grain, pieces;
    const int limit;  // threads, the caller included

    std::atomic<std::size_t> next{0};
    std::atomic<bool> stopped{false};
    std::exception_ptr error{};  // written by whoever set `stopped`

    // Guarded by the crew's mutex.
    int joined = 1;   // the caller is worker 0
    int working = 0;  // helpers inside the job
    std::condition_variable left{};

    bool has_room() const { return joined < limit && !stopped.load() && next.load() < pieces; }

    // Take pieces until there are none; `stop` is asked after each.
    template <class Stop>
    void work(int worker, Stop stop) noexcept {
        try {
            while (!stopped.load(std::memory_order_relaxed)) {
                const std::size_t piece = next.fetch_add(1, std::memory_order_relaxed);
                if (piece >= pieces) return;
                const std::size_t begin = piece * grain;
                body(context, begin, begin + std::min(grain, n - begin), worker);
                if (stop()) stopped.store(true);
            }
        } catch (...) {
            if (!stopped.exchange(true)) error = std::current_exception();
        }
    }
};

class Crew {
  public:
    // 0, or -1 when interrupted() became true; rethrows the first exception of a body.
    int run(Job& job, Interrupted interrupted) {
        enqueue(job);
        Watch watch;
        bool cut = false;
        job.work(0, [&] { return cut = watch.due() && interrupted(); });

        std::unique_lock<std::mutex> lock(mutex_);
        jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));  // nobody joins from here on
        while (job.working > 0) {
            if (cut) {
                job.left.wait(lock);
            } else if (job.left.wait_for(lock, PATIENCE) == std::cv_status::timeout) {
                lock.unlock();  // a signal handler is Python code, and may search
                if ((cut = interrupted())) job.stopped.store(true);
                lock.lock();
            }
        }
        lock.unlock();
        if (cut) return -1;
        if (job.error) std::rethrow_exception(job.error);
        return 0;
    }

  private:
    void enqueue(Job& job) {
        const int wanted = job.limit - 1;
        bool everybody;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            hire(wanted);
            jobs_.push_back(&job);
            everybody = wanted >= hired_;
        }
        // One call to wake everybody is one system call before the caller starts to work itself; one by one
        // it is many.
        if (everybody) {
            wake_.notify_all();
        } else {
            for (int i = 0; i < wanted; ++i) wake_.notify_one();
        }
    }

    // Have at least `wanted` helpers, or as many as the system lets us start.
    void hire(int wanted) {
        if (hired_ >= wanted) return;
#ifndef _WIN32
        // Helpers take no signals but their own crashes: the handlers belong to threads that can be
        // interrupted.
        sigset_t blocked, before;
        sigfillset(&blocked);
        for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&blocked, fault);
        pthread_sigmask(SIG_SETMASK, &blocked, &before);
#endif
        try {
            for (; hired_ < wanted; ++hired_) std::thread(&Crew::help, this).detach();
        } catch (const std::exception&) {
            // No thread to be had: the job is done by those there are, the caller at least.
        }
#ifndef _WIN32
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
    }

    void help() noexcept {
        const InsideBody mark;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            const auto found =
                std::find_if(jobs_.begin(), jobs_.end(), [](const Job* job) { return job->has_room(); });
            if (found == jobs_.end()) {
                wake_.wait(lock);
                continue;
            }
            Job& job = **found;
            const int worker = job.joined++;
            ++job.working;
            lock.unlock();
            job.work(worker, [] { return false; });
            lock.lock();
            // Still under the lock: as soon as the caller has it, the job is gone.
            if (--job.working == 0) job.left.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<Job*> jobs_;  // oldest first
    int hired_ = 0;
};

inline std::atomic<Crew*> the_crew{nullptr};
inline std::atomic<int> default_threads{1};

inline Crew& crew() {
    Crew* present = the_crew.load();
    if (present != nullptr) return *present;
    // No lock here: fork() could copy it while it is held. A crew without helpers is free to throw away.
    Crew* fresh = new Crew;
    if (the_crew.compare_exchange_strong(present, fresh)) return *fresh;
    delete fresh;
    return *present;
}

inline void forget_crew() noexcept {
    the_crew.store(nullptr);
}

inline int thread_count(int requested) noexcept {
    return requested > 0 ? requested : default_threads.load(std::memory_order_relaxed);
}

// The job on the calling thread alone: no atomics, no locks, and for a single piece no clock.
inline int run_inline(std::size_t n, std::size_t grain, Body body, void* context, Interrupted interrupted) {
    Watch watch;
    for (std::size_t begin = 0;; begin += grain) {
        body(context, begin, begin + std::min(grain, n - begin), 0);
        if (n - begin <= grain) return 0;
        if (interrupted != nullptr && watch.due() && interrupted()) return -1;
    }
}

inline int split(std::size_t n, std::size_t grain, int threads, Body body, void* context,
                 Interrupted interrupted) {
    if (n == 0) return 0;
    grain = std::max<std::size_t>(grain, 1);
    if (inside_body) return run_inline(n, grain, body, context, nullptr);
    const InsideBody mark;
    if (n <= grain || thread_count(threads) == 1) return run_inline(n, grain, body, context, interrupted);
    const std::size_t pieces = (n - 1) / grain + 1;
    const std::size_t limit = std::min<std::size_t>(pieces, static_cast<std::size_t>(thread_count(threads)));
    Job job{body, context, n, grain, pieces, static_cast<int>(limit)};
    return crew().run(job, interrupted);
}

}  // namespace inlay
