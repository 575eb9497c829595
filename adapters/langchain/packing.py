"""A collection as bytes: the files of a copy in one archive, which holds no pickle and runs nothing.

ZIP, nothing compressed: inlay.sqlite | vectors-<generation>.f32 | index-<version>.inlay
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

from inlay.collection import AnyCollection, Collection
from inlay.contents import FormatError

_KINDS = (".sqlite", ".f32", ".inlay")


def pack(collection: AnyCollection) -> bytes:
    """Return a consistent copy of a collection, as bytes.

    Raises
    ------
    TypeError
        For a collection that is spread over several folders.
    """
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(packed, "w") as archive:
        copy = Path(place) / "copy"
        collection.copy_to(copy)
        for file in sorted(copy.iterdir()):
            if file.is_dir():
                raise TypeError(f"a {type(collection).__name__} does not fit into bytes; use save_local")
            if file.suffix in _KINDS:
                archive.write(file, file.name)
    return packed.getvalue()


def unpack(packed: bytes) -> Collection:
    """Return a collection in memory with the documents of a packed one.

    Nothing is written outside a temporary folder, and no more than there are bytes.

    Raises
    ------
    TypeError
        For what is not bytes.
    FormatError
        For bytes that `pack` did not make, or that are damaged.
    """
    if not isinstance(packed, bytes | bytearray | memoryview):
        raise TypeError(f"a packed store is bytes, not {type(packed).__name__}")
    with tempfile.TemporaryDirectory() as place:
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                members = archive.infolist()
                for member in members:
                    _check(member, len(packed))
                if len({member.filename for member in members}) < len(members):
                    raise FormatError("a file is there twice")
                archive.extractall(place)
        except FormatError:
            raise
        except Exception as error:  # zipfile has no end of them for damaged archives
            raise FormatError(f"these bytes are no packed store: {error}") from error
        names = Collection.names(place)
        if not names:
            raise FormatError("there is no collection among these bytes")
        return Collection.load(place, collection=names[0])


def _check(member: zipfile.ZipInfo, available: int) -> None:
    """Refuse a member that would be written elsewhere, or grow."""
    name = member.filename
    if Path(name).name != name or Path(name).suffix not in _KINDS:
        raise FormatError(f"a packed store holds no file {name!r:.80}")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > available:
        raise FormatError(f"the file {name!r:.80} is larger than it may be")
