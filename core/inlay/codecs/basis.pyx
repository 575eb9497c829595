"""The coordinates in which rows are coded: about their mean, perhaps rotated, perhaps only the foremost.

    y = P (x - centre)          P: orthonormal rows, rank of them; or y = x - centre
    x ~ centre + P' y

Products are those of kernels/additive.hpp, so that y does not depend on the CPU or a BLAS.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.string cimport memmove

from ..kernels.table cimport active, kStrip
from ..parallel.crew cimport split


cdef class Basis:
    """A centre and some directions.

    Parameters
    ----------
    centre : numpy.ndarray, shape (dim,), float32
    matrix : numpy.ndarray, shape (rank, dim), float32, or None
        Orthonormal rows; None for the coordinates as they are.
    """

    def __init__(self, centre, matrix=None):
        self.centre_view = np.ascontiguousarray(centre, np.float32)
        self.dim = self.rank = self.padded = self.centre_view.shape[0]
        self.matrix = matrix
        self.strips = self.moved = None
        if matrix is None:
            return
        self.matrix = np.ascontiguousarray(matrix, np.float32)
        self.rank = len(matrix)
        self.padded = (self.rank + kStrip - 1) // kStrip * kStrip
        rows = np.zeros((self.padded, self.dim), np.float32)
        rows[: self.rank] = self.matrix
        self.strips = np.ascontiguousarray(rows.reshape(-1, kStrip, self.dim).transpose(0, 2, 1)).ravel()
        self.moved = np.zeros(self.padded, np.float32)
        active().products(
            &self.centre_view[0], 1, self.dim, self.dim, &self.strips[0], self.padded // kStrip,
            &self.moved[0], self.padded,
        )

    @property
    def centre(self):
        """What is taken off every row, float32 (dim,)."""
        return np.asarray(self.centre_view)

    @property
    def nbytes(self):
        """Bytes of the centre and of P, which lies twice."""
        return 4 * (len(self.centre_view) + (0 if self.matrix is None else 2 * self.matrix.size))

    cdef void forward(self, const float* rows, size_t n, bint centred, float* out) noexcept nogil:
        cdef size_t i, j, dim = self.dim, rank = self.rank
        if self.strips is None:
            for i in range(n):
                for j in range(dim):
                    out[i * dim + j] = rows[i * dim + j] - (self.centre_view[j] if centred else 0)
            return
        active().products(rows, n, dim, dim, &self.strips[0], self.padded // kStrip, out, self.padded)
        for i in range(n):
            memmove(out + i * rank, out + i * self.padded, rank * sizeof(float))
            if centred:
                for j in range(rank):
                    out[i * rank + j] -= self.moved[j]

    def apply(self, rows):
        """Return P (x - centre) of rows (n, dim), float32 (n, rank)."""
        cdef const float[:, ::1] given = np.ascontiguousarray(rows, np.float32)
        cdef size_t n = given.shape[0]
        out = np.empty(n * self.padded, np.float32)
        cdef float[::1] view = out
        cdef Job job
        if n:
            job.basis, job.rows, job.out = <void*>self, &given[0, 0], &view[0]
            if self.strips is None:
                with nogil:
                    split(n, GRAIN, 0, apply_piece, &job)
            else:
                # A piece's room reaches into what the next one writes, so that pieces cannot run together.
                with nogil:
                    self.forward(job.rows, n, True, job.out)
        return out[: n * self.rank].reshape(n, self.rank)

    def invert(self, y):
        """Return centre + P' y of rows (n, rank), float32 (n, dim)."""
        return (y if self.matrix is None else y @ self.matrix) + np.asarray(self.centre_view)


cdef size_t GRAIN = 256


cdef struct Job:
    void* basis
    const float* rows
    float* out


cdef void apply_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef size_t dim = (<Basis>job.basis).dim
    (<Basis>job.basis).forward(job.rows + begin * dim, end - begin, True, job.out + begin * dim)
