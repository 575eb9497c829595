"""The specification: every kernel and algorithm of the ground floor again, in plain NumPy.

Nothing here is fast. Where the package promises the same bits at every CPU level, the order of the float32
operations is part of the promise, so this page keeps it too and tests compare with `==`; elsewhere it works
in float64. A row is always one vector (dim,), `rows` are several (n, dim).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

LANES = 16
one = np.float32(1)
half = np.float32(0.5)


# Scores of float32 rows


def scores(queries: F32, rows: F32, metric: str) -> F64:
    """Return sum_i (q_i - x_i)^2 for "l2", -sum_i q_i x_i for "ip": (n_queries, n_rows)."""
    q, x = queries.astype(np.float64)[:, None], rows.astype(np.float64)[None]
    found: F64 = np.square(q - x).sum(axis=2) if metric == "l2" else -(q * x).sum(axis=2)
    return found


def score_sizes(queries: F32, rows: F32, metric: str) -> F64:
    """Return the sums of the absolute terms of `scores`, which is what their rounding is relative to."""
    q, x = queries.astype(np.float64)[:, None], rows.astype(np.float64)[None]
    found: F64 = np.square(q - x).sum(axis=2) if metric == "l2" else np.abs(q * x).sum(axis=2)
    return found


# Packed16: 16 rows a block, four dimensions of each side by side in a line of 64 bytes


def pack(codes: U8, bits: int) -> U8:
    """Return the blocks (ceil(n / 16), lines, 64) of codes (n, dim), one byte each.

    Lane v (bytes 4v .. 4v + 3) of a block is row v. At 8 bits, byte j of it in line g is dimension 4g + j; at
    4 bits its low nibble is dimension 8g + j and its high one 8g + 4 + j. What is not there is 0.
    """
    n, dim = codes.shape
    a_line = 32 // bits
    blocks = np.zeros((-(-n // 16), -(-dim // a_line), 64), np.uint8)
    row, i = np.indices(codes.shape)
    shift = i % a_line // 4 * 4
    np.add.at(blocks, (row // 16, i // a_line, 4 * (row % 16) + i % 4), (codes << shift).astype(np.uint8))
    return blocks


def dots(codes: U8, queries: I8) -> I64:
    """Return sum_i q_i c_i, (n_queries, n)."""
    return queries.astype(np.int64) @ codes.astype(np.int64).T


# LVQ: the grid of a row


def lane_sum(values: F32) -> np.float32:
    """Return the float32 sum in the order of the kernels.

    Lane j adds up the values j, j + 16, j + 32, ...; then lanes 8, 4, 2 and 1 apart are added.
    """
    padded = np.zeros(-(-len(values) // LANES) * LANES, np.float32)
    padded[: len(values)] = values
    lanes: F32 = np.add.accumulate(padded.reshape(-1, LANES), axis=0)[-1]
    for apart in (8, 4, 2, 1):
        lanes = lanes[:apart] + lanes[apart:]
    return np.float32(lanes[0])


def round_half_up(values: F32, top: np.float32) -> F32:
    """Return the nearest whole number in 0 .. top, halves rounded up."""
    rounded: F32 = np.trunc(np.clip(values, np.float32(0), top) + half)
    return rounded


def min_max(row: F32, bits: int) -> tuple[np.float32, np.float32]:
    """Return low = min r and step = (max r - min r) / (2^bits - 1), 1 where that is next to nothing."""
    top = np.float32(2**bits - 1)
    step = (row.max() * half - row.min() * half) / (top * half)
    return row.min(), step if step > np.float32(1e-37) else one


def fit(row: F32, low: np.float32, step: np.float32, bits: int) -> tuple[np.float32, ...]:
    """Return (sum (r - low - step c)^2, sum c, sum c^2, sum c r) for the nearest codes c of a grid."""
    c = round_half_up((row - low) * (one / step), np.float32(2**bits - 1))
    error = row - (low + step * c)
    return lane_sum(error * error), lane_sum(c), lane_sum(c * c), lane_sum(c * row)


def multi_start(row: F32, bits: int) -> tuple[np.float32, np.float32]:
    """Return the (low, step) of least squared error among min-max and shrunk, then refitted grids.

    Each start shrinks the min-max range about the row's mean. A refit keeps the codes and solves for the grid
    that minimises sum (r - low - step c)^2:

        step = (n sum c r - sum c sum r) / (n sum c^2 - (sum c)^2)        low = (sum r - step sum c) / n
    """
    first_low, first_step = min_max(row, bits)
    n, total = np.float32(len(row)), lane_sum(row)
    mean = total / n
    best = first_low, first_step
    least = fit(row, *best, bits)[0]
    for shrink in np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5], np.float32):
        low, step = mean + (first_low - mean) * shrink, first_step * shrink
        for _ in range(4):  # the start itself and three refits
            error, c, c2, cr = fit(row, low, step, bits)
            if error < least:
                least, best = error, (low, step)
            spread = n * c2 - c * c
            step = (n * cr - c * total) / spread if spread > 0 else np.float32(0)
            if not step > np.float32(1e-37):
                break
            low = (total - step * c) / n
    return best


def quantise(row: F32, low: np.float32, step: np.float32, bits: int) -> tuple[U8, np.float32, np.float32]:
    """Return c = round((r - low) / step) in 0 .. 2^bits - 1, |r|^2, and <r, rhat> for rhat = low + step c."""
    c = round_half_up((row - low) / step, np.float32(2**bits - 1))
    return c.astype(np.uint8), lane_sum(row * row), lane_sum(row * (low + step * c))


def residual(row: F32, codes: U8, low: np.float32, step: np.float32, bits2: int) -> I8:
    """Return c2 = round((r - rhat) / step2), -2^(bits2 - 1) <= c2 < 2^(bits2 - 1), step2 = step / 2^bits2."""
    e = row - (low + step * codes.astype(np.float32))
    step2, half2 = step / np.float32(2**bits2), np.float32(2 ** (bits2 - 1))
    shifted = np.clip(e / step2 + half2 + half, np.float32(0), 2 * half2 - half)
    return (np.trunc(shifted) - half2).astype(np.int8)


def expand(codes: U8, codes2: I8 | None, low: np.float32, step: np.float32, scale2: int, mean: F32) -> F32:
    """Return mean + (low + step * (c * scale2 + c2)); without a second level, scale2 = 1 and c2 = 0."""
    both = codes.astype(np.int32) * (scale2 if codes2 is not None else 1)
    if codes2 is not None:
        both += codes2
    return mean + (low + step * both.astype(np.float32))


def correction(square: np.float32, product: np.float32) -> np.float32:
    """Return rho = |r|^2 / <r, rhat>, 1 where the sums are not fit for a ratio.

    Below 1e-36 float32 sums of squares have lost digits, and beyond the largest float32 they are infinite.
    """
    if all(1e-36 < value < np.inf for value in (square, product)):
        return square / product
    return one


def pack_nibbles(codes2: I8) -> U8:
    """Return signed nibbles two a byte, dimension 2i below 2i + 1."""
    padded = np.zeros(len(codes2) + len(codes2) % 2, np.uint8)
    padded[: len(codes2)] = codes2.view(np.uint8) & 15
    return (padded[0::2] | padded[1::2] << 4).astype(np.uint8)


def unpack_nibbles(packed: U8, dim: int) -> I8:
    """Undo `pack_nibbles`."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[:dim].astype(np.int8)
    return np.where(nibbles >= 8, nibbles - 16, nibbles).astype(np.int8)


