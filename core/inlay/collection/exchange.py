"""Documents for other collections, and as JSON Lines for other programs: a line each, in order of insertion.

    {"id": "a", "text": "green tea", "metadata": {"page": 3}, "vector": [0.25, -1.5]}

Metadata stand there as they are stored, see `metadata`: what JSON does not know is an object with one key,
which begins with a dollar sign. The numbers of a vector have the nine digits that give back every float32.
"""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..contents import FormatError
from ..progress import Progress, track
from . import disk, metadata
from .records import Record
from .store import LONG
from .vectors import F32

_PART = 1000
_KEYS = ("id", "text", "metadata", "vector")

Parts = Iterable[tuple[list[Record], F32]]  # documents with their vectors (n, dim), n at a time


def transfer(parts: Parts, upsert: Callable[..., list[str]]) -> None:
    """Hand documents to the `upsert` of another collection."""
    for records, vectors in parts:
        upsert(
            vectors,
            ids=[record.id for record in records],
            texts=[record.text for record in records],
            metadatas=[record.metadata for record in records],
            progress=False,
        )


def export(parts: Parts, n: int, file: Path, progress: Progress) -> int:
    """Write documents, some n of them, to a file, and show how far that is; return how many there were."""
    written = 0
    with track(progress, n, "exporting", long=n > LONG) as step:
        for some in write(parts, file):
            step(some)
            written += some
    return written


def load(file: Path, upsert: Callable[..., list[str]]) -> int:
    """Hand the documents of a file to the `upsert` of a collection; return how many there were.

    Raises
    ------
    FormatError
        Naming the line that is no document.
    """
    return sum(len(upsert(**columns, progress=False)) for columns in read(file))


def write(parts: Parts, file: Path) -> Iterator[int]:
    """Write documents to a file, which appears complete or not at all; yield how many a part had."""
    beside = file.with_name(f".inlay-{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "w", encoding="utf-8", newline="\n") as stream:
            for records, vectors in parts:
                stream.writelines(map(_line, records, vectors.tolist()))
                yield len(records)
            stream.flush()
            disk.sync_file(stream.fileno())
        os.replace(beside, file)
        disk.sync_folder(file.parent)
    finally:
        beside.unlink(missing_ok=True)


def _line(record: Record, vector: list[float]) -> str:
    numbers = ",".join([f"{number:.9g}" for number in vector])
    name, text, held = (
        metadata.to_text(record.id),
        metadata.to_text(record.text),
        metadata.encode(record.metadata),
    )
    return f'{{"id":{name},"text":{text},"metadata":{held},"vector":[{numbers}]}}\n'


def read(file: Path) -> Iterator[dict[str, list[Any]]]:
    """Yield the documents of a file as columns by the names of `upsert`, a thousand at a time.

    Raises
    ------
    FormatError
        Naming the line that is no document.
    """
    with open(file, encoding="utf-8") as stream:
        lines = _documents(stream, str(file))
        while part := list(islice(lines, _PART)):
            yield {f"{key}s": [document[key] for document in part] for key in _KEYS}


def _documents(stream: IO[str], file: str) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for line in stream:
            number += 1
            if line.isspace():
                continue
            document = metadata.decode(line)
            if not document.keys() >= {"id", "vector"}:
                raise FormatError("a document has an id and a vector")
            yield {"text": "", "metadata": {}, **document}
    except (FormatError, UnicodeDecodeError) as error:
        raise FormatError(f"line {max(number, 1)} cannot be read: {error}", file=file) from error
