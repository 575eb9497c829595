"""Walks by estimates, as other Cython modules see them."""

from libc.stddef cimport size_t

from ..scorer cimport LinkScorer, Scorer
from .walk cimport Links, Walker


# Fill walker.beam with the `wanted` vertices nearest to a query of those that a walk from the entries
# expands, which keeps `most` in view. It ends early once none of these is likely to be among the nearest.
cdef void explore(
    const Links* links, Scorer scorer, LinkScorer ahead, size_t query, Walker* walker, size_t most,
    size_t wanted, int worker
) noexcept nogil
