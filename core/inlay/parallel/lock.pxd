from libcpp cimport bool as bool_t
from libcpp.memory cimport shared_ptr


cdef extern from "parallel/lock.hpp" nogil:
    ctypedef bool_t (*interrupted_t "inlay::Interrupted")() noexcept

    enum Outcome "inlay::Outcome":
        HELD "inlay::HELD"
        BUSY "inlay::BUSY"
        INTERRUPTED "inlay::INTERRUPTED"
        INSIDE_EXCLUSIVE "inlay::INSIDE_EXCLUSIVE"
        INSIDE_SHARED "inlay::INSIDE_SHARED"
        NOT_HELD "inlay::NOT_HELD"

    cdef cppclass LockState "inlay::LockState":
        Outcome take(bint exclusive, interrupted_t interrupted) except +
        Outcome release(bint exclusive) noexcept

    cdef cppclass ReadersWriterLock "inlay::ReadersWriterLock":
        LockState& state() except +


cdef class Guard:
    cdef shared_ptr[ReadersWriterLock] lock
    cdef bint exclusive


cdef class SharedLock:
    cdef Guard shared_guard
    cdef Guard exclusive_guard
