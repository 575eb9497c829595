"""The only place where arrays from outside are checked and converted.

What comes out is C-contiguous and of one dtype, and nothing in it can mislead a kernel: no NaN, no infinity,
no id that does not fit. Whatever cannot be converted without a change of meaning is refused, with the row's
number.
"""

import operator
import sys

import numpy as np

from libc.math cimport sqrt
from libc.stdint cimport uint8_t, uint32_t
from libcpp.vector cimport vector

from .kernels.table cimport dot
from .parallel.crew cimport split


# As C sees them: looked up in NumPy they cost as much as a row's check.
cdef object ndarray = np.ndarray
cdef object FLOAT32 = np.dtype(np.float32)


cdef struct Check:
    const uint32_t* bits
    Py_ssize_t dim
    uint8_t* bad  # one a piece, set when it holds a NaN or infinity


# Rows a piece: some tens of microseconds.
cdef size_t GRAIN = 512


cdef void check_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    # An exponent of all ones marks both NaN and infinity.
    cdef Check* job = <Check*>context
    cdef const uint32_t* bits = job.bits + begin * job.dim
    cdef size_t i, n = (end - begin) * job.dim
    cdef uint32_t found = 0
    for i in range(n):
        found |= <uint32_t>((bits[i] & 0x7F800000) == 0x7F800000)
    job.bad[begin // GRAIN] = found != 0


cdef Py_ssize_t first_not_finite(const float[:, ::1] rows) except -2:
    # The row that holds the first NaN or infinity, or -1.
    cdef Check job
    cdef size_t n = rows.shape[0], pieces = (n + GRAIN - 1) // GRAIN, piece
    cdef uint8_t one = 0
    cdef vector[uint8_t] many
    job.bits, job.dim, job.bad = <const uint32_t*>&rows[0, 0], rows.shape[1], &one
    if pieces == 1:
        check_piece(&job, 0, n, 0)
        if not one:
            return -1
    else:
        many.resize(pieces)
        job.bad = many.data()
        with nogil:
            split(n, GRAIN, 0, check_piece, &job)
    for piece in range(pieces):
        if job.bad[piece]:
            some = np.asarray(rows[piece * GRAIN : (piece + 1) * GRAIN])
            return piece * GRAIN + int(np.isfinite(some).all(axis=1).argmin())
    return -1


def as_rows(values, Py_ssize_t dim, str name="rows", bint one_row=False):
    """Return vectors as a C-contiguous float32 array (n, dim).

    Parameters
    ----------
    values : array_like, (n, dim)
        Any real dtype, any strides; lists too.
    dim : int
        The number of dimensions it must have.
    name : str
        What the caller calls them, for messages.
    one_row : bool
        Also accept a single vector (dim,).

    Raises
    ------
    TypeError
        For anything but real numbers.
    ValueError
        For another shape, or a value that is NaN, infinite, or beyond float32.
    """
    array = values
    if type(array) is not ndarray or array.dtype is not FLOAT32 or not _in_order(array.flags):
        array = _as_float32(values, name)
    if array.ndim == 1 and array.size == 0:
        array = array.reshape(0, dim)  # an empty list
    if array.ndim == 1 and one_row:
        array = array.reshape(1, -1)
    if array.ndim != 2:
        raise ValueError(f"{name} must have two dimensions (n, {dim}), not shape {array.shape}")
    if array.shape[1] != dim:
        raise ValueError(
            f"{name} have {array.shape[1]} dimensions but the index has {dim}; "
            "were they made by another model?"
        )
    cdef const float[:, ::1] view = array
    cdef Py_ssize_t bad = first_not_finite(view) if view.shape[0] else -1
    if bad >= 0:
        raise ValueError(f"row {bad} of {name} holds a NaN or infinite value")
    return array


cdef inline bint _in_order(flags):
    return flags.c_contiguous and flags.aligned


def _as_float32(values, name):
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} do not form an array: {error}") from None
    if array.size == 0 and array.dtype == object:
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, not {array.dtype}")
    with np.errstate(over="ignore"):  # too large becomes infinite, and is refused with its row number
        return np.require(array, np.float32, ["C", "A"])


cdef struct Scaling:
    const float* rows
    float* out
    Py_ssize_t dim


cdef void scale_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Scaling* job = <Scaling*>context
    cdef const float* x
    cdef float* y
    cdef double total, scale
    cdef size_t row, i, dim = job.dim
    for row in range(begin, end):
        x, y = job.rows + row * dim, job.out + row * dim
        total = dot(x, x, dim)
        scale = 1.0 / sqrt(total) if total > 0.0 else 0.0
        for i in range(dim):
            y[i] = <float>(x[i] * scale)


def normalised(const float[:, ::1] rows):
    """Return the rows scaled to length 1, as new float32 rows (n, dim); a row of zeros stays zero."""
    cdef size_t n = rows.shape[0]
    cdef Scaling job
    out = np.empty((rows.shape[0], rows.shape[1]), np.float32)
    cdef float[:, ::1] view = out
    if n:
        job.rows, job.out, job.dim = &rows[0, 0], &view[0, 0], rows.shape[1]
        if n <= GRAIN:
            scale_piece(&job, 0, n, 0)
        else:
            with nogil:
                split(n, GRAIN, 0, scale_piece, &job)
    return out


def as_ids(values, str name="ids"):
    """Return ids as a C-contiguous int64 array (n,).

    Raises
    ------
    TypeError
        For anything but integers (whole floats are taken).
    ValueError
        For a shape other than (n,), or a value beyond int64.
    """
    array = np.asarray(values)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not shape {array.shape}")
    if array.dtype.kind == "f":
        if not np.array_equal(array, np.floor(array)) or not np.isfinite(array).all():
            raise TypeError(f"{name} must be integers, not {array.dtype} with fractions")
        digits = min(np.finfo(array.dtype).nmant + 1, 53)
        if np.abs(array).max() > 2**digits:
            raise ValueError(f"{name} as {array.dtype} beyond 2**{digits} are not exact; give integers")
    elif array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    if int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must fit 64 bits with sign; {int(array.max())} does not")
    return np.ascontiguousarray(array, dtype=np.int64)


def as_count(value, str name, Py_ssize_t least=1):
    """Return an integer as int; TypeError for another type, ValueError below `least` or beyond 64 bits."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if count < least:
        raise ValueError(f"{name} must be at least {least}, not {count}")
    if count > sys.maxsize:
        raise ValueError(f"{name} must be at most {sys.maxsize}, not {count}")
    return count


def as_number(value, str name):
    """Return a real argument as float; TypeError for another type, ValueError for NaN."""
    number = np.asarray(value)
    if number.ndim or number.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a number, not {value!r:.80}")
    if number != number:
        raise ValueError(f"{name} must be a number, not NaN")
    return float(number)
