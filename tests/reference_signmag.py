"""Sign-magnitude codes again, in plain NumPy, and the published distances by their own definitions.

Where the package promises the same bits at every CPU level the order of operations is kept, so tests compare
with `==`: sums are float64 in 16 lanes or one after the other, and rounded once.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reference import F32, F64, I64, U8, rotate, rotate_back

U64 = npt.NDArray[np.uint64]
B = npt.NDArray[np.bool_]

LANES = 16
STEPS = {2: 0.98, 4: 0.3352}


# Digits


def lane_sum(values: F64) -> np.float64:
    """Return the float64 sum of 16 lanes; then lanes 8, 4, 2 and 1 apart are added."""
    padded = np.zeros(-(-len(values) // LANES) * LANES)
    padded[: len(values)] = values
    lanes: F64 = np.add.accumulate(padded.reshape(-1, LANES), axis=0)[-1]
    for apart in (8, 4, 2, 1):
        lanes = lanes[:apart] + lanes[apart:]
    return np.float64(lanes[0])


def one_by_one(values: F64) -> np.float64:
    """Return the float64 sum from the first to the last."""
    return np.float64(np.add.accumulate(values)[-1])


def measure(y: F32) -> tuple[np.float64, np.float64]:
    """Return sum y^2 and sum |y|."""
    wide = y.astype(np.float64)
    return lane_sum(wide * wide), lane_sum(np.abs(wide))


def digits(y: F32, step: np.float32, bits: int) -> tuple[U8, np.float64]:
    """Return the digits of y, and sum k |y|, k being how many of step, 2 step, .. lie below |y|."""
    half = 2 ** (bits - 1)
    thresholds = np.arange(1, half, dtype=np.float32) * step
    k = (np.abs(y)[:, None] > thresholds).sum(axis=1)
    found = np.where(y > 0, half + k, half - 1 - k).astype(np.uint8)
    return found, lane_sum(np.abs(y).astype(np.float64) * k)


def whole_numbers(digit: U8, bits: int, a: int) -> I64:
    """Return X = a P + T of two bits, or 8 U3 + 4 U2 + 2 U1 + U0 of four; +1 where a bit is set, else -1."""
    weights = (1, a) if bits == 2 else (1, 2, 4, 8)
    found = np.zeros(digit.shape, np.int64)
    for b, weight in enumerate(weights):
        found += weight * (2 * (digit.astype(np.int64) >> b & 1) - 1)
    return found


# Planes


def words(bits: B) -> U64:
    """Return bits (.., n) as words (.., ceil(n / 64)): bit j of word w is number 64 w + j, 0 past the end."""
    padded = np.zeros((*bits.shape[:-1], -(-bits.shape[-1] // 64) * 64), bool)
    padded[..., : bits.shape[-1]] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view(np.uint64)


def row_words(digit: U8) -> U64:
    """Return the words of a row, p0 t0 p1 t1 .., from digits (.., n) of two bits."""
    both = np.stack([words(digit >> 1 & 1 == 1), words(digit & 1 == 1)], axis=-1)
    return both.reshape(*digit.shape[:-1], -1)


def query_planes(digit: U8, bits: int) -> U64:
    """Return the planes of a query (bits, words), each word twice, filled up to whole blocks of eight."""
    planes = np.stack([words(digit >> b & 1 == 1) for b in range(bits)]).repeat(2, axis=1)
    filled = np.zeros((bits, -(-planes.shape[1] // 8) * 8), np.uint64)
    filled[:, : planes.shape[1]] = planes
    return filled


def score(
    dot: I64,
    factor: F32 | np.float32,
    base: F32 | np.float32,
    query_factor: np.float32,
    query_base: np.float32,
) -> F32:
    """Return (base + query_base) - (factor * query_factor) * dot."""
    found: F32 = (base + query_base) - (factor * query_factor) * dot.astype(np.float32)
    return found


# The codec


@dataclass(frozen=True)
class SignMag:
    """A trained codec; a query of four bits has the same definition as a row, with more digits."""

    squared_l2: bool
    levels: str
    distance: str
    mean: F32
    seed: int | None

    @property
    def a(self) -> int:
        return {"1:3": 2, "1:2": 3}[self.levels]

    @property
    def c(self) -> int:
        """How many times its level X is."""
        return self.a - 1

    @property
    def times(self) -> np.float32:
        return np.float32(2 if self.distance in ("corrected", "code") else 1)

    def turned(self, row: F32) -> F32:
        """Return y = R (v - mean)."""
        y: F32 = row - self.mean
        return y if self.seed is None else rotate(y, self.seed)

    def code(self, row: F32, bits: int = 2) -> tuple[U8, np.float32, np.float32]:
        """Return the digits, the factor and the norm of a vector."""
        y = self.turned(row)
        square, absolute = measure(y)
        mean_size = bits == 2 and self.levels == "1:2"
        step = np.float32(absolute / len(y) if mean_size else STEPS[bits] * np.sqrt(square / len(y)))
        digit, beyond = digits(y, step, bits)
        if self.distance == "corrected":
            product = (self.c if bits == 2 else 1) * absolute + 2 * beyond
            factor = np.float32(square / product) if product > 0 else np.float32(0)
            return digit, factor, np.float32(min(square, float(np.finfo(np.float32).max)))
        x = whole_numbers(digit, 2, self.a) / self.c
        norm = x @ x if self.distance == "code" else {"1:3": 9, "1:2": 4}[self.levels] * len(x) / 2
        return digit, np.float32(1 / self.c), np.float32(norm)

    def along_mean(self, row: F32) -> np.float64:
        return one_by_one(row.astype(np.float64) * self.mean)

    def near(self, query: F32, row: F32, bits: int = 2) -> np.float32:
        """Return the score of a row, from queries of two or four bits."""
        u, query_factor, query_norm = self.code(query, bits)
        digit, factor, norm = self.code(row)
        if self.distance == "hamming":
            return np.float32(hamming(*(whole_numbers(d, 2, self.a) / self.c for d in (u, digit))))
        dot = whole_numbers(u, bits, self.a) @ whole_numbers(digit, 2, self.a)
        if self.distance == "corrected" and not self.squared_l2:
            base = np.float32(-self.along_mean(row))
            shift = np.float32(self.along_mean(self.mean) - self.along_mean(query))
            return np.float32(score(dot, factor, base, query_factor, shift))
        return np.float32(score(dot, factor, norm, self.times * query_factor, query_norm))

    def apart(self, one: F32, other: F32) -> np.float32:
        """Return the distance between two rows as their codes have it."""
        (u, f, n), (v, g, m) = self.code(one), self.code(other)
        dot = whole_numbers(u, 2, self.a) @ whole_numbers(v, 2, self.a)
        return np.float32(score(dot, g, m, self.times * f, n))

    def decode(self, row: F32) -> F64:
        """Return the multiple of its levels that is nearest to a row; of length 1 if no length is kept."""
        digit, factor, norm = self.code(row)
        x = whole_numbers(digit, 2, self.a).astype(np.float64)
        if self.distance != "corrected":
            x /= np.sqrt(x @ x)
        else:
            x *= 0 if factor == 0 else norm / (float(factor) * (x @ x))
        back = x.astype(np.float32) if self.seed is None else rotate_back(x.astype(np.float32), self.seed)
        found: F64 = back.astype(np.float64) + self.mean
        return found


# As published: signs p, strong bits s, levels 1 and 2


def published_levels(row: F32) -> I64:
    """Return +-1, +-2 of a row: sign by v > 0, strong by |v| > mean |v|."""
    wide = row.astype(np.float64)
    strong = np.abs(wide) > np.abs(wide).mean()
    found: I64 = np.where(wide > 0, 1, -1) * (1 + strong)
    return found


def hamming(one: I64 | F64, other: I64 | F64) -> int:
    """Return how many signs differ plus how many strengths do."""
    signs = (one > 0) != (other > 0)
    strengths = (np.abs(one) > 1) != (np.abs(other) > 1)
    return int(signs.sum() + strengths.sum())


def weighted(one: I64, other: I64) -> int:
    """Return 4 dim - <one, other>."""
    return int(4 * len(one) - one @ other)
