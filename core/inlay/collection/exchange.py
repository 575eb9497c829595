"""Documents as JSON Lines, for other programs: one line each, in order of insertion.

    {"id": "a", "text": "green tea", "metadata": {"page": 3}, "vector": [0.25, -1.5]}

Metadata stand there as they are stored, see `metadata`: what JSON does not know is an object with one key,
which begins with a dollar sign. The numbers of a vector have the nine digits that give back every float32.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..contents import FormatError
from . import disk, metadata
from .records import Record
from .vectors import F32

_PART = 1000
_KEYS = ("id", "text", "metadata", "vector")


def write(parts: Iterable[tuple[list[Record], F32]], file: Path) -> Iterator[int]:
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
