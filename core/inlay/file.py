"""One file format for everything Inlay stores: a JSON header, then aligned arrays.

    0    magic           8 bytes   not text, so that a transfer that rewrites line ends shows
    8    version         u4        1
    12   header CRC-32   u4        of the bytes 8..12 and 16.. to the end of the JSON
    16   header length   u8        bytes of JSON
    24   header          JSON      {"header": what the writer said, "sections": the table of arrays}
         zeros to a multiple of 64, then the arrays in table order, each padded to 64 with zeros
         (the last one is not: the file ends with its last byte)

Everything is little-endian. A row of the table is {"name", "dtype", "shape", "offset", "crc32"}, the offset
counted from the first byte after the padded header. There is one valid place for every array, the first
aligned byte after the one before, so a table has no room for gaps, overlaps or disorder.

Reading trusts nothing: each size is compared with the bytes there are before memory is taken for it. An array
comes back 64-byte aligned, as a fresh copy whose checksum was verified, or as a view of the mapped file. Of
these the small ones are verified at once: means, codebooks and the like, on which every answer rests. Damage
to a large one is found by `verify`, and before it could reach another file (`Sections.verify`).
"""

import contextlib
import io
import json
import math
import mmap as memory_map
import os
import re
import secrets
import stat
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
import numpy.typing as npt

from inlay.contents import Array, FormatError, Header, Sections, field

__all__ = ["FormatError", "Header", "Sections", "field", "read", "to_bytes", "verify", "write"]

# Stored: changing anything down to the blank line needs a new format version.
MAGIC = b"\x89INL\r\n\x1a\n"
VERSION = 1
ALIGNMENT = 64
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
_PREFIX = struct.Struct("<8sIIQ")
_MAX_HEADER = 1 << 20  # JSON takes some 20 times its length once parsed: a lie here costs 20 MB at most
_MAX_DEPTH = 16
_MAX_DIMENSIONS = 32  # what every supported NumPy can hold

# Arrays up to here are verified when a file is mapped: 64 KiB take some 20 us.
_SMALL = 1 << 16
_PIECE = 1 << 20  # bytes moved at once: still in the cache when the checksum reads them
_FAISS = re.compile(rb"I[xwvH][A-Za-z0-9]{2}")

PathName = str | os.PathLike[str]


# Writing


def write(target: PathName | BinaryIO, header: Mapping[str, Any], sections: Mapping[str, Array]) -> None:
    """Write a file; a path is replaced in one step, when all of the new file is safely on the disk.

    Until then the old file is untouched, also by a failure or a crash. Arrays are streamed: no array is
    copied as a whole, also when it is strided or big-endian. They must not change meanwhile.

    Parameters
    ----------
    target : str, os.PathLike or binary file object
        A path (a symbolic link is followed; the mode of a file that is replaced is kept), or an object
        with `write`, which receives the bytes from where it stands.
    header : mapping of str
        None, bool, int, finite float, str, and lists and mappings of those, at most 16 deep and 1 MiB as
        JSON. NumPy scalars become Python's, tuples become lists.
    sections : mapping of str to numpy.ndarray
        Any shape; 8 to 64 bit integers and 16 to 64 bit floats. Their order is kept.

    Raises
    ------
    TypeError, ValueError
        For a header or an array that the format cannot hold; nothing is written.
    OSError
        When the file cannot be written.
    """
    arrays = dict(sections)
    for name, array in arrays.items():
        _check_storable(name, array)
    head = _encode_head(header, arrays)
    if isinstance(target, str | os.PathLike):
        _replace(os.path.realpath(target), head, arrays)
    elif isinstance(target, io.TextIOBase) or not hasattr(target, "write"):
        raise TypeError(f"target must be a path or a binary file object, got {type(target).__name__}")
    elif isinstance(target, io.RawIOBase):  # its write may stop short; a buffer around it finishes the job
        buffer = io.BufferedWriter(cast(io.RawIOBase, target))
        try:
            _stream(cast(BinaryIO, buffer), head, arrays)
            buffer.flush()
        finally:
            buffer.detach()
    else:
        _stream(target, head, arrays)


