"""The collection under an adapter: opened by path, or given open, so that two frameworks share one."""

from __future__ import annotations

import os
from typing import Self

from inlay.collection import Collection
from inlay.collection.watching import TARGET

Place = str | os.PathLike[str] | Collection | None


def opened(
    place: Place,
    *,
    collection: str,
    metric: str | None,
    index: str | None,
    full_text: bool,
    read_only: bool,
    recall: float | None,
) -> Collection:
    """Open the collection at a path, or in memory for None; give back one that is open already.

    Raises
    ------
    ValueError
        When an open one is not what the other arguments say.
    """
    if not isinstance(place, Collection):
        return Collection.open(
            ":memory:" if place is None else place,
            metric=metric,
            index=index,
            collection=collection,
            full_text=full_text,
            read_only=read_only,
            recall=TARGET if recall is None else recall,
        )
    for name, asked, found in (
        ("metric", metric, place.metric),
        ("index", None if index == "auto" else index, place.index),
        ("full_text", full_text or None, place.full_text),
        ("read_only", read_only or None, place.read_only),
        ("recall", recall, place.recall),
    ):
        if asked is not None and asked != found:
            raise ValueError(f"{name}={asked!r} was asked for but the open collection has {found!r}")
    return place


class Closing:
    """What a store over a collection has in common with a file: it is closed, by hand or by `with`."""

    _collection: Collection

    def close(self) -> None:
        """Release the files. A store that was never closed has lost nothing."""
        self._collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
