"""Copies of a collection on any file system that fsspec knows: written and read by way of a folder here."""

import tempfile
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from inlay.collection import AnyCollection, Collection


def is_local(fs: Any) -> bool:
    """Tell whether a file system is this machine's own, which None stands for."""
    return fs is None or isinstance(fs, LocalFileSystem)


def put(collection: AnyCollection, path: str, fs: Any) -> None:
    """Write a copy to a folder of another file system, in place of what is there."""
    with tempfile.TemporaryDirectory() as folder:
        collection.copy_to(Path(folder) / "copy")
        if fs.exists(path):
            fs.rm(path, recursive=True)
        fs.put(f"{folder}/copy/", f"{path}/", recursive=True)


def load(path: str, fs: Any) -> Collection:
    """Return a collection in memory with the documents of a copy.

    Raises
    ------
    FileNotFoundError
        When there is no copy at the path.
    """
    if is_local(fs):
        names = Collection.names(path)
        if not names:
            raise FileNotFoundError(f"no saved store at {path}; persist writes one")
        return Collection.load(path, collection=names[0])
    if not fs.exists(path):
        raise FileNotFoundError(f"no saved store at {path}; persist writes one")
    with tempfile.TemporaryDirectory() as folder:
        fs.get(f"{path}/", f"{folder}/copy/", recursive=True)
        return load(f"{folder}/copy", None)
