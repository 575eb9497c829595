"""Codes of links again, in plain NumPy: RaBitQ, 4-bit PQ, and the front of a walk by their estimates.

Codes decide, so they are the package's to the bit: float32 where it has float32, sums of float64 in its
order. Everything after a code is float64.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

import reference_fastscan as fastscan
from reference import F32, F64, U8, expand

U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]

LANES = 16
STEPS, FINER = 16, 1.08
#: By how much <g, q> ls is off, over ls |q - c|: root mean square of one bit a dimension.
SPREAD = 0.301


# Sums


def lane_total(terms: F64) -> float:
    """Return the sum in 16 lanes, which are then added up by halves."""
    padded = np.zeros(-(-len(terms) // LANES) * LANES)
    padded[: len(terms)] = terms
    lanes = np.add.accumulate(padded.reshape(-1, LANES), axis=0)[-1]
    for apart in (8, 4, 2, 1):
        lanes = lanes[:apart] + lanes[apart : 2 * apart]
    return float(lanes[0])


def in_turn(terms: F64) -> float:
    """Return the sum of terms one after the other."""
    return float(np.add.accumulate(np.concatenate([[0.0], terms.ravel()]))[-1])


def wide(values: npt.ArrayLike) -> F64:
    """Return float64."""
    found: F64 = np.asarray(values).astype(np.float64)
    return found


def subtract(o: F32, c: F32) -> tuple[F32, float, float]:
    """Return r = o - c, |r|^2 and <r, c>."""
    r = o - c
    return r, lane_total(wide(r) ** 2), lane_total(wide(r) * wide(c))


# RaBitQ


def levels_of(r: F32, inverse: np.float32, most: int) -> npt.NDArray[np.int64]:
    """Return k = min(floor(|r| inverse), most)."""
    with np.errstate(invalid="ignore", over="ignore"):
        level = np.abs(r) * inverse
    k = np.full(len(r), most, np.int64)
    below = level < most
    k[below] = level[below].astype(np.int64)
    return k


def fit(r: F32, inverse: np.float32, most: int) -> tuple[float, float]:
    """Return <r, g> and |g|^2."""
    size = levels_of(r, inverse, most) + 0.5
    return lane_total(wide(np.abs(r)) * size), lane_total(wide(size**2))


def finest(r: F32, bits: int) -> np.float32:
    """Return the inverse of the grid's step, of 16 of which the largest <r, g> / |g| is taken."""
    most, largest = 2 ** (bits - 1) - 1, float(np.abs(r).max())
    if most == 0 or largest == 0:
        return np.float32(0)
    inverse, highest, best = (most + 1) / largest, -1.0, np.float32(0)
    for _ in range(STEPS):
        with np.errstate(over="ignore"):
            tried = np.float32(inverse)
        along, square = fit(r, tried, most)
        if along / np.sqrt(square) > highest:
            highest, best = along / np.sqrt(square), tried
        inverse *= FINER
    return best


def code(r: F32, c: F32, inverse: np.float32, most: int) -> tuple[U8, float, float]:
    """Return u, <r, g> and <g, c>."""
    k = levels_of(r, inverse, most)
    u = np.where(r > 0, most + 1 + k, most - k)
    g = np.where(r > 0, k + 0.5, -(k + 0.5))
    return u.astype(np.uint8), lane_total(wide(np.abs(r)) * (k + 0.5)), lane_total(g * wide(c))


