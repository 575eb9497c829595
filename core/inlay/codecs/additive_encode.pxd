"""How rows become codes in stages, as other Cython modules see it."""

from .additive_codes cimport StageCodes
from .basis cimport Basis
from .books cimport Books


# Rows (n, dim), in slots from `first` on that are there already. `origins` (n, dim) may be None; `levels` are
# the least norm and the step of the norms' codes; exact norms and squared errors go to `norms` and `errors`
# (n,), which may be None.
cdef int encode_rows(
    Books books, Basis basis, rows, origins, Py_ssize_t beam, levels, StageCodes codes, Py_ssize_t first,
    norms, errors, int workers,
) except -1
