"""LVQ: each vector is stored as its own evenly spaced grid over the range it spans.

    r = R x - centre - mean[s]                R: optional random rotation; s: the nearest of up to 256 means
    r ~ low + step * c                        c in 0 .. 2^bits - 1, one a dimension
      ~ low + step2 * (c * 2^bits2 + c2)      step2 = step / 2^bits2; c2 signed, the residual level

The scan never decodes. With q' = R q - centre (squared L2) or R q (inner product), quantised once to int8,
q' ~ scale * v, and S = scale * sum(v):

    <q', r> ~ step * scale * <v, c> + low * S                      and only <v, c> is work: kernels/codes.hpp
    ip :  -<q, x>                ~ -<q', r> - <q', mean[s]> - <R q, centre>
    l2 :  |q - x|^2 - |q'|^2     ~ norm - 2 <q', r> - 2 <q', mean[s]>

step and low are stored multiplied by rho, so that the estimate is unbiased along r, and a row is at distance
0 from itself:

    rho = |r|^2 / <r, rhat>                      norm = |mean|^2 + |r|^2 + 2 <mean, rho rhat>

The last candidates are scored in float32 from everything a row has: with two levels the distance to the row
that `decode` gives back, |q' - mean - rhat|^2; with one the same estimate from the float query (plain
distances to decoded rows lose 0.2 to 2 points of recall at 4 bits).

Of this file are options, training and files. Beside it: lvq_codes.pyx (the tables, and what rows are coded
about), lvq_encode.pyx (rows to codes), lvq_scorer.pyx and lvq_rows.pyx (scores of runs of rows and of rows
one by one), drift.py (when a mean is added).

Differs from the papers: constants are float32 and codes are made with the constants as stored (rounding them
afterwards loses the second level a factor of 18); one-level 4-bit grids are fitted, not min-max; rotation;
rho.

Sources: Aguerrebere et al., Similarity search in the blink of an eye with compressed indices, VLDB 2023,
section 3; Aguerrebere et al., Locally-adaptive quantization for streaming vector search, 2024, section 4
(several means).
"""

from copy import copy

import numpy as np

from libc.stddef cimport size_t

from ..kernels.table cimport active, kMaxDim
from ..parallel.crew cimport thread_count
from ..rotation cimport HadamardRotation
from .codec cimport Codec, Codes
from .lvq_codes cimport MAX_MEANS, Frame, LVQBlocks, LVQRows
from .lvq_encode cimport encode_rows

from ..clusters import kmeans
from ..contents import field
from .drift import DRIFT_ROWS, Drift
from .lvq_rows import LVQPairs, LVQRowScorer
from .lvq_scorer import LVQScorer

__all__ = ["CLUSTERED", "DRIFT_ROWS", "FORMS", "TRAINING_ROWS", "Drift", "LVQCodec"]

FORMS = {"4": (4, 0), "8": (8, 0), "4x4": (4, 4), "4x8": (4, 8), "8x4": (8, 4), "8x8": (8, 8)}

# Rows that training looks at, or so many a mean if that is more: a mean over 4,096 rows is off by 1/64 of
# their spread, which adds 1/4,096 to the energy about it.
TRAINING_ROWS = 4_096
ROWS_A_MEAN = 64
MEANS_ITERATIONS = 10
# Rows of a sample on which rotation and clustering are decided, 2 ms of work together.
PROBE_ROWS = 512
# What is left of 512 rows' energy about 64 of them: 0.01 to 0.33 of tight clusters, 0.5 of loose ones (where
# 64 means would not halve the error), 0.5 of images of clothes, 1.4 of text embeddings.
CLUSTERED_ENERGY = 0.4
CLUSTERED = 64
# A rotation takes 2 us at 768 dimensions, for a query as for a row, which takes 2 to 7 us without: it has to
# lower the error to be kept.
ROTATION_GAIN = 0.9