def to_bytes(header: Mapping[str, Any], sections: Mapping[str, Array]) -> bytes:
    """Return the bytes that `write` would put into a file."""
    buffer = io.BytesIO()
    write(buffer, header, sections)
    return buffer.getvalue()


def _check_storable(name: str, array: Array) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a section must be a non-empty str, got {name!r}")
    if not isinstance(array, np.ndarray):
        raise TypeError(f"section {name!r} must be a numpy.ndarray, got {type(array).__name__}")
    if _code(array) not in DTYPES:
        raise TypeError(f"section {name!r} has dtype {array.dtype}; allowed are {', '.join(DTYPES)}")
    if array.ndim > _MAX_DIMENSIONS:
        raise ValueError(f"section {name!r} has {array.ndim} dimensions; {_MAX_DIMENSIONS} are the limit")


def _code(array: Array) -> str:
    return f"{array.dtype.kind}{array.dtype.itemsize}"


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """Return a header value as JSON will give it back, or say which part of it cannot be stored."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where} is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}; a header holds finite numbers only")
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{where} has a key that is not a str: {list(value)!r:.80}")
        return {key: _plain(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}, which a file cannot hold")


def _encode_head(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Everything that stands before the first array, padding included."""
    table, offset = [], 0
    for name, array in arrays.items():
        offset = _align(offset)
        crc = 0
        for piece in _pieces(array):
            crc = zlib.crc32(piece, crc)
        table.append(
            {"name": name, "dtype": _code(array), "shape": list(array.shape), "offset": offset, "crc32": crc}
        )
        offset += array.nbytes
    if not isinstance(header, Mapping):
        raise TypeError(f"header must be a mapping, got {type(header).__name__}")
    document = {"header": _plain(header, "header"), "sections": table}
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > _MAX_HEADER:
        raise ValueError(f"the header takes {len(text)} bytes as JSON, at most {_MAX_HEADER} are allowed")
    crc = _head_crc(VERSION, text)
    head = _PREFIX.pack(MAGIC, VERSION, crc, len(text)) + text
    return head + bytes(_align(len(head)) - len(head))


def _head_crc(version: int, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(struct.pack("<IQ", version, len(text))))


