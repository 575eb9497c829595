"""The encoding of rows, as other Cython modules see it."""

from .lvq_codes cimport Frame, LVQCodes

# Write the codes of rows (n, dim), n >= 1, about a frame to the slots from `first` on, which must be there,
# and |r|^2 of each row to `energy`.
cdef int encode_rows(
    Frame frame, const float[:, ::1] rows, LVQCodes codes, Py_ssize_t first, float[::1] energy, int workers,
    const float[:, ::1] origins=*,
) except -1
