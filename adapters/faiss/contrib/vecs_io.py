"""Vectors in files: fvecs, ivecs and bvecs, whose rows begin with their number of dimensions."""

import os

import numpy as np
import numpy.typing as npt

from ..arrays import F32, U8
from ..errors import DimensionError, IndexFileError

I32 = npt.NDArray[np.int32]
Path = str | os.PathLike[str]


def ivecs_mmap(fname: Path) -> I32:
    """Return the rows of a file of int32, mapped: (n, d)."""
    words = np.memmap(fname, np.int32, "r") if os.path.getsize(fname) >= 4 else np.empty(0, np.int32)
    if not len(words):
        raise IndexFileError(f"{fname} holds no vectors")
    d = int(words[0])
    if d < 1 or len(words) % (d + 1):
        raise IndexFileError(f"{fname} is no file of vectors: {len(words)} words, the first says {d} a row")
    return words.reshape(-1, d + 1)[:, 1:]


def fvecs_mmap(fname: Path) -> F32:
    """Return the rows of a file of float32, mapped: (n, d)."""
    return ivecs_mmap(fname).view(np.float32)


def bvecs_mmap(fname: Path) -> U8:
    """Return the rows of a file of bytes, mapped: (n, d)."""
    if os.path.getsize(fname) < 4:
        raise IndexFileError(f"{fname} holds no vectors")
    data = np.memmap(fname, np.uint8, "r")
    d = int(data[:4].view(np.int32)[0])
    if d < 1 or len(data) % (d + 4):
        raise IndexFileError(f"{fname} is no file of vectors: {len(data)} bytes, the first say {d} a row")
    return data.reshape(-1, d + 4)[:, 4:]


def ivecs_read(fname: Path) -> I32:
    """Return the rows of a file of int32, (n, d)."""
    return np.array(ivecs_mmap(fname))


def fvecs_read(fname: Path) -> F32:
    """Return the rows of a file of float32, (n, d)."""
    return np.array(fvecs_mmap(fname))


def ivecs_write(fname: Path, m: npt.ArrayLike) -> None:
    """Write rows of int32, (n, d)."""
    rows = np.ascontiguousarray(m, np.int32)
    if rows.ndim != 2:
        raise DimensionError(f"vectors must be (n, d), not {rows.shape}")
    sizes = np.full((len(rows), 1), rows.shape[1], np.int32)
    np.concatenate([sizes, rows], axis=1).tofile(fname)


def fvecs_write(fname: Path, m: npt.ArrayLike) -> None:
    """Write rows of float32, (n, d)."""
    ivecs_write(fname, np.ascontiguousarray(m, np.float32).view(np.int32))