def _align(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _pieces(array: Array) -> Iterator[memoryview]:
    """Yield the stored bytes of an array in order, at most about `_PIECE` (or one row) at a time."""
    stored = array.dtype.newbyteorder("<")
    if array.size == 0:
        return
    if array.flags.c_contiguous and array.dtype == stored:
        flat = array.reshape(-1).view(np.uint8).data
        for start in range(0, len(flat), _PIECE):
            yield flat[start : start + _PIECE]
    else:
        rows = array.reshape(1) if array.ndim == 0 else array
        step = max(1, _PIECE * len(rows) // rows.nbytes)
        for start in range(0, len(rows), step):
            block = np.ascontiguousarray(rows[start : start + step], dtype=stored)
            yield block.reshape(-1).view(np.uint8).data


def _stream(out: BinaryIO, head: bytes, arrays: Mapping[str, Array]) -> None:
    out.write(head)
    offset = 0
    for array in arrays.values():
        if _align(offset) != offset:
            out.write(bytes(_align(offset) - offset))
        for piece in _pieces(array):
            out.write(piece)
        offset = _align(offset) + array.nbytes


def _replace(path: str, head: bytes, arrays: Mapping[str, Array]) -> None:
    """Write beside the file, make it durable, rename over it, make the new name durable."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a directory; give the name of a file in it")
    folder = os.path.dirname(path)
    # Not made from the file's own name, to which nothing can be added when it is as long as names may be.
    beside = os.path.join(folder, f".inlay-{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "xb") as out:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(beside, os.stat(path).st_mode & 0o7777)
            _stream(out, head, arrays)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    if hasattr(os, "O_DIRECTORY"):  # Windows cannot open a directory, and has no need to
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# Reading


@dataclass(frozen=True, slots=True)
class _Row:
    """One array of a file's table; `offset` counts from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    crc: int


@dataclass(slots=True)
class _Reader:
    """The bytes of a file from front to back: how many there are, and how many were read."""

    stream: BinaryIO
    size: int
    file: str
    at: int = 0

    def fault(self, message: str, offset: int, section: str | None = None) -> FormatError:
        return FormatError(message, file=self.file, section=section, offset=offset)

    def pieces(self, count: int) -> Iterator[bytes]:
        """Yield the next `count` bytes in small pieces."""
        end = self.at + count
        while self.at < end:
            piece = self.stream.read(min(_PIECE, end - self.at))
            if not piece:
                raise self.fault(f"the file ended here, it had {self.size} bytes", self.at)
            self.at += len(piece)
            yield piece

    def skip_padding(self, end: int) -> None:
        """Read up to `end`; all that stands there must be zero."""
        start = self.at
        if any(any(piece) for piece in self.pieces(end - start)):
            raise self.fault("the padding that begins here is not zero", start)

    def check(self, row: _Row, into: npt.NDArray[np.uint8] | None = None) -> None:
        """Read one array and the padding before it, verify both, and keep the array when asked to."""
        self.skip_padding(row.offset)
        crc = 0
        for piece in self.pieces(row.nbytes):
            crc = zlib.crc32(piece, crc)
            if into is not None:
                end = self.at - row.offset
                into[end - len(piece) : end] = np.frombuffer(piece, np.uint8)
        if crc != row.crc:
            raise self.fault("the contents do not match their checksum", row.offset, row.name)


def read(
    source: PathName | bytes | bytearray | memoryview | BinaryIO, *, mmap: bool = True
) -> tuple[Header, Sections]:
    """Read a file that `write` made.

    Parameters
    ----------
    source : str, os.PathLike, bytes-like or binary file object
        A file object is read from where it stands to its end. One that cannot seek, such as a pipe, is read
        as far as the file in it goes: its other end may stay open.
    mmap : bool
        For a path: True maps the file, reads its header and its small arrays, and leaves the checksums of
        arrays beyond 64 KiB unverified (`verify` and `Sections.verify` do that). Everything else, and
        every other source, is read and verified.

    Returns
    -------
    header : Header
        A dict: what the writer gave. See `field`.
    sections : Sections
        A dict of arrays in the writer's order, each 64-byte aligned in memory. Mapped arrays are
        read-only and stay valid when the path is replaced or removed; others are fresh and writable.
        See `Sections.take`.

    Raises
    ------
    FormatError
        When the file is damaged, foreign, or newer than this version can read.
    OSError
        As `open`: FileNotFoundError, IsADirectoryError, ...
    """
    if not isinstance(source, str | os.PathLike):
        return _load(_open_other(source))
    with _open(source) as stream:
        reader = _Reader(stream, os.fstat(stream.fileno()).st_size, os.fsdecode(source))
        if not mmap:
            return _load(reader)
        header, table = _read_head(reader)
        mapping = memory_map.mmap(stream.fileno(), 0, access=memory_map.ACCESS_READ)
    whole = np.frombuffer(mapping, np.uint8)
    sections = _shaped(table, (whole[row.offset : row.offset + row.nbytes] for row in table), reader.file)
    sections.unverified = {row.name: row.crc for row in table}
    sections.verify(_SMALL)
    return header, sections


def verify(path: PathName) -> None:
    """Check all of a file, the checksums of its arrays included, in constant memory.

    Raises
    ------
    FormatError
        As `read` does.
    """
    with _open(path) as stream:
        reader = _Reader(stream, os.fstat(stream.fileno()).st_size, os.fsdecode(path))
        for row in _read_head(reader)[1]:
            reader.check(row)


def _load(reader: _Reader) -> tuple[Header, Sections]:
    """Read and verify everything, into fresh memory."""
    header, table = _read_head(reader)
    arrays = []
    for row in table:
        memory = np.empty(row.nbytes + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        arrays.append(memory[start : start + row.nbytes])
        reader.check(row, arrays[-1])
    return header, _shaped(table, arrays, reader.file)


def _shaped(table: list[_Row], memory: Iterable[npt.NDArray[np.uint8]], file: str) -> Sections:
    pairs = zip(table, memory, strict=True)
    arrays = {row.name: part.view(f"<{row.dtype}").reshape(row.shape) for row, part in pairs}
    return Sections(arrays, file, {row.name: row.offset for row in table})


def _open(path: PathName) -> BinaryIO:
    """Open a file, and nothing whose end may never come."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # of a directory `open` says what it is
        message = "a pipe or a device and no file; open it, and give what open() returns"
        raise FormatError(message, file=os.fsdecode(path))
    return open(path, "rb")


def _open_other(source: Any) -> _Reader:
    """Open what is not a path."""
    if isinstance(source, io.TextIOBase):
        raise TypeError("the file is open as text; open it with mode 'rb'")
    if not hasattr(source, "read"):
        try:
            data = source if isinstance(source, bytes) else memoryview(source).tobytes()
        except TypeError:
            given = type(source).__name__
            raise TypeError(f"source must be a path, bytes or a binary file object, got {given}") from None
        return _Reader(io.BytesIO(data), len(data), "<bytes>")
    name = str(getattr(source, "name", "<stream>"))
    if not (hasattr(source, "seekable") and source.seekable()):
        data = _received(source, name)
        return _Reader(io.BytesIO(data), len(data), name)
    start = source.tell()
    size = source.seek(0, os.SEEK_END) - start
    source.seek(start)
    return _Reader(source, size, name)


def _received(source: Any, name: str) -> bytes:
    """Take a file from a stream, and no byte more; what there is of it when the stream ends before."""
    data = bytearray()

    def receive(size: int) -> None:
        """Wait for that many bytes in all."""
        while len(data) < size and (piece := source.read(min(_PIECE, size - len(data)))):
            data.extend(piece)

    receive(_PREFIX.size)
    if len(data) == _PREFIX.size and data.startswith(MAGIC):
        length = _PREFIX.unpack(data)[3]
        begin = _align(_PREFIX.size + length)
        if length <= _MAX_HEADER:
            receive(begin)
        if len(data) == begin:
            table = _read_head(_Reader(io.BytesIO(data), sys.maxsize, name), whole=False)[1]
            receive(table[-1].offset + table[-1].nbytes if table else begin)
    return bytes(data)


def _read_head(reader: _Reader, whole: bool = True) -> tuple[Header, list[_Row]]:
    """Read and check all that stands before the arrays; `whole` says that the end of the file is known."""
    prefix = b"".join(reader.pieces(min(reader.size, _PREFIX.size)))
    if prefix[: len(MAGIC)] != MAGIC:
        raise reader.fault(_foreign(prefix), 0)
    if len(prefix) < _PREFIX.size:
        raise reader.fault("the file is cut off in its header", reader.size)
    _, version, crc, length = _PREFIX.unpack(prefix)
    if version > VERSION:
        known = f"this Inlay reads up to {VERSION}; upgrade Inlay"
        raise reader.fault(f"the file has format version {version}, which is newer: {known}", 8)
    if version < 1:
        raise reader.fault(f"the file has format version {version}, which never was", 8)
    begin = _align(_PREFIX.size + length)
    if begin > reader.size or length > _MAX_HEADER:
        there = f"the file has {reader.size}, and {_MAX_HEADER} is the limit"
        raise reader.fault(f"the header is said to have {length} bytes; {there}", 16)
    text = b"".join(reader.pieces(length))
    if _head_crc(version, text) != crc:
        raise reader.fault("the header does not match its checksum", 12)
    reader.skip_padding(begin)
    document = _parse(text, reader)
    table = _table(field(document, "sections", list), begin, reader)
    end = table[-1].offset + table[-1].nbytes if table else begin
    if whole and end != reader.size:
        raise reader.fault(f"the file has {reader.size - end} bytes after its end", end)
    return field(document, "header", Header), table


def _foreign(prefix: bytes) -> str:
    """Say what a file without our magic may be."""
    if MAGIC.startswith(prefix):
        return "the file is cut off in its first bytes" if prefix else "the file is empty"
    if prefix.startswith(MAGIC[:4]):
        return "the first bytes are damaged, as by a transfer in text mode; copy the file again as binary"
    if _FAISS.match(prefix):
        return "not an Inlay file but, it seems, a FAISS index; read it with faiss and add its vectors again"
    return f"not an Inlay file: it begins with {prefix[: len(MAGIC)]!r}"


def _parse(text: bytes, reader: _Reader) -> Header:
    """Parse JSON, more strictly than Python does: no key twice, no NaN, no number that becomes infinite."""

    def refuse(literal: str) -> NoReturn:
        raise ValueError(f"{literal} is not a finite number")

    def finite(literal: str) -> float:
        value = float(literal)
        return value if math.isfinite(value) else refuse(literal)

    def unique(pairs: list[tuple[str, Any]]) -> Header:
        if len(dict(pairs)) != len(pairs):
            raise ValueError(f"an object has a key twice: {[key for key, _ in pairs]!r:.80}")
        return Header(pairs, reader.file)

    try:
        document = json.loads(
            text.decode(), object_pairs_hook=unique, parse_constant=refuse, parse_float=finite
        )
    except (ValueError, RecursionError) as error:
        raise reader.fault(f"the header cannot be parsed: {error}", _PREFIX.size) from error
    if not isinstance(document, Header):
        raise reader.fault("the header is not an object", _PREFIX.size)
    return document


def _table(entries: list[Any], begin: int, reader: _Reader) -> list[_Row]:
    """Check the table of arrays, which begin at `begin`, against the bytes there are."""
    table: dict[str, _Row] = {}
    end = begin
    for entry in entries:
        row = _row(entry, begin, reader)
        if row.name in table:
            raise reader.fault("the section is listed twice", row.offset, row.name)
        if row.offset != _align(end):
            message = f"the section is said to begin here, its place is byte {_align(end)}"
            raise reader.fault(message, row.offset, row.name)
        end = row.offset + row.nbytes
        if end > reader.size:
            message = f"the section ends at byte {end} but the file has only {reader.size}"
            raise reader.fault(message, row.offset, row.name)
        table[row.name] = row
    return list(table.values())


def _row(entry: Any, begin: int, reader: _Reader) -> _Row:
    if not isinstance(entry, Header):
        raise reader.fault(f"{entry!r:.80} is no row of the table of sections", _PREFIX.size)
    name, dtype, shape = field(entry, "name", str), entry.get("dtype"), entry.get("shape")
    offset, crc = entry.get("offset"), entry.get("crc32")
    if type(offset) is not int or abs(offset) > sys.maxsize or type(crc) is not int:
        message = f"offset {offset!r:.80} or checksum {crc!r:.80} is not a 64-bit integer"
        raise reader.fault(message, _PREFIX.size, name)
    offset += begin
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise reader.fault(f"dtype {dtype!r:.80} is not one of {', '.join(DTYPES)}", offset, name)
    itemsize = int(dtype[1])
    if (
        not isinstance(shape, list)
        or len(shape) > _MAX_DIMENSIONS
        or not all(type(length) is int and length >= 0 for length in shape)
        # NumPy refuses an array that would be too large even if one of its dimensions is 0.
        or math.prod(max(length, 1) for length in shape) * itemsize > sys.maxsize
    ):
        raise reader.fault(f"{shape!r:.80} is no shape of an array", offset, name)
    return _Row(name, dtype, tuple(shape), offset, math.prod(shape) * itemsize, crc)
