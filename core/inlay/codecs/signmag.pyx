"""Two bits a dimension, sign and magnitude, and rows compared in that code: what QuIVer walks by.

    y = R (v - mean)                             R: random rotation; either may be left out
    x = sign(y) * (3 if |y| > 0.98 rms(y) else 1)               one of four levels a dimension
    f = |y|^2 / <y, x>        n = |y|^2                         so that f x ~ y along y; y = 0 has f = 0

    l2 :  |v - w|^2  ~ n_v + n_w - 2 f_v f_w <x_v, x_w>         mean and rotation cancel
    ip :  -<q, v>    ~ m_v + (<mean, mean> - <q, mean>) - f_v f_q <x_v, x_q>        m_v = -<mean, v>

A row is in words of 64 dimensions, for x = 2 P + T with P and T +1 or -1, so that <x_v, x_w> is a sum of
popcounts (kernels/signmag.hpp):

    p t p t ..                         16 bytes each 64 dimensions: x > 0, and x > 0 XNOR |x| = 3
    f n; for inner products f m f n    float32; the two that a score reads lie together
    nothing                            up to whole cache lines, where that pays

Both sides coded, the estimate is low near identity: n (2 - 2 / r^2) = -0.27 n for equal rows, r^2 = 0.88. It
ranks, it does not measure. Against a query of four bits (`fine`) it is unbiased.

Differs from the paper: levels, centring, rotation, f and n. The published code is here to be compared with:
levels "1:2" (threshold mean |y|), raw, and for distances "weighted" (4 dim - <x_v, x_w>), "hamming" (bits
that differ; to search by, "weighted" between rows) or "code" (|x_v - x_w|^2). The ten nearest of 20,000 rows
are among the best 32 by code so often, of a hundred:

                            here    weighted    hamming
    sentence embeddings     98.8        96.5       81.8
    images of clothes       99.7        41.4       59.2

Source: QuIVer, arXiv 2605.02171, 2026; f as in Gao and Long, RaBitQ, SIGMOD 2024.
"""

import warnings

import numpy as np

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from ..kernels.table cimport active, gather_bits, kMaxSignMagDim
from ..parallel.crew cimport split, thread_count
from ..rotation cimport HadamardRotation
from .codec cimport Codec, Codes
from .signmag_coder cimport Code, Coder, finite

from ..contents import field
from ..tables import Table
from .probe import near
from .signmag_coder import DISTANCES, LEVELS, layout
from .signmag_scorer import SignMagPairs, SignMagQueries
from .signmag_trial import LEAST_ROWS, POOR, TRANSFORMS, chosen, drawn, sign_information, trial

__all__ = ["DISTANCES", "LEVELS", "TRANSFORMS", "SignMagCodec"]

# Rows that training looks at.
TRAINING_ROWS = 10_000

# Rows a piece: some tens of microseconds of work.
cdef size_t GRAIN = 32


