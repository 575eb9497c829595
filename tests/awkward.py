"""Inputs made to break careless code.

Sizes that fill no register, values at the ends of float32, and memory whose next byte may not be touched.
"""

import ctypes
import mmap
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

F32 = npt.NDArray[np.float32]
T = TypeVar("T", bound=np.generic)

DIMS = (1, 7, 16, 31, 63, 64, 65, 96, 127, 128, 129, 768, 1000, 1536, 2000)

Maker = Callable[[np.random.Generator, int], npt.NDArray[np.floating]]


def _one_outlier(rng: np.random.Generator, dim: int) -> npt.NDArray[np.floating]:
    row = rng.standard_normal(dim)
    row[rng.integers(dim)] = 1e4
    return row


#: Rows by what is special about them; every one is finite and below 1e7.
KINDS: dict[str, Maker] = {
    "gaussian": lambda rng, dim: rng.standard_normal(dim),
    "laplace": lambda rng, dim: rng.laplace(size=dim),
    "heavy tails": lambda rng, dim: np.clip(rng.standard_t(3, dim), -1e6, 1e6),
    "zeros": lambda rng, dim: np.zeros(dim),
    "constant": lambda rng, dim: np.full(dim, rng.normal()),
    "denormal": lambda rng, dim: 1e-40 * rng.standard_normal(dim),
    "tiny": lambda rng, dim: 1e-30 * rng.standard_normal(dim),
    "large": lambda rng, dim: 1e6 * np.clip(rng.standard_normal(dim), -6, 6),
    "narrow": lambda rng, dim: 1000 + 1e-3 * rng.standard_normal(dim),
    "all negative": lambda rng, dim: -1 - rng.random(dim),
    "one outlier": _one_outlier,
    "two values": lambda rng, dim: rng.integers(0, 2, dim) - 0.5,
}


def row(kind: str, dim: int, seed: int = 0) -> F32:
    """Return one row (dim,) of a kind."""
    return KINDS[kind](np.random.default_rng([seed, dim, *kind.encode()]), dim).astype(np.float32)


def rows(kind: str, n: int, dim: int, seed: int = 0) -> F32:
    """Return n rows (n, dim) of a kind."""
    return np.stack([row(kind, dim, 1000 * seed + i) for i in range(n)])


dims = st.sampled_from(DIMS)
seeds = st.integers(0, 2**32 - 1)
#: Any finite float32 whose square is finite too, or a row of some kind and awkward size.
any_row = hnp.arrays(
    np.float32, st.integers(1, 70), elements=st.floats(-(2.0**59), 2.0**59, width=32)
) | st.builds(row, st.sampled_from(sorted(KINDS)), dims, seeds)

_PROT_NONE = 0  # of sys/mman.h; the mmap module has no name for it
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def at_page_end(array: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return a copy that ends where a page begins that nobody may touch: reading past it ends the process."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    memory = np.frombuffer(mmap.mmap(-1, size + page), np.uint8)
    if _libc.mprotect(memory.ctypes.data + size, page, _PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect refused")
    copy = memory[size - array.nbytes : size].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
