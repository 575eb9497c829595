"""What is given to be stored, checked as a whole before anything is written."""

import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import arrays
from . import metadata
from .vectors import F32

_AT_ONCE = 250  # rows of a list


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents ready to be stored: vectors (n, dim), and ids, texts and metadata as JSON, n of each."""

    vectors: F32
    ids: list[str]
    texts: list[str]
    metas: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> "Batch":
        """Return documents `start` to `stop`."""
        return Batch(
            self.vectors[start:stop], self.ids[start:stop], self.texts[start:stop], self.metas[start:stop]
        )

    def first_repeated(self) -> int | None:
        """Return the first row whose id an earlier row has."""
        seen: set[str] = set()
        for i, name in enumerate(self.ids):
            if name in seen:
                return i
            seen.add(name)
        return None

    def last_of_each(self) -> "Batch":
        """Return the documents without those that a later one of the same id replaces."""
        last = {name: i for i, name in enumerate(self.ids)}
        if len(last) == len(self):
            return self
        kept = sorted(last.values())
        return Batch(
            self.vectors[kept],
            [self.ids[i] for i in kept],
            [self.texts[i] for i in kept],
            [self.metas[i] for i in kept],
        )


def check(
    vectors: npt.ArrayLike,
    ids: Sequence[str] | None,
    texts: Sequence[str] | None,
    metadatas: Iterable[Mapping[str, Any]] | None,
    dim: int | None,
) -> Batch:
    """Return documents as they will be stored.

    Raises
    ------
    TypeError, ValueError
        Naming what is wrong, and in which row.
    """
    rows = check_vectors(vectors, dim)
    n = len(rows)
    names = [str(uuid.uuid4()) for _ in range(n)] if ids is None else check_ids(ids)
    bodies = [""] * n if texts is None else _listed(texts, "texts")
    # One after the other: many dicts at a time would send the garbage collector through all there is.
    metas = (
        ["{}"] * n
        if metadatas is None
        else [_encoded(i, value) for i, value in enumerate(_each(metadatas, "metadatas"))]
    )
    for name, found in (
        ("ids", len(names)),
        ("texts", len(bodies)),
        ("metadatas", len(metas)),
    ):
        if found != n:
            raise ValueError(f"there are {n} vectors but {found} {name}; each vector needs one")
    for i, text in enumerate(bodies):
        check_text(text, f"row {i} of texts")
    return Batch(rows, names, bodies, metas)


def check_vectors(
    vectors: npt.ArrayLike, dim: int | None, name: str = "vectors", *, one: bool = False
) -> F32:
    """Return vectors as float32 rows (n, dim); with `dim` None, of any dimension above 0."""
    if isinstance(vectors, list):
        vectors = _packed(vectors)
    if dim is None:
        if not isinstance(vectors, np.ndarray):
            try:
                vectors = np.asarray(vectors)
            except ValueError as error:
                raise ValueError(f"{name} do not form an array: {error}") from None
        if vectors.ndim == 0 or (vectors.ndim == 2 and vectors.shape[1] == 0):
            raise ValueError(f"{name} of shape {vectors.shape} have no dimension")
        dim = vectors.shape[-1] if vectors.size else 1
        if not vectors.size:
            return np.empty((0, 1), np.float32)
    return arrays.as_rows(vectors, dim, name, one)


def _packed(rows: list[Any]) -> Any:
    """Return many rows as one array, if they are of one length; what is wrong with them is for others to say.

    NumPy reads a list of lists without letting another thread run, half a second for 15,000 rows. Lists of
    floats, which is what embedders return, are packed in a fifth of its time.
    """
    try:
        if all(type(row) is list for row in rows) and type(rows[0][0]) is float:
            pack = struct.Struct(f"{len(rows[0])}f").pack
            return np.frombuffer(b"".join([pack(*row) for row in rows]), np.float32).reshape(len(rows), -1)
        if len(rows) > _AT_ONCE:
            parts = [np.asarray(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]
            return np.concatenate(parts)
    except (ValueError, IndexError, OverflowError, struct.error):
        pass
    return rows


def check_ids(ids: Sequence[str]) -> list[str]:
    """Return ids as a list, each of them a str that can be stored."""
    names = _listed(ids, "ids")
    for i, name in enumerate(names):
        check_text(name, f"row {i} of ids")
        if not name:
            raise ValueError(f"row {i} of ids is empty; give every document a name, or none of them")
    return names


def check_known_ids(ids: Sequence[str] | None) -> list[str] | None:
    """Return the ids that something is asked of; None for all there are."""
    return None if ids is None else check_ids(ids)


def check_share(value: float, name: str) -> None:
    """Refuse what is no number from 0 to 1."""
    if not 0 <= arrays.as_number(value, name) <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {value!r}")


def check_text(text: Any, name: str) -> None:
    """Refuse what is not a str of valid Unicode."""
    if not isinstance(text, str):
        raise TypeError(f"{name} is a {type(text).__name__}, not a str")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} holds a lone surrogate at {error.start}, which no file can hold"
            ) from None


def _listed(values: Iterable[Any], name: str) -> list[Any]:
    return list(_each(values, name))


def _each(values: Iterable[Any], name: str) -> Iterator[Any]:
    if isinstance(values, str | bytes | Mapping):
        raise TypeError(f"{name} must be a list with an entry for each row, not one {type(values).__name__}")
    try:
        return iter(values)
    except TypeError:
        raise TypeError(f"{name} must be a list, not {type(values).__name__}") from None


def _encoded(row: int, given: Any) -> str:
    try:
        return metadata.encode(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"row {row} of metadatas: {error}") from None