cdef class LVQCodec(Codec):
    """Locally-adaptive vector quantisation.

    Parameters
    ----------
    dim : int, 1 .. 65,536
        Beyond, the integer sums of 8-bit codes would not fit 32 bits.
    squared_l2 : bool
    bits : {4, 8}
        Of the first level, which is scanned.
    residual_bits : {0, 4, 8}
        Of the second level, which only the last candidates meet; 0 for none.
    n_means : int, 0 .. 256
        How many means training finds; 0: as many as the data call for, one or `CLUSTERED`.
    rotation_seed : int or None
        Rotate vectors at random first; None for not.
    may_drop_rotation : bool
        Training drops the rotation where a sample is coded no worse without it.
    layout : {"blocks", "rows"}
        How the first level lies: for scans of all rows, about any number of means, or for walks from row to
        row (`Scorer.near`, `pairs`), about one.
    grows : bool
        Whether means are added where new rows call for them; if not, n_means must be 1.
    residual : bool
        Rows are what origins leave of them: see `Codec.encode`.
    """

    def __init__(
        self,
        dim,
        squared_l2,
        bits,
        residual_bits,
        n_means,
        rotation_seed,
        bint may_drop_rotation=False,
        str layout="blocks",
        bint grows=True,
        bint residual=False,
    ):
        super().__init__(dim, squared_l2)
        if dim > <Py_ssize_t>kMaxDim:
            raise ValueError(
                f"LVQ takes at most {kMaxDim} dimensions, not {dim}: its sums are 32-bit integers"
            )
        if (bits, residual_bits) not in FORMS.values():
            raise ValueError(f"LVQ comes as {', '.join(FORMS)} bits, not {bits}x{residual_bits}")
        if layout not in ("blocks", "rows"):
            raise ValueError(f'layout must be "blocks" or "rows", not {layout!r}')
        if not 0 <= n_means <= MAX_MEANS:
            raise ValueError(f"n_means must be at most {MAX_MEANS}, not {n_means}")
        if (layout == "rows" or residual or not grows) and n_means != 1:
            raise ValueError(f"such codes lie about one mean: n_means must be 1, not {n_means}")
        self.bits, self.residual_bits, self.n_means = bits, residual_bits, n_means
        self.rotation_seed = rotation_seed
        self.may_drop_rotation, self.layout = may_drop_rotation, layout
        self.grows, self.residual = grows and layout == "blocks" and not residual, residual

    @property
    def rotation(self):
        """The rotation, or None. It is drawn when first asked for: for a dim that a file lies about, never."""
        if self.rotation_seed is None:
            return None
        if self.drawn is None:
            self.drawn = HadamardRotation(self.dim, self.rotation_seed)
        return self.drawn

    @property
    def is_trained(self):
        """Whether centre and means are known."""
        return self.frame is not None

    @property
    def centre(self):
        """What is taken off every rotated row, float32 (dim,)."""
        return self.frame.centre

    @property
    def means(self):
        """The means about the centre, float32 (1 .. 256, dim)."""
        return self.frame.means

    @property
    def most_means(self):
        """How many means there can come to be."""
        return MAX_MEANS if self.grows else 1

    @property
    def code_size(self):
        """Bytes a row, cold ones included."""
        return self.new_codes().code_size

    def train(self, rows, *, seed=0, progress=None, origins=None):
        """Find the centre and the means about it from rows (n, dim), n >= n_means; decide what is open."""
        if len(rows) < max(self.n_means, 1):
            raise ValueError(
                f"LVQ with {self.n_means} means takes at least {self.n_means} rows to train, not {len(rows)}"
            )
        wanted = max(TRAINING_ROWS, ROWS_A_MEAN * self.n_means)
        sample = np.ascontiguousarray(rows[:: -(-len(rows) // wanted)])
        drops = self.may_drop_rotation and len(sample) >= PROBE_ROWS and not self._gains_by_rotation(sample)
        rotation = None if drops else self.rotation
        if rotation is not None:
            sample = rotation.apply(sample)
        centre = mean_of(sample)
        n_means = self.n_means or (CLUSTERED if is_clustered(sample - centre) else 1)
        if n_means == 1:
            means = np.zeros((1, self.dim), np.float32)
        else:
            means = kmeans(
                sample - centre, n_means, seed=seed, iterations=MEANS_ITERATIONS, progress=progress
            )
        # What the rows' energy about their means is now; later rows are held against it.
        level = float(self._trial(centre, means, sample)[1].mean(dtype=np.float64))
        self.rotation_seed = None if drops else self.rotation_seed
        self.n_means, self.may_drop_rotation = n_means, False
        self.frame, self.drift = Frame(rotation, centre, means), Drift(self.dim, level)

    def _trial(self, centre, means, sample):
        # Codes of a sample that is rotated already, and |r|^2 of its rows.
        codes = LVQBlocks(self.dim, self.bits, self.residual_bits, self.squared_l2)
        energy = np.empty(len(sample), np.float32)
        codes.resize(len(sample))
        encode_rows(Frame(None, centre, means), sample, codes, 0, energy, thread_count(0))
        return codes, energy

    def _gains_by_rotation(self, sample):
        # A grid's error is step^2 / 12 a dimension.
        some = np.ascontiguousarray(sample[:: len(sample) // PROBE_ROWS])
        errors = []
        for rows in (some, self.rotation.apply(some)):
            tables = self._trial(mean_of(rows), np.zeros((1, self.dim), np.float32), rows)[0].tables
            errors.append(float(np.square(tables["steps"].rows, dtype=np.float64).mean()))
        return errors[1] < ROTATION_GAIN * errors[0]

    def new_codes(self):
        """Return empty tables."""
        if self.layout == "rows":
            return LVQRows(self.dim, self.bits, self.residual_bits)
        return LVQBlocks(
            self.dim, self.bits, self.residual_bits, self.squared_l2, self.grows, self.residual
        )

    def encode(self, rows, Codes codes=None, origins=None):
        """Append the codes of rows (n, dim) to `codes`; O(dim log dim + n_means dim) a row."""
        codes = self.new_codes() if codes is None else codes
        cdef Py_ssize_t first = len(codes)
        rows = np.ascontiguousarray(rows, np.float32)
        energy = np.empty(len(rows), np.float32)
        codes.own()
        codes.resize(first + len(rows))
        if len(rows):
            if self.residual and self.rotation is not None:
                origins = self.rotation.apply(origins)
            encode_rows(
                self.frame, rows, codes, first, energy, thread_count(0), origins if self.residual else None
            )
            if self.grows and self._watch(rows, energy):
                # These rows showed that a mean was missing, so they shall have it too.
                encode_rows(self.frame, rows, codes, first, energy, thread_count(0))
        return codes

    def _watch(self, rows, energy):
        # Add a mean where the rows of late call for one. Means are only ever added, so that old codes stay
        # valid.
        if len(self.means) == MAX_MEANS or not self.drift.notices(rows, energy):
            return False
        mean = self.drift.take_mean()
        if mean is None:
            return False
        if self.rotation is not None:
            mean = self.rotation.apply(mean[None])[0]
        means = np.concatenate([self.means, (mean - self.centre)[None]])
        self.frame = Frame(self.rotation, self.centre, means)
        return True

    def decode(self, Codes codes, slots=None):
        """Return the rows that the codes of these slots stand for, both levels, rotated back."""
        which = np.arange(len(codes)) if slots is None else np.ascontiguousarray(slots, np.int64)
        out = np.empty((len(which), self.dim), np.float32)
        if len(which):
            self.scorer(np.zeros((1, self.dim), np.float32), codes, 1).decode_into(which, out)
            out += self.centre
            if self.rotation is not None:
                out = self.rotation.invert(out)
        return out

    def scorer(self, queries, Codes codes, int workers):
        """Return queries ready to be scored against codes."""
        kind = LVQRowScorer if self.layout == "rows" else LVQScorer
        return kind(self.frame, self.squared_l2, queries, codes, workers)

    def pairs(self, Codes codes, int workers, bint most=False):
        """Return rows ready to be compared with each other; layout "rows" only."""
        if self.layout != "rows":
            raise TypeError('rows are compared with each other in layout "rows" only')
        return LVQPairs(codes, workers)

    def learned(self):
        """Return what training and later rows have taught, for `unlearn`."""
        return self.rotation_seed, self.n_means, self.may_drop_rotation, self.frame, copy(self.drift)

    def unlearn(self, learned):
        """Go back to what `learned` gave."""
        self.rotation_seed, self.n_means, self.may_drop_rotation, self.frame, self.drift = learned

    def state(self):
        """Return what a file holds of training: centre, means and the watch for drift."""
        if not self.is_trained:
            return {"trained": False}, {}
        fields, sums = self.drift.state()
        # Where rotation is no option of the index, a file has to say that training dropped it.
        dropped = {"rotated": False} if not self.grows and self.rotation_seed is None else {}
        return {"trained": True, "drift": fields, **dropped}, {
            "centre": self.centre, "means": self.means, "drift_sums": sums,
        }

    def restore(self, header, sections):
        """Take what `state` gave, as read from a file."""
        if not field(header, "trained", bool):
            return
        means = sections.take("means", np.float32, (None, self.dim))
        if not 1 <= len(means) <= self.most_means:
            raise sections.fault("means", f"holds {len(means)} means, expected 1 to {self.most_means}")
        centre = sections.take("centre", np.float32, (self.dim,))
        sums = sections.take("drift_sums", np.float64, (self.dim,))
        for name, array in (("centre", centre), ("means", means), ("drift_sums", sums)):
            if not np.isfinite(array).all():
                raise sections.fault(name, "holds a NaN or infinite value")
        if not self.grows and "rotated" in header and not field(header, "rotated", bool):
            self.rotation_seed = None
        self.may_drop_rotation = self.may_drop_rotation and self.grows
        drift = Drift.restored(field(header, "drift", dict), sums)
        self.frame, self.drift = Frame(self.rotation, np.array(centre), np.array(means)), drift


def mean_of(rows):
    """Return the mean of rows (n, dim), float32 (dim,), summed in float64."""
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32)


def is_clustered(residuals):
    """Return whether rows (n, dim) about their centre fall into tight, distinct clusters.

    Rows are chosen one by one, each the farthest from those before (Gonzalez, 1985), as many as there would
    be means. In clusters the others then lie nearer to one of these than to the centre: twice their cluster's
    energy away on average, where unclustered rows are as far from any row as from the next.
    """
    if len(residuals) < PROBE_ROWS:
        return False
    some = np.ascontiguousarray(residuals[:: len(residuals) // PROBE_ROWS])
    cdef const float[:, ::1] rows = some
    cdef size_t n = rows.shape[0], farthest = 0, i
    nearest, distance = np.full(n, np.inf, np.float32), np.empty(n, np.float32)
    cdef float[::1] best = nearest, now = distance
    for _ in range(CLUSTERED):
        active().squared_l2(&rows[farthest, 0], 1, &rows[0, 0], n, rows.shape[1], &now[0], n)
        for i in range(n):
            if now[i] < best[i]:
                best[i] = now[i]
        farthest = nearest.argmax()
    left = nearest.sum(dtype=np.float64) / (n - CLUSTERED)
    return bool(left < CLUSTERED_ENERGY * np.square(some, dtype=np.float64).sum() / n)
