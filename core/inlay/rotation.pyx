"""Random rotations that cost O(d log d): they spread every vector's energy evenly over its coordinates.

    one round:   flip signs at random  ->  Walsh-Hadamard transform of a window  ->  fold the halves

A scalar grid over a row is as wide as the row's largest coordinate. After a random rotation all coordinates
look like draws from one Gaussian, so no row has outliers and the error of a code no longer depends on the
data. Inner products and distances stay what they were, since each round is orthogonal:

    <R q, R x> = <q, x>        |R q - R x| = |q - x|

The window is the largest power of two, 2^p <= dim. When dim is one, three rounds over all of it do. Otherwise
the window lies at the front and at the back by turns, three rounds each, and a fold carries what one window
mixed into the other, so nothing is padded:

    x[i], x[i + h]  ->  (x[i] +- x[i + h]) / sqrt 2        h = dim // 2

How well a row with a single nonzero coordinate is spread tells by the fourth moment of its coordinates over
their squared variance, which is 3 for a Gaussian: 3.1 to 3.5 on average at 500 to 2,000 dimensions and 3.0
below (four rounds leave 4 to 10, and up to 3.6).

The signs follow from the seed alone (bits of PCG64), so a seed in a file is the rotation. Source for the
randomised transform: Ailon and Chazelle, The fast Johnson-Lindenstrauss transform, 2009, section 2.
"""

import numpy as np

from .parallel.crew cimport split
from .kernels.table cimport active

# Stored: changing the rounds, the windows or the source of the signs needs a new format version.
ROUNDS_WHOLE = 3
ROUNDS_FOLDED = 6

# Rows a piece: about a thousand coordinates of work per row, so pieces of some tens of microseconds.
cdef size_t GRAIN = 64


cdef class HadamardRotation:
    """A seeded random rotation of vectors with `dim` coordinates.

    Parameters
    ----------
    dim : int, >= 1
    seed : int, >= 0
        The same seed gives the same rotation on every machine.
    """

    def __init__(self, Py_ssize_t dim, seed):
        if dim < 1:
            raise ValueError(f"dim must be at least 1, not {dim}")
        self.dim = dim
        self.seed = seed
        self.window = 1 << (dim.bit_length() - 1)
        rounds = ROUNDS_WHOLE if self.window == dim else ROUNDS_FOLDED
        raw = np.random.PCG64(seed).random_raw((rounds * dim + 63) // 64)
        bits = np.unpackbits(raw.astype("<u8").view(np.uint8), bitorder="little")[: rounds * dim]
        signs = np.where(bits.reshape(rounds, dim), np.float32(-1), np.float32(1))
        # The transform's normalisation rides on the signs of its window.
        scale = np.float32(self.window**-0.5)
        for number in range(rounds):
            first = dim - self.window if number % 2 else 0
            signs[number, first : first + self.window] *= scale
        self.signs = signs
        # A fold at half the window's distance would undo the transform's last step; it is only needed, and
        # only made, where the windows leave more apart than that.
        self.folds = dim // 2 > self.window // 2

    cdef void round(self, float* x, Py_ssize_t number, bint back) noexcept nogil:
        active().hadamard_round(
            x, self.dim, &self.signs[number, 0], self.dim - self.window if number % 2 else 0, self.window,
            self.folds, back,
        )

    cdef void forward(self, float* x) noexcept nogil:
        """Rotate one vector in place."""
        cdef Py_ssize_t number
        for number in range(self.signs.shape[0]):
            self.round(x, number, False)

    cdef void backward(self, float* x) noexcept nogil:
        """Undo `forward` in place."""
        cdef Py_ssize_t number
        for number in range(self.signs.shape[0] - 1, -1, -1):
            self.round(x, number, True)

    def apply(self, rows):
        """Return the rows rotated, float32 (n, dim)."""
        return transformed(self, rows, False)

    def invert(self, rows):
        """Return the rows rotated back, float32 (n, dim)."""
        return transformed(self, rows, True)


cdef struct Job:
    void* rotation
    float* rows
    bint back


cdef void run(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef size_t row
    cdef float* x
    for row in range(begin, end):
        x = job.rows + row * <size_t>(<HadamardRotation>job.rotation).dim
        if job.back:
            (<HadamardRotation>job.rotation).backward(x)
        else:
            (<HadamardRotation>job.rotation).forward(x)


cdef transformed(HadamardRotation rotation, rows, bint back):
    out = np.array(rows, dtype=np.float32, order="C")
    if out.ndim != 2 or out.shape[1] != rotation.dim:
        raise ValueError(f"rows must have shape (n, {rotation.dim}), not {out.shape}")
    cdef float[:, ::1] view = out
    cdef Job job
    cdef size_t n = view.shape[0]
    if n:
        job.rotation, job.rows, job.back = <void*>rotation, &view[0, 0], back
        with nogil:
            split(n, GRAIN, 0, run, &job)
    return out
