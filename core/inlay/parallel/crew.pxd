from libcpp cimport bool as bool_t

# Runs `body` over [0, n): the C face of the crew, for every module that computes without the GIL.
#
# A body is called with pieces [begin, end) of at most `grain` and with the number of the thread that runs it,
# in [0, thread_count(threads)): the index of that thread's scratch. One compiled from C++ may throw.
ctypedef void (*body_t)(void* context, size_t begin, size_t end, int worker) noexcept nogil

# Uses up to `threads` threads, the caller included; 0 means get_num_threads(). Call it without the GIL.
# Raises the first exception a body threw, or what a signal handler raised (KeyboardInterrupt); no body runs
# any more when it returns. Called from inside a body it runs on that thread alone, and does not look for
# signals.
cdef int split(size_t n, size_t grain, int threads, body_t body, void* context) except -1 nogil

# How many threads `requested` means: itself, or get_num_threads() for 0.
cdef int thread_count(int requested) noexcept nogil

# True once a signal handler has raised: the caller then stops and returns with that exception set. Looks only
# on the main thread, where Python runs its handlers; takes the GIL for it.
cdef bool_t interrupted() noexcept nogil

# How many forks lie between this process and the one that imported the module.
cdef unsigned int fork_count() noexcept nogil
