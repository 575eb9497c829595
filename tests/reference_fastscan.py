"""FastScan again, in plain NumPy: blocks, sums, tables and estimates by their definitions.

Where the package promises the same bits at every CPU level the order of operations is kept, so tests compare
with `==`.
"""

import numpy as np
import numpy.typing as npt

from reference import F32, U8

U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]

FOUR = 4  # groups of 64 vectors that share three lines of bytes


# Codes in blocks


def order(n_bytes: int) -> npt.NDArray[np.int64]:
    """Return which vector each byte is: even bytes the first half, odd ones the second."""
    found: npt.NDArray[np.int64] = np.arange(n_bytes).reshape(2, -1).T.ravel()
    return found


def unpack32(block: U8, groups: int) -> U8:
    """Return the codes (32, groups) of a block."""
    lines = block.reshape(groups, 16)
    codes = np.empty((32, groups), np.uint8)
    codes[order(16)] = (lines & 15).T
    codes[16 + order(16)] = (lines >> 4).T
    return codes


def unpack64(block: U8, groups: int) -> U8:
    """Return the codes (64, groups) of a block."""
    lines = block.reshape(groups // FOUR, 3, 64)
    codes = np.empty((64, groups // FOUR, FOUR), np.uint8)
    pairs = lines >> 6
    codes[order(64), :, :3] = (lines & 63).transpose(2, 0, 1)
    codes[order(64), :, 3] = (pairs[:, 0] | pairs[:, 1] << 2 | pairs[:, 2] << 4).T
    return codes.reshape(64, groups)


def unpack(block: U8, n: int, groups: int) -> U8:
    """Return the codes (n, groups) of a block of 32 or 64 vectors."""
    return unpack32(block, groups) if n == 32 else unpack64(block, groups)


# Sums and what they stand for


def sums(planes: U8, tables: U8) -> U32:
    """Return the sums (n,) of planes of codes (planes, n, groups) from tables (groups, 16 or 64)."""
    entries = tables[np.arange(len(tables)), planes].astype(np.int64)
    weights = 1 << np.arange(len(planes))
    found: U32 = (entries.sum(axis=2) * weights[:, None]).sum(axis=0).astype(np.uint32)
    return found


def widened(upper: U16) -> F32:
    """Return bfloat16 as float32."""
    return (upper.astype(np.uint32) << 16).view(np.float32)


def estimates(
    sums: U32, adds: U16, rescales: U16, base: np.float32, step: np.float32, shift: np.float32
) -> F32:
    """Return (adds + base) + rescales * (step * sums + shift)."""
    found: F32 = (widened(adds) + base) + widened(rescales) * (step * sums.astype(np.float32) + shift)
    return found


# Tables


def subset_tables(y: F32, width: int) -> F32:
    """Return tables (groups, 2^width): an entry is the one without its highest bit, and that coordinate."""
    whole = 4 if width == 4 else FOUR * width
    groups = np.zeros(-(-len(y) // whole) * whole, np.float32)
    groups[: len(y)] = y
    tables = np.zeros((len(groups) // width, 1), np.float32)
    for coordinate in groups.reshape(-1, width).T:
        tables = np.hstack([tables, tables + coordinate[:, None]])
    return tables


def quantise_tables(tables: F32, most: int) -> tuple[U8, np.float32, np.float32]:
    """Return bytes 0 .. most, the step, and the sum of every table's least entry, in four lanes."""
    least, largest = tables.min(axis=1), tables.max(axis=1)
    step = (largest - least).max() / np.float32(most)
    if not step > np.float32(1e-37):
        step = np.float32(1)
    t = (tables - least[:, None]) * (np.float32(1) / step) + np.float32(0.5)
    padded = np.zeros(-(-len(least) // 4) * 4)
    padded[: len(least)] = least
    a, b, c, d = np.add.accumulate(padded.reshape(-1, 4), axis=0)[-1]
    return np.minimum(t, np.float32(most)).astype(np.uint8), step, np.float32((a + c) + (b + d))
