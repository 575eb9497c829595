"""The reading half of `Collection`: what it is, its documents, and which of them are nearest.

Each call works on one state of everything, that which is committed when it begins.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import as_count
from . import batch, choice, mmr, searching, selection
from . import fusion as fusing
from .records import Record, State
from .searching import Hit
from .store import Store
from .vectors import F32

Filter = selection.Given


class Readable:
    """What can be asked of a collection."""

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = path

    # What it is

    @property
    def _state(self) -> State:
        with self._store.reading() as (view, _):
            return view.state

    @property
    def path(self) -> str:
        """The folder, or ":memory:"."""
        return self._path

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._state.name

    @property
    def dim(self) -> int | None:
        """Dimensions of the vectors, None while that is open."""
        return self._state.dim

    @property
    def metric(self) -> str:
        """The metric: "cosine", "l2" or "ip"."""
        return self._state.metric

    @property
    def index(self) -> str:
        """The spec of the index in use; what was asked for while there is none."""
        with self._store.reading() as (view, _):
            return view.state.spec if view.index is None else view.index.spec

    @property
    def full_text(self) -> bool:
        """Whether texts can be searched."""
        with self._store.reading() as (_, reader):
            return reader.has_words()

    @property
    def recall(self) -> float:
        """Which part of the nearest a search shall find on average; see `Collection.open`."""
        return self._store.recall

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""
        return self._store.read_only

    def __len__(self) -> int:
        return self._state.n_live

    def __repr__(self) -> str:
        state = self._state
        documents = f"{state.n_live:,} documents, {self.index}, {state.metric}"
        return f"<Collection {state.name!r} at {self._path}: {documents}>"

    def stats(self) -> dict[str, Any]:
        """Return what there is to know in numbers.

        Returns
        -------
        dict
            `documents`, `removed` (documents whose vectors still take space), `dim`, `metric`, `index`,
            `generation` (counts compactions), `index_bytes` in memory of which `index_bytes_hot` are touched
            by every search, `vector_bytes`, `filter_keys` (which have columns in memory, for filters) and
            `filter_bytes` (of these), `recall` (what was measured last, None for an exact index) and
            `effort_level` (how often the effort of searches was doubled for it), `full_text` (whether texts
            can be searched), and `disk_bytes` (None in memory).
        """
        return self._store.stats()

    # Asking for documents

    def get(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Filter = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Record]:
        """Return documents.

        Parameters
        ----------
        ids : sequence of str, optional
            In this order, missing ones skipped. Without, in the order of insertion.
        filter : dict or callable, optional
            Only those that match.
        limit : int, optional
            At most so many,
        offset : int
            after so many.
        """
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        first = as_count(offset, "offset", 0)
        stop = None if limit is None else first + as_count(limit, "limit", 0)
        with self._store.reading() as (view, reader):
            if names is None:
                return reader.records(selection.selected(view, reader, judge)[first:stop])
            known = reader.rows_of(names)
            rows = np.array([known[name] for name in names if name in known], np.int64)
            if judge is not None:
                rows = rows[np.isin(rows, selection.selected(view, reader, judge, names))]
            return reader.records(rows[first:stop])

    def vectors(self, ids: Sequence[str]) -> F32:
        """Return the vectors of documents as they were given, float32 (n, dim).

        Raises
        ------
        KeyError
            Naming an id that is not there.
        """
        names = batch.check_ids(ids)
        with self._store.reading() as (view, reader):
            known = reader.rows_of(names)
            for name in names:
                if name not in known:
                    raise KeyError(name)
            if view.vectors is None:
                return np.empty((0, 0), np.float32)
            return view.vectors_of(np.array([known[name] for name in names], np.int64))

    def parts(self) -> Iterator[tuple[list[Record], F32]]:
        """Yield all documents with their vectors (n, dim), a thousand at a time, in order of insertion.

        Each part is of one state. What is stored meanwhile comes at the end, a document that is replaced once
        more.
        """
        after = -1
        while True:
            with self._store.reading() as (view, reader):
                after, records = reader.page(after)
                if not records:
                    return
                known = reader.rows_of([record.id for record in records])
                vectors = view.vectors_of(np.array([known[record.id] for record in records], np.int64))
            yield records, vectors

    def count(self, filter: Filter = None) -> int:
        """Return how many documents match, or how many there are."""
        judge = selection.judge(filter)
        with self._store.reading() as (view, reader):
            return view.state.n_live if judge is None else len(selection.selected(view, reader, judge))

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, str):
            return False
        with self._store.reading() as (_, reader):
            return bool(reader.rows_of([id]))

    def __iter__(self) -> Iterator[Record]:
        """Yield all documents in order of insertion, as they were when the first one was asked for."""
        return self._store.walk()

    # Searching

    def search(
        self,
        vector: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
        **effort: Any,
    ) -> list[Hit]:
        """Find the documents nearest to a vector.

        Parameters
        ----------
        vector : array_like, (dim,)
        k : int
            How many; 0 or less finds none.
        filter : dict or callable, optional
            Only documents that match. It is part of the search: min(k, documents that match) are found.
        ids : sequence of str, optional
            Only these documents; unknown ids are no error.
        **effort
            Of the index in use, such as `rerank` for LVQ and `ef` for a graph, which is searched with 160
            unless told otherwise. In an "auto" collection those of other kinds of index are without effect.

        Returns
        -------
        list of Hit
            Best first, equal ones in order of insertion.
        """
        return self._search(vector, k, filter, ids, effort, one=True)[0]

    def search_batch(
        self,
        vectors: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
        **effort: Any,
    ) -> list[list[Hit]]:
        """Find the documents nearest to each of several vectors (n, dim), as `search` would."""
        return self._search(vectors, k, filter, ids, effort, one=False)

    def _search(
        self,
        vectors: npt.ArrayLike,
        k: int,
        filter: Filter,
        ids: Sequence[str] | None,
        effort: Mapping[str, Any],
        *,
        one: bool,
    ) -> list[list[Hit]]:
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        count = as_count(k, "k", -(2**62))
        with self._store.reading() as (view, reader):
            queries = searching.query_rows(vectors, view.state.dim, one=one)
            if view.index is None:
                return [[] for _ in queries]
            choice.check_effort(view.state, view.index, effort)
            allowed = selection.allowed(view, reader, judge, names)
            return searching.hits(reader, searching.ranked(view, reader, queries, count, allowed, effort))

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
        """Find documents near to a vector and different from each other: maximal marginal relevance.

        Parameters
        ----------
        vector : array_like, (dim,)
        k : int
            How many to choose,
        fetch_k : int
            from so many of the nearest that match; at least k.
        lambda_mult : float, 0 to 1
            1 chooses by nearness alone, 0 by difference.
        filter, ids : optional
            As for `search`.

        Returns
        -------
        list of Hit
            In the order in which they were chosen; `distance` is that to the vector.
        """
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        count, fetched = as_count(k, "k", -(2**62)), as_count(fetch_k, "fetch_k", -(2**62))
        batch.check_share(lambda_mult, "lambda_mult")
        with self._store.reading() as (view, reader):
            queries = searching.query_rows(vector, view.state.dim, one=True)
            if view.index is None or count <= 0:
                return []
            allowed = selection.allowed(view, reader, judge, names)
            ((values, rows),) = searching.ranked(view, reader, queries, max(count, fetched), allowed, {})
            chosen = mmr.select(queries[0], view.vectors_of(rows), count, lambda_mult)
            return searching.hits(reader, [(values[chosen], rows[chosen])])[0]

    def search_text(
        self, text: str, k: int = 10, *, filter: Filter = None, ids: Sequence[str] | None = None
    ) -> list[Hit]:
        """Find the documents whose texts have the words of a text, by BM25.

        Parameters
        ----------
        text : str
            What is looked for: any of its words, without regard to case and accents. There is no syntax.
        k : int
            How many; fewer come back where fewer have any of the words.
        filter, ids : optional
            As for `search`.

        Returns
        -------
        list of Hit
            Best first; `distance` is the BM25 weight, larger for better ones.

        Raises
        ------
        ValueError
            When the collection was never opened with `full_text=True`.
        """
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        count = as_count(k, "k", -(2**62))
        batch.check_text(text, "text")
        with self._store.reading() as (view, reader):
            allowed = selection.allowed(view, reader, judge, names)
            return searching.hits(reader, [searching.worded(reader, text, count, allowed)])[0]

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
        """Find documents by a vector and by words together: two rankings, fused.

        Parameters
        ----------
        vector : array_like, (dim,)
        text : str
            As for `search_text`.
        k : int
            How many; min(k, documents that match) are found, unless only words count.
        alpha : float, 0 to 1
            What the vector counts, beside 1 - alpha for the words: 1 is `search`, 0 `search_text`.
        fusion : {"rank", "score"}
            By reciprocal rank, or by values stretched to [0, 1]; see `inlay.collection.fusion`.
        fetch_k : int, optional
            So many of each ranking are fused; 4 k by default and at least 50.
        filter, ids, **effort : optional
            As for `search`.

        Returns
        -------
        list of Hit
            Best first; `distance` is the fused value, larger for better ones.

        Raises
        ------
        ValueError
            When the collection was never opened with `full_text=True`.
        """
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        count = as_count(k, "k", -(2**62))
        fetched = fusing.depth(count, fetch_k)
        batch.check_text(text, "text")
        batch.check_share(alpha, "alpha")
        fusing.check(fusion)
        with self._store.reading() as (view, reader):
            queries = searching.query_rows(vector, view.state.dim, one=True)
            allowed = selection.allowed(view, reader, judge, names)
            rankings, weights = [], []
            if alpha < 1:
                rankings.append(searching.worded(reader, text, fetched, allowed))
                weights.append(1 - alpha)
            if alpha > 0 and view.index is not None:
                choice.check_effort(view.state, view.index, effort)
                ((values, rows),) = searching.ranked(view, reader, queries, fetched, allowed, effort)
                rankings.append((searching.better(values, view.metric), rows))
                weights.append(alpha)
            if count <= 0 or not rankings:
                return []
            return searching.hits(reader, [fusing.fuse(rankings, weights, count, fusion)])[0]
