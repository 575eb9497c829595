"""Streams that indexes are written to and read from, by the names that FAISS has for them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .arrays import Bytes, as_int, rev_swig_ptr


class IOWriter(ABC):
    """A stream that takes bytes."""

    @abstractmethod
    def write(self, data: Any) -> Any:
        """Take bytes."""

    def __call__(self, ptr: npt.NDArray[Any], size: int, nitems: int) -> int:
        """Write so many items of so many bytes from what `swig_ptr` gave; return how many."""
        self.write(rev_swig_ptr(ptr.reshape(-1).view(np.uint8), size * nitems))
        return nitems


class IOReader(ABC):
    """A stream that gives bytes."""

    @abstractmethod
    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end; all there are for -1."""

    def __call__(self, ptr: npt.NDArray[Any], size: int, nitems: int) -> int:
        """Read so many items of so many bytes to where `swig_ptr` points; return how many there were."""
        data = np.frombuffer(self.read(as_int(size, "size", 1) * as_int(nitems, "nitems", 0)), np.uint8)
        rev_swig_ptr(ptr.reshape(-1).view(np.uint8), len(data))[:] = data
        return len(data) // size


class PyCallbackIOWriter(IOWriter):
    """A stream to a function.

    Parameters
    ----------
    callback : callable
        Takes bytes.
    bs : int
        At most so many at a time.
    """

    def __init__(self, callback: Callable[[bytes], Any], bs: int = 1 << 20) -> None:
        self.callback, self.bs = callback, bs

    def write(self, data: Any) -> int:
        """Hand bytes on."""
        view = memoryview(data).cast("B")
        for first in range(0, len(view), self.bs):
            self.callback(bytes(view[first : first + self.bs]))
        return len(view)


class PyCallbackIOReader(IOReader):
    """A stream from a function.

    Parameters
    ----------
    callback : callable
        Takes a number of bytes and returns so many, or fewer at the end.
    bs : int
        At most so many at a time.
    """

    def __init__(self, callback: Callable[[int], bytes], bs: int = 1 << 20) -> None:
        self.callback, self.bs = callback, bs

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or all there are."""
        pieces, left = [], size
        while left:
            piece = bytes(self.callback(self.bs if left < 0 else min(left, self.bs)))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece) if left > 0 else 0
        return b"".join(pieces)


class BufferedIOWriter(IOWriter):
    """Another writer: what is written goes there at once.

    Parameters
    ----------
    writer : object with `write`
    bsz : int
        Accepted: writers get large pieces anyway.
    """

    def __init__(self, writer: Any, bsz: int = 1 << 20) -> None:
        self.writer = writer

    def write(self, data: Any) -> Any:
        """Hand bytes on."""
        return self.writer.write(data)


class BufferedIOReader(IOReader):
    """Another reader.

    Parameters
    ----------
    reader : object with `read`
    bsz : int
        Accepted: readers are asked for large pieces anyway.
    """

    def __init__(self, reader: Any, bsz: int = 1 << 20) -> None:
        self.reader = reader

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or all there are."""
        data: bytes = self.reader.read(size)
        return data


class VectorIOWriter(IOWriter):
    """A stream to memory.

    Attributes
    ----------
    data : Bytes
        What was written; `vector_to_array` makes an array of it.
    """

    def __init__(self) -> None:
        self.data = Bytes()

    def write(self, data: Any) -> int:
        """Keep bytes."""
        view = memoryview(data).cast("B")
        self.data.held += view
        return len(view)


class VectorIOReader(IOReader):
    """A stream from memory.

    Attributes
    ----------
    data : Bytes
        What is read; `copy_array_to_vector` and `swap` fill it as well.
    """

    def __init__(self, data: Any = b"") -> None:
        self.data = Bytes(data)
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or all that are left."""
        end = len(self.data) if size < 0 else self._at + size
        piece = bytes(self.data.held[self._at : end])
        self._at += len(piece)
        return piece


class FileIOWriter(IOWriter):
    """A stream to a file.

    Parameters
    ----------
    fname : path-like
    """

    def __init__(self, fname: str | os.PathLike[str]) -> None:
        self._file: BinaryIO = open(fname, "wb")  # noqa: SIM115 (closed with the writer)

    def write(self, data: Any) -> int:
        """Write bytes."""
        done = self._file.write(data)
        self._file.flush()
        return done

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


class FileIOReader(IOReader):
    """A stream from a file.

    Parameters
    ----------
    fname : path-like
    """

    def __init__(self, fname: str | os.PathLike[str]) -> None:
        self._file: BinaryIO = open(fname, "rb")  # noqa: SIM115 (closed with the reader)

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or all that are left."""
        return self._file.read(size)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
