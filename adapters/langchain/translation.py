"""LangChain's words for a collection's things: rows to store, documents found, filters, scores.

A metric's own value (what `Hit.distance` holds) becomes a score, and a score becomes a relevance in [0, 1]:

    metric   similarity (larger nearer)   distance (smaller nearer)   relevance
    cosine   cos                          1 - cos                     cos, at least 0
    l2       1 / (1 + d²)                 d²                          1 / (1 + d²)
    ip       q·x                          -q·x                        1 / (1 + exp(-q·x))
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt
from langchain_core.documents import Document

from inlay.collection import Candidate, Hit, Record, filters

from ..scores import SIMILARITIES, of_squares

Filter = Mapping[str, Any] | Callable[[Any], object] | None
Vector = Sequence[float] | npt.NDArray[Any]
Score = Literal["similarity", "distance"]
Stored = Record | Hit

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts, metadatas and ids of one add, checked to fit together before anything is embedded or stored.

    The metadatas are the caller's own. A copy of each would be many thousand dicts that live until the last
    batch is stored, which sends Python's garbage collector through all there is: of 15,000 documents 0.17 s
    in which no other thread, and so no event loop, runs.
    """

    texts: list[str]
    metadatas: list[Mapping[str, Any]]
    ids: list[str]

    @classmethod
    def checked(
        cls,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[str | None] | None = None,
    ) -> Rows:
        """Line up the columns; a missing metadata is `{}`, a missing id a new UUID."""
        texts = _listed(texts, "texts")
        if not all(isinstance(text, str) for text in texts):
            odd = next(text for text in texts if not isinstance(text, str))
            raise TypeError(f"texts must be strings, not {type(odd).__name__}")
        metadatas = [None] * len(texts) if metadatas is None else _listed(metadatas, "metadatas")
        ids = [None] * len(texts) if ids is None else _listed(ids, "ids")
        for name, column in (("metadatas", metadatas), ("ids", ids)):
            if len(column) != len(texts):
                raise ValueError(f"got {len(column)} {name} for {len(texts)} texts; give one each, or none")
        for given in ids:
            if given is not None and not isinstance(given, str):
                raise TypeError(f"ids must be strings, not {type(given).__name__} ({given!r})")
        return cls(
            texts,
            [_NOTHING if metadata is None else metadata for metadata in metadatas],
            [str(uuid.uuid4()) if given is None else given for given in ids],
        )

    @classmethod
    def of_documents(cls, documents: Sequence[Document], ids: Iterable[str | None] | None = None) -> Rows:
        """Take documents apart. An id in `ids` goes before the document's own."""
        own = [document.id for document in documents]
        given = own if ids is None else _listed(ids, "ids")
        if len(given) == len(own):
            given = [own[i] if given[i] is None else given[i] for i in range(len(own))]
        return cls.checked(
            [document.page_content for document in documents],
            [document.metadata for document in documents],
            given,
        )

    @classmethod
    def of_records(cls, records: Sequence[Stored]) -> Rows:
        """Take stored records apart."""
        return cls([r.text for r in records], [r.metadata for r in records], [r.id for r in records])

    def __len__(self) -> int:
        return len(self.texts)

    def batches(self, size: int) -> Iterator[Rows]:
        """Cut into runs of at most `size` rows."""
        for first in range(0, len(self), size):
            run = slice(first, first + size)
            yield Rows(self.texts[run], self.metadatas[run], self.ids[run])


def _listed(values: Iterable[Any], name: str) -> list[Any]:
    if isinstance(values, str):  # would be taken apart into letters
        raise TypeError(f"{name} must be a list of strings, not one string ({values!r})")
    return list(values)


def document(stored: Stored) -> Document:
    """Make the document a record stands for."""
    return Document(id=stored.id, page_content=stored.text, metadata=stored.metadata)


class ReadableDocument(Document, Mapping[str, Any]):
    """A document that also reads like its metadata: what a callable filter is given.

    `InMemoryVectorStore` hands filters a document and `FAISS` hands them a metadata dict; functions written
    for either run unchanged.
    """

    def __getitem__(self, key: str) -> Any:
        return self.metadata[key]

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # pydantic's would yield fields
        return iter(self.metadata)

    def __len__(self) -> int:
        return len(self.metadata)

    def __bool__(self) -> bool:
        return True  # also without metadata, like any document


def bridged(condition: Filter) -> Filter:
    """Give a callable filter documents to judge; leave any other filter to the collection."""
    if not callable(condition):
        return condition

    def judge(candidate: Candidate) -> bool:
        seen = ReadableDocument(id=candidate.id, page_content=candidate.text, metadata=candidate.metadata)
        return bool(condition(seen))

    return judge


def worded(condition: Filter, words: Mapping[str, Any] | None) -> Filter:
    """Return a filter with a condition on the text beside it, in the words of Chroma's `where_document`."""
    if words is None:
        return bridged(condition)
    asked = filters.parse(_of_text(words))
    own = bridged(condition)
    tree = None if own is None or callable(own) else filters.parse(own)

    def judge(candidate: Candidate) -> bool:
        if not filters.matches(asked, {"text": candidate.text}):
            return False
        if callable(own):
            return bool(own(candidate))
        return tree is None or filters.matches(tree, candidate.metadata)

    return judge


def _of_text(words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same as a filter on the key "text"."""
    if not isinstance(words, Mapping):
        raise TypeError(f"where_document must be a dict, not {type(words).__name__}")
    between = {"$and", "$or"} & words.keys()
    if not between:
        return {"text": dict(words)}
    if len(words) > 1:
        raise ValueError("where_document takes $and or $or alone, around further conditions")
    return {name: [_of_text(part) for part in words[name]] for name in between}


def _logistic(value: float) -> float:
    return 0.5 + 0.5 * math.tanh(0.5 * value)  # the form that cannot overflow


# (metric, kind of score) -> the score of a metric's own value, the relevance of a score
SCORES: dict[tuple[str, str], tuple[Callable[[float], float], Callable[[float], float]]] = {
    ("cosine", "similarity"): (SIMILARITIES["cosine"], lambda score: score),
    ("cosine", "distance"): (lambda value: 1.0 - value, lambda score: 1.0 - score),
    ("l2", "similarity"): (SIMILARITIES["l2"], lambda score: score),
    ("l2", "distance"): (lambda value: value, of_squares),
    ("ip", "similarity"): (SIMILARITIES["ip"], _logistic),
    ("ip", "distance"): (lambda value: -value, lambda score: _logistic(-score)),
}