def planes_of(u: U8, bits: int, width: int) -> U8:
    """Return the bits of u, plane by plane, as the numbers of entries: (bits, groups)."""
    whole = 4 if width == 4 else 24
    padded = np.zeros(-(-len(u) // whole) * whole, np.uint8)
    padded[: len(u)] = u
    of_planes = padded >> np.arange(bits)[:, None] & 1
    found: U8 = (of_planes.reshape(bits, -1, width) << np.arange(width)).sum(axis=2).astype(np.uint8)
    return found


def direction(planes: U8, width: int, dim: int) -> F64:
    """Return g, which planes (bits, groups) stand for."""
    bits = planes[:, :, None] >> np.arange(width) & 1
    u = (bits.reshape(len(planes), -1)[:, :dim].astype(np.int64) << np.arange(len(planes))[:, None]).sum(
        axis=0
    )
    found: F64 = u - (2 ** len(planes) - 1) / 2
    return found


# PQ


def assign(r: F32, c: F32, book: F32, scale: np.float32) -> tuple[U8, float, float]:
    """Return the nearest of centroids (groups, width, 16) to each group of scale * r, <r, g> and <g, c>."""
    groups, width, _ = book.shape
    distances = np.zeros((groups, 16), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for i, values in enumerate((scale * r).reshape(groups, width).T):
            off = values[:, None] - book[:, i]
            distances += off * off
    codes = distances.argmin(axis=1)
    g = wide(book[np.arange(groups), :, codes])
    along, inner = (in_turn(g * wide(x).reshape(groups, width)) for x in (r, c))
    return codes.astype(np.uint8), along, inner


def in_groups(x: F32, width: int) -> F32:
    """Return x, filled up to whole groups."""
    padded = np.zeros(-(-len(x) // width) * width, np.float32)
    padded[: len(x)] = x
    return padded


# What a link's score is, given that of the vertex


@dataclass(frozen=True)
class Link:
    """A coded step: codes (planes, groups), what they say of its direction, and the two factors."""

    codes: U8
    g: F64
    add: float
    rescale: float

    def estimate(self, base: float, y: npt.ArrayLike) -> float:
        """Return the score of o for a query y, where c has the score `base`."""
        return base + self.add + self.rescale * float(self.g @ wide(y))


def factors(squared_l2: bool, more: float, sums: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return add and rescale from |o|^2 - |c|^2, and |r|^2, <r, c>, <r, g> and <g, c>."""
    square, with_centre, along, code_with_centre = sums
    if not (square > 0 and along > 0):
        return more if squared_l2 else 0.0, 0.0
    ls = square / along
    off = with_centre - ls * code_with_centre
    return (more - 2 * off, -2 * ls) if squared_l2 else (-off, -ls)


def rabitq(o: F32, c: F32, bits: int, width: int, squared_l2: bool, more: float) -> Link:
    """Return the step from c to o, coded by RaBitQ."""
    r, square, with_centre = subtract(o, c)
    u, along, code_with_centre = code(r, c, finest(r, bits), 2 ** (bits - 1) - 1)
    found = factors(squared_l2, more, (square, with_centre, along, code_with_centre))
    return Link(planes_of(u, bits, width), u - (2**bits - 1) / 2, *found)


def pq4(o: F32, c: F32, book: F32, squared_l2: bool, more: float) -> Link:
    """Return the step from c to o, coded by the nearest centroids to its direction."""
    groups, width, _ = book.shape
    r, square, with_centre = subtract(o, c)
    with np.errstate(over="ignore"):
        scale = np.float32(1 / np.sqrt(square)) if square > 0 else np.float32(0)
    codes, along, code_with_centre = assign(in_groups(r, width), in_groups(c, width), book, scale)
    found = factors(squared_l2, more, (square, with_centre, along, code_with_centre))
    return Link(codes[None], wide(book[np.arange(groups), :, codes]).ravel()[: len(o)], *found)


def gap(o: F32, c: F32) -> float:
    """Return |o|^2 - |c|^2."""
    return float(wide(o) @ wide(o) - wide(c) @ wide(c))


# Rows of links


def half(values: npt.ArrayLike) -> U16:
    """Return the nearest bfloat16, ties to even."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    found: U16 = (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype(np.uint16)
    return found


@dataclass(frozen=True)
class Block:
    """32 or 64 links of a vertex: codes (planes, lanes, groups) and bfloat16 factors (lanes,)."""

    codes: U8
    adds: U16
    rescales: U16


def blocks_of(row: U8, degree: int, lanes: int, planes: int, groups: int) -> list[Block]:
    """Return what a vertex's row of bytes holds."""
    plane = groups * (16 if lanes == 32 else 48)
    size = planes * plane + 4 * lanes
    found = []
    for block in row[: degree // lanes * size].reshape(-1, size):
        codes = [fastscan.unpack(part, lanes, groups) for part in block[: planes * plane].reshape(-1, plane)]
        adds, rescales = np.ascontiguousarray(block[planes * plane :]).view(np.uint16).reshape(2, lanes)
        found.append(Block(np.stack(codes), adds, rescales))
    return found


def framed(rows: U8, dim: int, about: F32) -> tuple[F32, F32]:
    """Return what rows of LVQ codes stand for in their frame, moved by `about`, and the norms they hold."""
    size = -(-dim // 4) * 4
    step, low, norm = np.ascontiguousarray(rows[:, size : size + 12]).view(np.float32).T
    x = [expand(rows[i, :dim], None, low[i], step[i], 1, about) for i in range(len(rows))]
    return np.stack(x), norm


# The front of a walk


@dataclass
class Front:
    """Places of the best vertices: [estimate, slot, whether it is left to be expanded].

    A vertex that comes again gets the least of its estimates, unless it was expanded: then it never comes in
    again. Where all places are taken the greatest estimate's goes to whoever has a lesser one. Of vertices
    that never came in before, as many do as there is memory to know them.
    """

    most: int
    left: int
    places: list[tuple[float, int, bool]] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    expanded: set[int] = field(default_factory=set)
    errors: list[float] = field(default_factory=list)

    @property
    def worst(self) -> float:
        """What an estimate must lie below."""
        return max(self.places)[0] if len(self.places) == self.most else np.inf

    def _of(self, slot: int) -> int | None:
        return next((at for at, place in enumerate(self.places) if place[1] == slot), None)

    def push(self, score: float, slot: int) -> None:
        """Let a vertex come in."""
        if not score < self.worst or slot in self.expanded:
            return
        if slot not in self.known and len(self.known) == self.left:
            return
        self.known.add(slot)
        at = self._of(slot)
        if at is not None:
            self.places[at] = min(self.places[at], (score, slot, True))
        elif len(self.places) < self.most:
            self.places.append((score, slot, True))
        else:
            scores = [place[0] for place in self.places]
            self.places[scores.index(max(scores))] = (score, slot, True)

    def pop(self, most: float) -> tuple[int, float] | None:
        """Take the best vertex that is left, of several the one in the first place."""
        open_now = [(score, at) for at, (score, _, is_open) in enumerate(self.places) if is_open]
        if not open_now or min(open_now)[0] > most:
            return None
        score, at = min(open_now)
        slot = self.places[at][1]
        self.places[at] = score, slot, False
        self.expanded.add(slot)
        return slot, score

    def learn(self, score: float, estimate: float) -> None:
        """Note how far an estimate was off."""
        if score != estimate:
            self.errors.append(score - estimate)

    def limit(self, enough: float) -> float:
        """Return the estimate beyond which a vertex is not likely to be better than `enough`."""
        return float(enough - np.mean(self.errors) + 4 * np.std(self.errors)) if self.errors else np.inf
