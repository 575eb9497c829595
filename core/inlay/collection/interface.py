"""What a collection can be asked, whoever keeps its documents: one process, or many.

`Collection` is the one that keeps them in a folder or in memory, and says what each call means; others,
such as `inlay.adapters.ray.ShardedCollection`, answer the same calls in the same way. Adapters are written
against this.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy.typing as npt

from ..progress import Progress
from .records import Record
from .searching import Hit
from .selection import Given as Filter
from .vectors import F32


class AnyCollection(Protocol):
    """Documents that are found by vectors, words and metadata; every call means what `Collection` says."""

    @property
    def path(self) -> str:
        """The folder, or ":memory:"."""

    @property
    def name(self) -> str:
        """The name of the collection."""

    @property
    def dim(self) -> int | None:
        """Dimensions of the vectors, None while that is open."""

    @property
    def metric(self) -> str:
        """The metric: "cosine", "l2" or "ip"."""

    @property
    def index(self) -> str:
        """The spec of the index in use."""

    @property
    def full_text(self) -> bool:
        """Whether texts can be searched."""

    @property
    def recall(self) -> float:
        """Which part of the nearest a search shall find on average."""

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""

    def __len__(self) -> int:
        """Return how many documents there are."""

    def __contains__(self, id: object) -> bool:
        """Tell whether a document is there."""

    def __iter__(self) -> Iterator[Record]:
        """Yield all documents in order of insertion."""

    def stats(self) -> dict[str, Any]:
        """Return what there is to know in numbers."""

    # Asking

    def get(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Filter = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Record]:
        """Return documents."""

    def vectors(self, ids: Sequence[str]) -> F32:
        """Return the vectors of documents."""

    def parts(self) -> Iterator[tuple[list[Record], F32]]:
        """Yield all documents with their vectors."""

    def count(self, filter: Filter = None) -> int:
        """Return how many documents match."""

    def search(
        self,
        vector: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
        **effort: Any,
    ) -> list[Hit]:
        """Find the documents nearest to a vector."""

    def search_batch(
        self,
        vectors: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
        **effort: Any,
    ) -> list[list[Hit]]:
        """Find the documents nearest to each of several vectors."""

    def mmr(
        self,
        vector: npt.ArrayLike,
        k: int = 4,
        *,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
    ) -> list[Hit]:
        """Find documents near to a vector and different from each other."""

    def search_text(
        self, text: str, k: int = 10, *, filter: Filter = None, ids: Sequence[str] | None = None
    ) -> list[Hit]:
        """Find the documents whose texts have the words of a text."""

    def hybrid(
        self,
        vector: npt.ArrayLike,
        text: str,
        k: int = 10,
        *,
        alpha: float = 0.5,
        fusion: str = "rank",
        fetch_k: int | None = None,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
        **effort: Any,
    ) -> list[Hit]:
        """Find documents by a vector and by words together."""

    # Changing

    def add(
        self,
        vectors: npt.ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress = None,
    ) -> list[str]:
        """Store new documents."""

    def upsert(
        self,
        vectors: npt.ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress = None,
    ) -> list[str]:
        """Store documents, each in the place of the one with its id."""

    def merge_from(self, other: "AnyCollection") -> None:
        """Store the documents of another collection."""

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter = None) -> int:
        """Remove documents."""

    def update_metadata(
        self,
        ids: Sequence[str] | None,
        patch: Mapping[str, Any],
        *,
        filter: Filter = None,
        replace: bool = False,
    ) -> int:
        """Change the metadata of documents."""

    def clear(self) -> None:
        """Remove all documents."""

    # Files

    def snapshot(self) -> None:
        """Save the index now."""

    def copy_to(self, path: str | os.PathLike[str]) -> None:
        """Write a copy to a folder."""

    def export_jsonl(self, file: str | os.PathLike[str], *, progress: Progress = None) -> int:
        """Write all documents to a file of JSON Lines."""

    def import_jsonl(self, file: str | os.PathLike[str]) -> int:
        """Store the documents of a file of JSON Lines."""

    def drop(self) -> None:
        """Remove the collection, its files included, and close it."""

    def close(self) -> None:
        """Let go of files and memory."""

    def __enter__(self) -> Self:
        """Return the collection."""

    def __exit__(self, *failure: Any) -> None:
        """Close it."""
