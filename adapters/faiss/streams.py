"""Streams that indexes are written to and read from, by the names that FAISS has for them."""

import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from .arrays import U8


class PyCallbackIOWriter:
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


class PyCallbackIOReader:
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


class BufferedIOWriter:
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


class BufferedIOReader:
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


class VectorIOWriter:
    """A stream to memory.

    Attributes
    ----------
    data : uint8 (n,)
        What was written.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    @property
    def data(self) -> U8:
        """What was written, uint8 (n,)."""
        return np.frombuffer(b"".join(self._pieces), np.uint8)

    def write(self, data: Any) -> int:
        """Keep bytes."""
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])


class VectorIOReader:
    """A stream from memory.

    Attributes
    ----------
    data : uint8 (n,)
        What is read.
    """

    def __init__(self, data: Any = b"") -> None:
        self.data = np.frombuffer(bytes(data), np.uint8)
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or all that are left."""
        end = len(self.data) if size < 0 else min(self._at + size, len(self.data))
        piece = np.asarray(self.data[self._at : end], np.uint8).tobytes()
        self._at = end
        return piece


class FileIOWriter:
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


class FileIOReader:
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
