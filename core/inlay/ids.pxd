"""The bits of a filter as kernels read them."""

from libc.stdint cimport uint32_t, uint64_t


cdef class Bits:
    # One bit a slot: bit s % 64 of words[s // 64]; bits at and beyond `n` are clear.
    cdef readonly Py_ssize_t n
    cdef readonly Py_ssize_t count
    cdef readonly object array
    cdef const uint64_t[::1] words


cdef inline bint is_in(const uint64_t* words, uint32_t slot) noexcept nogil:
    return (words[slot // 64] >> (slot % 64)) & 1