# LVQ: scores of codes


def quantise_query(query: F32) -> tuple[np.float32, I8]:
    """Return scale = max |q| / 127 (1 where that is next to nothing), and v = round(q / scale), halves up."""
    most = np.abs(query).max()
    scale = most / np.float32(127) if most > np.float32(1e-35) else one
    shifted = np.clip(query / scale + np.float32(127.5), np.float32(0), np.float32(254.5))
    return scale, (np.trunc(shifted) - np.float32(127)).astype(np.int8)


def estimate(
    products: npt.NDArray[np.int32],
    steps: F32,
    lows: F32,
    norms: F32 | None,
    selectors: U8 | None,
    scale: float,
    total: float,
    offsets: F32,
) -> F32:
    """Return steps * (scale * products) + ((lows * total + norms) + offsets[selectors])."""
    constant = lows * np.float32(total)
    if norms is not None:
        constant = constant + norms
    if selectors is not None:
        constant = constant + offsets[selectors]
    found: F32 = steps * (np.float32(scale) * products.astype(np.float32)) + constant
    return found


# LVQ row by row: the codes of a row side by side, then step, low, norm and the codes' total


def lay(codes: U8, constants: F32, bits: int, stride: int) -> U8:
    """Return rows (n, stride) of codes (n, dim), one byte each, and constants (n, 3).

    8 bits take a byte each. At 4 bits the first half of the dimensions are low nibbles, the others the high
    ones of the same bytes. Bytes of codes are filled up to a multiple of 4; what is not there is 0.
    """
    n, dim = codes.shape
    size = -(-dim * bits // 32) * 4
    padded = np.zeros((n, size * 8 // bits), np.uint8)
    padded[:, :dim] = codes
    rows = np.zeros((n, stride), np.uint8)
    rows[:, :size] = padded if bits == 8 else padded[:, :size] | padded[:, size:] << 4
    rows[:, size : size + 12] = np.ascontiguousarray(constants).view(np.uint8)
    rows[:, size + 12 : size + 16] = codes.sum(axis=1, dtype=np.int32, keepdims=True).view(np.uint8)
    return rows


def near(
    codes: U8,
    constants: F32,
    query: I8,
    scale: float,
    offset: float,
    shift: float,
    least: float,
    with_norms: bool,
) -> F32:
    """Return max(least, step * (scale * dot + offset * total) + (low * sum + norm) + shift), NaN as NaN.

    The query is scale * values + offset, and `sum` that of its dimensions; `total` is that of a row's codes.
    """
    step, low, norm = constants.T
    times, plus, dim = np.float32(scale), np.float32(offset), np.float32(len(query))
    constant = low * (times * np.float32(query.sum(dtype=np.int64)) + plus * dim)
    if with_norms:
        constant = constant + norm
    dot, total = dots(codes, query[None])[0], codes.sum(axis=1, dtype=np.int64)
    product = step * (times * dot.astype(np.float32) + plus * total.astype(np.float32))
    found: F32 = np.maximum(product + constant + np.float32(shift), np.float32(least))
    return found


# The k best


def top_k(
    values: F32, k: int, allowed: npt.NDArray[np.bool_] | None = None, ids: I64 | None = None
) -> tuple[F32, I64]:
    """Return (scores, slots) of the k smallest scores among allowed slots; ties by lower id, NaN never."""
    slots = np.flatnonzero(~np.isnan(values) & (True if allowed is None else allowed))
    ties = slots if ids is None else ids[slots]
    best = slots[np.lexsort((ties, values[slots]))[:k]]
    return values[best] + np.float32(0), best


# Rotations


def hadamard(values: F32) -> F32:
    """Return H x, where H_1 = (1) and H_2n = (H_n  H_n; H_n  -H_n)."""
    x = values.copy()
    h = 1
    while h < len(x):
        u, v = np.moveaxis(x.reshape(-1, 2, h), 1, 0)
        x = np.stack([u + v, u - v], axis=1).reshape(-1)
        h *= 2
    return x


def rotation_signs(dim: int, seed: int) -> list[F32]:
    """Return the signs of each round: bit (round * dim + i) of PCG64's words, low bit first, set for -1."""
    rounds = 3 if dim & (dim - 1) == 0 else 6
    words = np.random.PCG64(seed).random_raw(-(-rounds * dim // 64))
    signs = np.array([1 - 2 * (int(word) >> j & 1) for word in words for j in range(64)], np.float32)
    return list(signs[: rounds * dim].reshape(rounds, dim))


def window(dim: int, number: int) -> slice:
    """Return what round `number` transforms: 2^p <= dim coordinates, at the front and the back by turns."""
    size = 1 << (dim.bit_length() - 1)
    first = dim - size if number % 2 else 0
    return slice(first, first + size)


def scaled_signs(dim: int, seed: int) -> list[F32]:
    """Return the signs with the transform's 1 / sqrt(2^p) inside each round's window."""
    found = []
    for number, signs in enumerate(rotation_signs(dim, seed)):
        part = window(dim, number)
        scaled = signs.copy()
        scaled[part] *= np.float32((part.stop - part.start) ** -0.5)
        found.append(scaled)
    return found


def fold(x: F32) -> F32:
    """Return (x_i +- x_(i + h)) / sqrt 2 for i < h = dim // 2; x itself where h is half the window, 2^p."""
    h = len(x) // 2
    if h == (1 << (len(x).bit_length() - 1)) // 2:
        return x
    u, v = x[:h] * np.float32(0.5**0.5), x[h : 2 * h] * np.float32(0.5**0.5)
    return np.concatenate([u + v, u - v, x[2 * h :]])


def rotate(row: F32, seed: int) -> F32:
    """Return R x: in each round signs, the transform of a window, a fold."""
    x = row.copy()
    for number, signs in enumerate(scaled_signs(len(row), seed)):
        x = x * signs
        part = window(len(row), number)
        x[part] = hadamard(x[part])
        x = fold(x)
    return x


def rotate_back(row: F32, seed: int) -> F32:
    """Return R^T x, the same steps from last to first; each undoes itself."""
    x = row.copy()
    for number, signs in reversed(list(enumerate(scaled_signs(len(row), seed)))):
        x = fold(x)
        part = window(len(row), number)
        x[part] = hadamard(x[part])
        x = x * signs
    return x


# LVQ, whole


@dataclass(frozen=True)
class Code:
    """One coded row: r ~ low + step c, the second level c2, and what scores need beside them."""

    selector: int
    codes: U8
    codes2: I8 | None
    low: np.float32
    step: np.float32
    rho: np.float32
    norm: float


@dataclass(frozen=True)
class LVQ:
    """A trained codec: r = R x - centre - means[s] is coded, R the rotation of a seed (None: no rotation)."""

    bits: int
    residual_bits: int
    squared_l2: bool
    centre: F32
    means: F32
    seed: int | None = None

    def turned(self, row: F32) -> F32:
        """Return R x."""
        return row if self.seed is None else rotate(row, self.seed)

    def distances(self, row: F32) -> F64:
        """Return |R x - centre - mean|^2 of every mean; a row is coded about the nearest."""
        found: F64 = scores((self.turned(row) - self.centre)[None], self.means, "l2")[0]
        return found

    def remainder(self, row: F32, selector: int) -> F32:
        """Return r."""
        r: F32 = self.turned(row) - self.centre - self.means[selector]
        return r

    def encode(self, row: F32, selector: int) -> Code:
        """Return the code of a row about one of the means.

        Constants are final before codes are made of them. Fitted grids clip the ends of a row, which a second
        level could not make good, so only one-level codes of 4 bits have them.
        """
        r = self.remainder(row, selector)
        fitted = self.bits == 4 and self.residual_bits == 0
        low, step = multi_start(r, self.bits) if fitted else min_max(r, self.bits)
        codes, square, product = quantise(r, low, step, self.bits)
        codes2 = residual(r, codes, low, step, self.residual_bits) if self.residual_bits else None
        rho = correction(square, product)
        mean, rhat = self.means[selector].astype(np.float64), expand(codes, None, low, step, 1, 0 * r)
        norm = float(mean @ mean + square + 2 * float(rho) * (mean @ rhat))
        return Code(selector, codes, codes2, low, step, rho, norm)

    def about_centre(self, code: Code) -> F32:
        """Return mean + rhat from every level there is, with low and step as they are stored: times rho."""
        levels = 2**self.residual_bits
        low, step = (code.rho * code.low) / code.rho, (code.rho * code.step) / code.rho
        mean = self.means[code.selector]
        return expand(code.codes, code.codes2, low, step / np.float32(levels), levels, mean)

    def decode(self, code: Code) -> F32:
        """Return the row that a code stands for."""
        x = self.about_centre(code) + self.centre
        return x if self.seed is None else rotate_back(x, self.seed)

    def centred(self, query: F32) -> F32:
        """Return q': R q - centre for "l2", R q for "ip"."""
        return self.turned(query) - self.centre if self.squared_l2 else self.turned(query)

    def first_level(self, code: Code) -> F64:
        """Return rho rhat, which is what scores take a row of one level for."""
        rhat = float(code.low) + float(code.step) * code.codes.astype(np.float64)
        return float(code.rho) * rhat

    def estimate(self, query: F32, code: Code, along: float) -> float:
        """Return the score from the first level, smaller is nearer, where along = <q', rho rhat>.

        ip   -along - <q', mean> - <R q, centre>            l2   |q'|^2 + norm - 2 along - 2 <q', mean>
        """
        q = self.centred(query).astype(np.float64)
        product = along + float(q @ self.means[code.selector])
        if self.squared_l2:
            return float(q @ q) + code.norm - 2 * product
        return -product - float(q @ self.centre)

    def scan_score(self, query: F32, code: Code) -> float:
        """Return the estimate of a scan: `along` from the int8 values of q'."""
        scale, values = quantise_query(self.centred(query))
        return self.estimate(query, code, float(scale) * float(values @ self.first_level(code)))

    def between(self, a: Code, b: Code) -> float:
        """Return the squared L2 distance of two rows as first levels have it; of one mean, which is zero."""
        return max(a.norm + b.norm - 2 * float(self.first_level(a) @ self.first_level(b)), 0.0)

    def last_score(self, query: F32, code: Code) -> float:
        """Return the score of a candidate: that of the decoded row, or of one level with q' as it is."""
        if self.residual_bits:
            metric = "l2" if self.squared_l2 else "ip"
            return float(scores(query[None], self.decode(code)[None], metric)[0, 0])
        return self.estimate(query, code, float(self.centred(query) @ self.first_level(code)))
