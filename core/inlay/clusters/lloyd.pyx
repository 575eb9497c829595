"""The loops of k-means that are no matrix products.

    two_least     which centre is nearest, and how near the next is      of a block of scores
    approach      how near rows come to new centres                      k-means++
    sums          of the rows of each centre                             float64, in the order of the rows

What they return depends neither on the threads nor on the CPU level: kernels/nearest.hpp.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from ..kernels.table cimport Approach, Least, TwoLeast, at
from ..parallel.crew cimport split


cdef struct LeastJob:
    TwoLeast kernel
    const float* scores
    const float* offsets
    size_t k
    int64_t* which
    float* least
    float* second


cdef void least_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef LeastJob* job = <LeastJob*>context
    cdef size_t i
    cdef Least found
    for i in range(begin, end):
        found = job.kernel(job.scores + i * job.k, job.offsets, job.k)
        job.which[i], job.least[i], job.second[i] = found.at, found.least, found.second


def two_least(const float[:, ::1] scores, const float[::1] offsets, level=None):
    """Return (which, least, second) of each row of scores + offsets, of equal ones the first.

    Parameters
    ----------
    scores : float32 (n, k), k >= 1
    offsets : float32 (k,)
    level : str, optional
        Of the kernel; None for the one in use.

    Returns
    -------
    which : int64 (n,)
    least, second : float32 (n,)
        The least, and the least of the others: inf where there is none.
    """
    cdef LeastJob job
    cdef size_t n = scores.shape[0]
    cdef int64_t[::1] which_view
    cdef float[::1] least_view, second_view
    which, least, second = np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n, np.float32)
    which_view, least_view, second_view = which, least, second
    if n:
        job.kernel, job.scores, job.offsets = at(level).two_least, &scores[0, 0], &offsets[0]
        job.k = scores.shape[1]
        job.which, job.least, job.second = &which_view[0], &least_view[0], &second_view[0]
        with nogil:
            split(n, 64, 0, least_piece, &job)
    return which, least, second


cdef struct ApproachJob:
    Approach kernel
    const float* centres
    const float* rows
    float* least
    size_t n_centres, dim


cdef void approach_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef ApproachJob* job = <ApproachJob*>context
    cdef size_t i
    for i in range(job.n_centres):
        job.kernel(
            job.centres + i * job.dim, job.rows + begin * job.dim, end - begin, job.dim, job.least + begin
        )


def approach(const float[:, ::1] centres, const float[:, ::1] rows, float[::1] least, level=None):
    """Lower `least` (n,) to the squared distance of each row (n, dim) to the nearest of centres (k, dim)."""
    cdef ApproachJob job
    cdef size_t n = rows.shape[0], grain = 16384 // rows.shape[1] + 1  # rows that stay in the second cache
    job.kernel, job.n_centres, job.dim = at(level).approach, centres.shape[0], rows.shape[1]
    if n and job.n_centres:
        job.centres, job.rows, job.least = &centres[0, 0], &rows[0, 0], &least[0]
        with nogil:
            split(n, grain, 0, approach_piece, &job)


cdef struct SumJob:
    const float* rows
    const int64_t* order    # rows, cluster after cluster
    const int64_t* bounds   # of each cluster in `order`
    double* sums
    size_t dim


cdef void sum_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef SumJob* job = <SumJob*>context
    cdef size_t cluster, i, j
    cdef const float* row
    cdef double* sums
    for cluster in range(begin, end):
        sums = job.sums + cluster * job.dim
        for i in range(<size_t>job.bounds[cluster], <size_t>job.bounds[cluster + 1]):
            row = job.rows + job.order[i] * job.dim
            for j in range(job.dim):
                sums[j] += row[j]


def sums(const float[:, ::1] rows, labels, Py_ssize_t n_clusters):
    """Return the sum of the rows (n, dim) of each label, float64 (n_clusters, dim), and their counts."""
    cdef SumJob job
    cdef const int64_t[::1] order, bounds
    cdef double[:, ::1] view
    total = np.zeros((n_clusters, rows.shape[1]))
    counts = np.bincount(labels, minlength=n_clusters)
    order = np.argsort(labels, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(counts)])
    view = total
    if len(labels):
        job.rows, job.order, job.bounds = &rows[0, 0], &order[0], &bounds[0]
        job.sums, job.dim = &view[0, 0], rows.shape[1]
        with nogil:
            split(n_clusters, 1, 0, sum_piece, &job)
    return total, counts
