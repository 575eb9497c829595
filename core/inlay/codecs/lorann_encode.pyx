"""How the vectors of a LoRANN model become codes, each by itself, without the GIL.

    v ~ first | step * c          c in -half .. half - 1, stored as c + half; half = 2^(bits - 1)

A column of A is rounded to the nearest codes. A row's coefficients b are not what matters, but what the model
makes of them, A b. So at 4 bits the codes are those that make |A b - A v| small, in the metric G = A^T A,
from which the free first coefficient is taken out (a Schur complement):

    G' = G11 - g g^T / G00        first = b0 + <g, b1 - step c> / G00        g = G01

Start with the scale of the least plain error (of many, of either sign, for -half reaches further than
half - 1), then sweep over the coordinates, each to the best code while the others stay, and refit the scale.
The best of all rounds is kept, rounding to the nearest included: never worse than that.

Everything is float64 in one order, and codes are made with the step as it is stored, so a row's codes are the
same on every CPU. step and first are rounded to float16.
"""

import numpy as np

from libc.math cimport fabs, floor, frexp, ldexp
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

# The largest number of float16.
cdef double HALF_MAX = 65504.0
# Scales that are tried, as parts of the one that reaches the largest number.
cdef int SCALES = 10
cdef double LEAST_SCALE = 0.4
# Sweeps over a row's codes: a third changed 1 code in 1,000.
cdef int ROUNDS = 3


cdef inline double nearest(double x) noexcept nogil:
    return floor(x + 0.5)


cdef inline double halved(double x) noexcept nogil:
    # To the 11 bits of a float16, within its range.
    cdef int exponent
    cdef double mantissa = frexp(x, &exponent)
    x = ldexp(nearest(ldexp(mantissa, 11)), exponent - 11)
    return HALF_MAX if x > HALF_MAX else -HALF_MAX if x < -HALF_MAX else x


cdef inline double code_of(double x, double inverse, double half) noexcept nogil:
    # Of x in steps, given 1 / step.
    cdef double code = nearest(x * inverse)
    return -half if code < -half else half - 1 if code > half - 1 else code