cdef class SignMagCodec(Codec):
    """Sign and magnitude, two bits a dimension.

    Parameters
    ----------
    dim : int, 1 .. 16,777,216
        Beyond, the integer sums would not fit 32 bits.
    squared_l2 : bool
    transform : {None, "raw", "centred", "rotated"}
        What is done to vectors first: nothing, the mean taken off, or that and a random rotation. None: what
        training finds best.
    levels : {"1:3", "1:2"}
        The magnitudes.
    distance : {"corrected", "code", "weighted", "hamming"}
        What codes are compared by.
    seed : int
        Of the rotation.
    """

    def __init__(
        self,
        dim,
        squared_l2,
        transform=None,
        levels="1:3",
        distance="corrected",
        seed=0,
    ):
        super().__init__(dim, squared_l2)
        if not 1 <= dim <= <Py_ssize_t>kMaxSignMagDim:
            raise ValueError(
                f"sign-magnitude codes take 1 to {kMaxSignMagDim} dimensions, not {dim}: their sums are "
                "32-bit integers"
            )
        for name, value, known in (
            ("transform", transform, (None, *TRANSFORMS)),
            ("levels", levels, LEVELS),
            ("distance", distance, DISTANCES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r}")
        self.transform, self.levels, self.distance, self.seed = transform, levels, distance, seed
        self.report = {}

    @property
    def is_trained(self):
        """Whether the mean is known."""
        return self.coder is not None

    @property
    def code_size(self):
        """Bytes a row."""
        return layout(self.dim, self.squared_l2)[2]

    def train(self, rows, *, seed=0, progress=None):
        """Find the mean, and the transform if that is open, from rows (n, dim), n >= 1.

        What was seen stands in `report`: "sign_information", bits a coordinate, and in "recall", by
        transform, which part of the ten nearest rows of a sample are among its best 64 codes.

        Warns
        -----
        UserWarning
            Where that is less than half: these vectors should be searched by other codes.
        """
        if len(rows) < 1:
            raise ValueError("sign-magnitude codes take at least one row to train")
        sample = np.ascontiguousarray(rows[:: -(-len(rows) // TRAINING_ROWS)], np.float32)
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        transform, recalls = self.transform or "rotated", {}
        if len(sample) >= LEAST_ROWS:
            recalls = self._trial(sample, mean, seed)
            transform = chosen(recalls)
            if recalls[transform] < POOR:
                warnings.warn(
                    f"two bits a dimension tell these vectors apart badly: {recalls[transform]:.0%} of their "
                    "nearest neighbours are among the best 64 by code; use GraphIndex or LVQIndex for them",
                    stacklevel=2,
                )
        report = {"sign_information": sign_information(sample), "recall": recalls}
        self.coder, self.transform, self.report = self._coder(transform, mean), transform, report

    def _trial(self, sample, mean, seed):
        # The recall of the transforms that are open.
        own = drawn(len(sample), seed)
        queries, slots = sample[own], np.arange(len(sample), dtype=np.uint32)

        def estimates(transform):
            coder = self._coder(transform, mean)
            codes = np.empty((len(sample), coder.stride), np.uint8)
            encode_rows(coder, sample, codes)
            scorer = SignMagQueries(coder, queries, codes, 2, thread_count(0))
            return np.stack([near(scorer, query, slots) for query in range(len(queries))])

        transforms = TRANSFORMS if self.transform is None else (self.transform,)
        return trial(self._exact(queries, sample), estimates, own, transforms)

    def _exact(self, const float[:, ::1] queries, const float[:, ::1] rows):
        # The true scores (n_queries, n).
        out = np.empty((queries.shape[0], rows.shape[0]), np.float32)
        cdef float[:, ::1] view = out
        kernel = active().squared_l2 if self.squared_l2 else active().negative_ip
        kernel(
            &queries[0, 0], queries.shape[0], &rows[0, 0], rows.shape[0], rows.shape[1], &view[0, 0],
            rows.shape[0],
        )
        return out

    def _coder(self, transform, mean):
        rotation = HadamardRotation(self.dim, self.seed) if transform == "rotated" else None
        if transform == "raw":
            mean = np.zeros(self.dim, np.float32)
        return Coder(self.dim, self.squared_l2, self.levels, self.distance, mean, rotation)

    def new_codes(self):
        """Return an empty table."""
        return Codes({"codes": Table(np.uint8, (self.code_size,))})

    def encode(self, rows, Codes codes=None):
        """Append the codes of rows (n, dim) to `codes`; O(dim log dim) a row."""
        codes = self.new_codes() if codes is None else codes
        cdef Py_ssize_t first = len(codes)
        rows = np.ascontiguousarray(rows, np.float32)
        codes.own()
        codes.resize(first + len(rows))
        if len(rows):
            encode_rows(self.coder, rows, codes.tables["codes"].rows[first:])
        return codes

    def decode(self, Codes codes, slots=None):
        """Return the rows that the codes of these slots stand for, float32 (n, dim).

        Each is the multiple of its levels that lies nearest to it; of length 1 where no length was stored.
        """
        table = codes.tables["codes"].rows
        some = np.ascontiguousarray(table if slots is None else table[slots])
        planes = some[:, : 8 * self.coder.words].reshape(len(some), self.coder.words // 2, 2, 8)
        bits = np.unpackbits(planes.swapaxes(1, 2), bitorder="little")
        digits = bits.reshape(len(some), 2, 32 * self.coder.words)[:, :, : self.dim] * np.float32(2) - 1
        x = self.coder.a * digits[:, 0] + digits[:, 1]
        square = np.square(x).sum(axis=1, keepdims=True)
        if self.distance == "corrected":
            constants = np.ascontiguousarray(some[:, self.coder.size - 8 : self.coder.size]).view(np.float32)
            with np.errstate(all="ignore"):
                x *= np.where(constants[:, :1] == 0, 0, constants[:, 1:] / (constants[:, :1] * square))
        else:
            x /= np.sqrt(square)
        if self.coder.rotation is not None:
            x = self.coder.rotation.invert(x)
        return x + self.coder.mean

    def scorer(self, queries, Codes codes, int workers):
        """Return queries ready to be scored against codes, coded as the rows are."""
        return SignMagQueries(self.coder, queries, codes.tables["codes"].rows, 2, workers)

    def fine(self, queries, Codes codes, int workers):
        """Return queries in four bits a dimension, ready to be scored more finely, by corrected distances."""
        if self.distance != "corrected":
            raise ValueError(f'queries of four bits need distance="corrected", not {self.distance!r}')
        return SignMagQueries(self.coder, queries, codes.tables["codes"].rows, 4, workers)

    def pairs(self, Codes codes, int workers, bint most=False):
        """Return rows ready to be compared with each other."""
        return SignMagPairs(self.coder, codes.tables["codes"].rows, workers)

    def learned(self):
        """Return what training has taught, for `unlearn`."""
        return self.transform, self.coder, self.report

    def unlearn(self, learned):
        """Go back to what `learned` gave."""
        self.transform, self.coder, self.report = learned

    def state(self):
        """Return what a file holds of training: transform, mean and report."""
        if not self.is_trained:
            return {"trained": False}, {}
        fields = {"trained": True, "transform": self.transform, "report": self.report}
        return fields, {"mean": self.coder.mean}

    def restore(self, header, sections):
        """Take what `state` gave, as read from a file."""
        if not field(header, "trained", bool):
            return
        transform = field(header, "transform", str, one_of=TRANSFORMS)
        report = field(header, "report", dict)
        recalls = field(report, "recall", dict)
        report = {
            "sign_information": field(report, "sign_information", float, at_least=0, at_most=1),
            "recall": {
                name: field(recalls, name, float, at_least=0, at_most=1)
                for name in TRANSFORMS if name in recalls
            },
        }
        mean = sections.take("mean", np.float32, (self.dim,))
        if not np.isfinite(mean).all():
            raise sections.fault("mean", "holds a NaN or infinite value")
        self.coder, self.transform, self.report = self._coder(transform, np.array(mean)), transform, report


cdef struct EncodeJob:
    void* coder
    const float* rows
    uint8_t* codes
    uint8_t* scratch
    size_t scratch_size


cdef int encode_rows(Coder coder, const float[:, ::1] rows, uint8_t[:, ::1] codes) except -1:
    cdef EncodeJob job
    cdef int workers = thread_count(0)
    cdef uint8_t[:, ::1] scratch = coder.scratch(workers)
    job.coder, job.rows, job.codes = <void*>coder, &rows[0, 0], &codes[0, 0]
    job.scratch, job.scratch_size = &scratch[0, 0], scratch.shape[1]
    with nogil:
        split(rows.shape[0], GRAIN, workers, encode_piece, &job)
    return 0


cdef void encode_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef EncodeJob* job = <EncodeJob*>context
    cdef size_t row
    for row in range(begin, end):
        encode_row(
            <Coder>job.coder, job.rows + row * (<Coder>job.coder).dim,
            job.codes + row * (<Coder>job.coder).stride, job.scratch + worker * job.scratch_size,
        )


cdef void encode_row(Coder coder, const float* row, uint8_t* out, uint8_t* scratch) noexcept nogil:
    cdef Code code = coder.code(row, 2, scratch)
    cdef uint64_t* words = <uint64_t*>out
    cdef float* constants = <float*>(words + coder.words)
    cdef Py_ssize_t word
    memset(out, 0, coder.stride)
    for word in range(0, coder.words, 2):
        words[word] = gather_bits(code.digits + 32 * word, 1)
        words[word + 1] = gather_bits(code.digits + 32 * word, 0)
    constants[0], constants[1] = code.factor, code.norm
    if not coder.squared_l2:
        constants[2], constants[3] = code.factor, code.norm
        if coder.corrected:
            constants[1] = finite(-coder.along_mean(row))
