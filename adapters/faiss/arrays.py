"""Arrays at the door: what comes in is converted, or refused with both sizes; what goes out is new.

Everything that FAISS converts is converted. NumPy integers count as integers and lists as arrays; complex
numbers, text, and ids with fractions are refused where FAISS changes their meaning.
"""

import operator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import DimensionError

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

T = TypeVar("T")

# What stands for no distance; survives JSON, which an infinity does not.
FLT_MAX = float(np.finfo(np.float32).max)


def as_matrix(x: npt.ArrayLike, d: int, name: str = "x") -> F32:
    """Return vectors as C-contiguous float32 (n, d); an empty list has no rows."""
    array = np.asarray(x)
    if array.dtype.kind not in "fiub" and array.size:
        raise TypeError(f"{name} must be real numbers, not {array.dtype}")
    if array.ndim == 1 and array.size == 0:
        array = array.reshape(0, d)
    if array.ndim != 2:
        raise DimensionError(f"{name} must have two dimensions (n, {d}), not shape {array.shape}")
    if array.shape[1] != d:
        raise DimensionError(f"{name} has dimension {array.shape[1]}, the index has d = {d}")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as for FAISS
        return np.ascontiguousarray(array, np.float32)


def as_ids(ids: npt.ArrayLike, n: int | None = None, name: str = "ids") -> I64:
    """Return ids as C-contiguous int64 (n,)."""
    array = np.asarray(ids)
    if array.size == 0:
        array = array.reshape(-1).astype(np.int64)
    if array.dtype.kind == "f":
        if not (np.isfinite(array) & (array == np.floor(array))).all():
            raise TypeError(f"{name} must be whole numbers, not {array.dtype} with fractions")
    elif array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    if array.dtype.kind != "i" and array.size and array.max() >= 2**63:
        raise DimensionError(f"{name} must fit 64 bits with sign, {array.max()} does not; see StrIDMap")
    if array.ndim != 1 or (n is not None and len(array) != n):
        raise DimensionError(f"{name} must have shape ({'n' if n is None else n},), not {array.shape}")
    return np.ascontiguousarray(array, np.int64)


def as_int(value: Any, name: str, least: int | None = None) -> int:
    """Return an integer of Python or NumPy as int; no float, even a whole one."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if least is not None and number < least:
        raise DimensionError(f"{name} must be at least {least}, not {number}")
    return number


def output(given: Any, shape: tuple[int, ...], dtype: npt.DTypeLike, name: str) -> npt.NDArray[Any]:
    """Return the array that results go to: the one given, once it fits, or a new one."""
    if given is None:
        return np.empty(shape, dtype)
    if not isinstance(given, np.ndarray) or given.dtype != dtype:
        raise TypeError(f"{name} must be an array of {np.dtype(dtype)}, not {getattr(given, 'dtype', given)}")
    if given.shape != shape:
        raise DimensionError(f"{name} must have shape {shape}, not {given.shape}")
    if not given.flags.c_contiguous or not given.flags.writeable:
        raise DimensionError(f"{name} must be C-contiguous and writeable")
    return given


def worst(metric_is_l2: bool) -> float:
    """Return the distance that stands where there is no result."""
    return FLT_MAX if metric_is_l2 else -FLT_MAX


# Names of FAISS for what is an array or a list here anyway


class Vector(list[T]):
    """A list with the names that FAISS's vectors have."""

    def at(self, i: int) -> T:
        """Return one of its elements."""
        return self[i]

    def size(self) -> int:
        """Return how many there are."""
        return len(self)


class Bytes:
    """Bytes that a stream keeps, with the names that FAISS's vectors have."""

    held: bytearray

    def __init__(self, data: Any = b"") -> None:
        self.held = bytearray(memoryview(data.held if isinstance(data, Bytes) else data))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(np.frombuffer(self.held, np.uint8), dtype)

    def __len__(self) -> int:
        return len(self.held)

    def size(self) -> int:
        """Return how many there are."""
        return len(self)

    def swap(self, other: "Bytes") -> None:
        """Take what another has, and give it what this one had."""
        self.held, other.held = other.held, self.held


def vector_to_array(vector: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return a copy of an attribute that is a vector in FAISS and an array here."""
    return np.array(vector).reshape(-1)


def copy_array_to_vector(array: npt.ArrayLike, vector: npt.NDArray[Any] | Bytes) -> None:
    """Copy into an attribute that is an array here, both of as many elements, or into a stream's bytes."""
    values = np.asarray(array).reshape(-1)
    if isinstance(vector, Bytes):
        vector.held = bytearray(values.astype(np.uint8, casting="safe").tobytes())
        return
    if len(values) != vector.size:
        raise DimensionError(f"the array has {len(values)} elements, the vector {vector.size}")
    vector.reshape(-1)[:] = values


def swig_ptr(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array where FAISS takes its address; it must be contiguous."""
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
        raise ValueError("an array must be C-contiguous")
    return array


def rev_swig_ptr(array: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """Return the first n elements of what `swig_ptr` gave."""
    return array.reshape(-1)[: as_int(n, "n", 0)]