cdef double step_of(const double* v, size_t n, double half) noexcept nogil:
    # The step with which rounding v to codes loses least; 0 where v is next to nothing.
    cdef double most = 0, sign, step, product, square, code, gain = 0, best
    cdef size_t i
    cdef int scale
    for i in range(n):
        most = fabs(v[i]) if fabs(v[i]) > most else most
    if most < 1e-30:
        return 0
    best = most / (half - 1)
    if half > 8:
        return best
    for scale in range(2 * SCALES):
        sign = 1 if scale % 2 else -1
        step = sign * best * (LEAST_SCALE + (1 - LEAST_SCALE) * (scale // 2) / (SCALES - 1))
        product = square = 0
        for i in range(n):
            code = code_of(v[i], 1 / step, half)
            product += code * v[i]
            square += code * code
        # |v - s c|^2 with the best s is |v|^2 less this.
        if square > 0 and product * product / square > gain:
            gain = product * product / square
            most = product / square
    return most if gain > 0 else best


cdef double put_codes(const double* v, size_t n, double step, double half, double* codes) noexcept nogil:
    # Returns the step as it is stored.
    cdef size_t i
    step = halved(step)
    for i in range(n):
        codes[i] = code_of(v[i], 1 / step, half) if step != 0 else 0
    return step


cdef double error_of(
    const double* v, const double* metric, size_t n, double step, const double* codes, double* slope
) noexcept nogil:
    # (v - step c)^T G' (v - step c), and G' (v - step c) in `slope`.
    cdef size_t i, j
    cdef double total = 0, left
    for i in range(n):
        slope[i] = 0
    for j in range(n):
        left = v[j] - step * codes[j]
        for i in range(n):
            slope[i] += left * metric[j * n + i]
    for i in range(n):
        total += (v[i] - step * codes[i]) * slope[i]
    return total


cdef void sweep(
    const double* v, const double* metric, size_t n, double step, double half, double* codes, double* slope
) noexcept nogil:
    # Each code to what is best while the others stay.
    cdef size_t i, j
    cdef double own, code, change
    for j in range(n):
        own = metric[j * n + j]
        if own <= 0:
            continue
        code = code_of(step * codes[j] + slope[j] / own, 1 / step, half)
        change = step * (codes[j] - code)
        if change != 0:
            codes[j] = code
            for i in range(n):
                slope[i] += change * metric[j * n + i]


cdef double refitted(
    const double* v, const double* metric, size_t n, const double* codes, double step
) noexcept nogil:
    # The scale that suits these codes, within a factor of 2.
    cdef size_t i, j
    cdef double product = 0, square = 0, sum, found
    for i in range(n):
        sum = 0
        for j in range(n):
            sum += metric[i * n + j] * codes[j]
        product += v[i] * sum
        square += codes[i] * sum
    if square <= 0:
        return step
    found = product / square / step
    return step * (0.5 if found < 0.5 else 2 if found > 2 else found)


cdef double improve(
    const double* v, const double* metric, size_t n, double step, double half, double* codes, double* room
) noexcept nogil:
    # Codes and step that are no worse in the metric; returns the step. room: 2 n numbers.
    cdef double* trial = room
    cdef double* slope = room + n
    cdef double least = error_of(v, metric, n, step, codes, slope), error, next = step
    cdef int _round
    memcpy(trial, codes, n * sizeof(double))
    for _round in range(ROUNDS):
        sweep(v, metric, n, next, half, trial, slope)
        next = halved(refitted(v, metric, n, trial, next))
        if next == 0:
            break
        error = error_of(v, metric, n, next, trial, slope)
        if not error < least:
            break
        least, step = error, next
        memcpy(codes, trial, n * sizeof(double))
    return step


def encode(const double[:, ::1] vectors, metric, int bits):
    """Code vectors, the first coordinate of each as it is.

    Parameters
    ----------
    vectors : float64 (n, 1 + length)
    metric : float64 (1 + length, 1 + length), or None
        G; None rounds to the nearest.
    bits : {4, 8}

    Returns
    -------
    firsts, steps : float16 (n,)
    codes : uint8 (n, length)
    """
    cdef Py_ssize_t n = vectors.shape[0], length = vectors.shape[1] - 1, i, j
    cdef double half = 1 << (bits - 1), step, first
    cdef const double[:, ::1] reduced
    cdef const double[::1] pull
    rough = np.empty((n, 2))
    codes = np.empty((n, length), np.uint8)
    room = np.empty(3 * length + 1)
    cdef double[:, ::1] rough_view = rough
    cdef uint8_t[:, ::1] code_view = codes
    cdef double[::1] room_view = room
    cdef double* code = &room_view[0]
    cdef bint fits = metric is not None and length > 0
    if fits:
        reduced, pull = _without_first(metric)
    with nogil:
        for i in range(n):
            step = step_of(&vectors[i, 0] + 1, length, half)
            step = put_codes(&vectors[i, 0] + 1, length, step, half, code)
            first = vectors[i, 0]
            if fits:
                if bits == 4 and step != 0:
                    step = improve(
                        &vectors[i, 0] + 1, &reduced[0, 0], length, step, half, code, code + length
                    )
                for j in range(length):
                    first += pull[j] * (vectors[i, 1 + j] - step * code[j])
            for j in range(length):
                code_view[i, j] = <uint8_t>(code[j] + half)
            rough_view[i, 0], rough_view[i, 1] = halved(first), step
    halves = rough.astype(np.float16)
    return np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1]), codes


def _without_first(metric):
    # G' and g / G00
    most = float(metric[0, 0])
    pull = metric[0, 1:] / most if most > 0 else np.zeros(len(metric) - 1)
    return np.ascontiguousarray(metric[1:, 1:] - most * np.outer(pull, pull)), pull


def decode(firsts, steps, codes, int bits):
    """Return the vectors float64 (n, 1 + length) that codes stand for."""
    values = np.empty((len(codes), 1 + codes.shape[1]))
    values[:, 0] = firsts
    values[:, 1:] = steps.astype(np.float64)[:, None] * (codes.astype(np.float64) - (1 << (bits - 1)))
    return values
