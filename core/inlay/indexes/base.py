"""The contract that every index keeps, whatever its family.

A family says how rows are stored and searched by *slot*, the row's place in storage; everything around that
lives here once: checking what comes in, ids, filters, locking, undoing what failed, files. Searches run
together; a change waits for them and excludes them. Inside, a score is smaller-is-nearer; the public face
gives the metric's own value.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from .. import file
from ..arrays import as_count, as_ids, as_number, as_rows, normalised
from ..contents import FormatError, Header, Sections, field
from ..ids import Bits, IdFilter, IdMap, repeated
from ..parallel.lock import SharedLock
from ..parallel.signals import uninterrupted
from ..progress import Progress, track

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Allowed = npt.ArrayLike | IdFilter | None

METRICS = ("l2", "ip", "cosine")
MAX_ROWS = 2**31 - 1  # slots are 32-bit in candidates and in the hash table of ids

# Rows coded between two looks at the progress bar; whole blocks of every packed layout.
CHUNK = 16_384
# Bytes of rows from which adding shows a bar by itself: some seconds of work.
LONG = 1 << 30


class Index(ABC):
    """An index of vectors that answers to ids.

    Parameters
    ----------
    dim : int, >= 1
        Number of dimensions.
    metric : {"l2", "ip", "cosine"}
        "l2" is the squared Euclidean distance, smaller is nearer; "ip" the inner product and "cosine" the
        cosine similarity, larger is nearer. Rows of a "cosine" index are stored scaled to length 1.
    seed : int, >= 0
        Of everything random. The same data and seed give the same file, whatever the number of threads.
    """

    __slots__ = ("__weakref__", "_dim", "_ids", "_lock", "_metric", "_seed")

    #: Names of the options that `__init__` takes beside dim, metric and seed.
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    #: Names of the attributes that set the effort of a search; each may also be given to `search`.
    EFFORT: ClassVar[tuple[str, ...]] = ()

    def __init__(self, dim: int, metric: str = "l2", *, seed: int = 0) -> None:
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
        self._dim = as_count(dim, "dim")
        self._metric = metric
        self._seed = as_count(seed, "seed", 0)
        self._ids = IdMap()
        self._lock = SharedLock()

    # What a family provides

    @property
    @abstractmethod
    def spec(self) -> str:
        """The string from which `inlay.from_spec` makes such an index, options aside."""

    @classmethod
    @abstractmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return the options that a spec stands for, None when it is not of this family."""

    @property
    @abstractmethod
    def is_trained(self) -> bool:
        """Whether rows can be coded; `add` trains what is not."""

    @abstractmethod
    def _train(self, rows: F32, progress: Progress) -> None:
        """Learn from rows; leave everything as it was when that fails."""

    @abstractmethod
    def _reserve(self, n: int) -> None:
        """Have memory for n slots."""

    @abstractmethod
    def _learned(self) -> Any:
        """Return what training and later rows have taught, for `_unlearn`."""

    @abstractmethod
    def _unlearn(self, learned: Any) -> None:
        """Go back to what `_learned` gave."""

    @abstractmethod
    def _append(self, rows: F32) -> None:
        """Store rows in new slots at the end."""

    @abstractmethod
    def _truncate(self, n: int) -> None:
        """Keep the first n slots."""

    @abstractmethod
    def _move(self, sources: I64, targets: I64) -> None:
        """Let the slots of targets hold the rows of sources."""

    @abstractmethod
    def _clear(self) -> None:
        """Drop all rows; stay trained."""

    @abstractmethod
    def _shrink(self) -> None:
        """Give back memory beyond the rows there are."""

    @abstractmethod
    def _search(self, queries: F32, k: int, allowed: Bits | None, effort: dict[str, Any]) -> tuple[F32, I64]:
        """Return (scores, ids), nearest first, missing ones (inf, -1)."""

    @abstractmethod
    def _range(self, queries: F32, radii: F32, allowed: Bits | None) -> tuple[I64, F32, I64]:
        """Return (limits, scores, ids) of all rows with a score below the radius."""

    @abstractmethod
    def _decode(self, slots: I64) -> F32:
        """Return the rows that slots hold, as well as they are known."""

    @abstractmethod
    def _bytes(self, *, cold: bool) -> int:
        """Return the bytes of what a search touches all the time, or for its last candidates only."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return (header fields, sections) for a file."""

    @abstractmethod
    def _restore(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        """Take what `_state` gave, as read from a file with n rows."""

    # What it is

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return self._dim

    @property
    def metric(self) -> str:
        """The metric: "l2", "ip" or "cosine"."""
        return self._metric

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self._seed

    @property
    def options(self) -> dict[str, Any]:
        """The family's options by name."""
        return {name: getattr(self, name) for name in self.OPTIONS}

    @property
    def ids(self) -> I64:
        """The ids in storage order, int64 (n,); the order that boolean masks follow."""
        with self._lock.shared():
            return np.array(self._ids.array)

    @property
    def nbytes(self) -> int:
        """Bytes of memory this index holds: `nbytes_hot` + `nbytes_cold`."""
        return self.nbytes_hot + self.nbytes_cold

    @property
    def nbytes_hot(self) -> int:
        """Bytes that every search may touch, ids included."""
        return self._bytes(cold=False) + self._ids.nbytes

    @property
    def nbytes_cold(self) -> int:
        """Bytes touched for the last candidates of a search only; after a load by mmap they stay on disk."""
        return self._bytes(cold=True)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, item: object) -> bool:
        try:
            number = operator.index(item)  # type: ignore[arg-type]
        except TypeError:
            return False
        return -(2**63) <= number < 2**63 and bool(self.contains([number])[0])

    def __repr__(self) -> str:
        trained = "" if self.is_trained else ", untrained"
        return (
            f"{type(self).__name__}({self.spec!r}, dim={self.dim}, metric={self.metric!r}{trained}: "
            f"{len(self):,} rows, {self.nbytes / 1e6:.1f} MB)"
        )

    # Changing it

    def train(self, rows: npt.ArrayLike, *, progress: Progress = None) -> None:
        """Learn what coding needs from a sample.

        Parameters
        ----------
        rows : array_like, (n, dim)
        progress : bool, callable or None
            True draws a bar, False is silent, a callable receives (done, total); None draws one when the work
            is long and stderr is a terminal.

        Raises
        ------
        ValueError
            For bad rows, or when the index already holds some.
        """
        sample = self._prepared(as_rows(rows, self.dim))
        with self._lock.exclusive():
            if len(self):
                raise ValueError("the index holds rows already, coded with what it learned; reset() it first")
            self._train(sample, progress)

    def add(self, rows: npt.ArrayLike, ids: npt.ArrayLike | None = None, *, progress: Progress = None) -> I64:
        """Add rows, and train on them first where that is still to be done.

        Parameters
        ----------
        rows : array_like, (n, dim)
            Any real dtype; copied.
        ids : array_like of int, (n,), optional
            Unique and unknown so far, not -1. By default the next numbers never used, beginning with 0.
        progress : bool, callable or None
            As for `train`.

        Returns
        -------
        ids : int64 (n,)

        Raises
        ------
        ValueError, TypeError
            For bad rows or ids, an id that is there already included; nothing has changed then.
        """
        vectors = as_rows(rows, self.dim)
        with self._lock.exclusive():
            chosen = self._ids.choose(ids, len(vectors))
            self._extend(vectors, progress)
            with uninterrupted():
                self._ids.append(chosen)
        return chosen

    def upsert(self, rows: npt.ArrayLike, ids: npt.ArrayLike, *, progress: Progress = None) -> I64:
        """Add rows under ids, replacing the rows of ids that are there.

        Parameters
        ----------
        rows : array_like, (n, dim)
        ids : array_like of int, (n,)
            Unique within the call.
        progress : bool, callable or None
            As for `train`.

        Returns
        -------
        ids : int64 (n,)
        """
        vectors = as_rows(rows, self.dim)
        chosen = as_ids(ids)
        if len(chosen) != len(vectors):
            raise ValueError(f"{len(vectors)} rows were given with {len(chosen)} ids")
        twice = repeated(chosen)
        if twice is not None:
            raise ValueError(f"id {twice} is given twice; which of its rows should stay?")
        with self._lock.exclusive():
            slots = self._ids.slots(chosen)
            known = slots >= 0
            fresh = self._ids.choose(chosen[~known], int(np.count_nonzero(~known)))
            n = len(self)
            # New ids first, so that the replacements can be moved off the end once everything is coded.
            self._extend(vectors if not known.any() else vectors[np.argsort(known, kind="stable")], progress)
            with uninterrupted():
                if known.any():
                    self._move(np.arange(n + len(fresh), n + len(chosen)), slots[known])
                    self._truncate(n + len(fresh))
                self._ids.append(fresh)
        return chosen

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove rows; O(1) a row.

        Parameters
        ----------
        ids : array_like of int, or of bool (n,)
            Ids, unknown ones ignored; or a mask over `self.ids`.

        Returns
        -------
        int
            How many rows were removed.
        """
        with self._lock.exclusive():
            mask = self._as_mask(ids)
            if mask is not None:
                slots = np.flatnonzero(mask)
            else:
                slots = np.unique(self._ids.slots(as_ids(ids)))
                slots = slots[slots >= 0]
            with uninterrupted():
                sources, targets = self._ids.remove(slots)
                if len(sources):
                    self._move(sources, targets)
                self._truncate(len(self._ids))
        return len(slots)

    def compact(self) -> None:
        """Give memory back that removals and growth left over."""
        with self._lock.exclusive(), uninterrupted():
            self._ids.compact()
            self._shrink()

    def reset(self) -> None:
        """Remove all rows; what was learned stays, and ids that were in use are not given again."""
        with self._lock.exclusive(), uninterrupted():
            self._ids.clear()
            self._clear()

    # Asking it

    def contains(self, ids: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether each id is there, bool (n,)."""
        wanted = as_ids(ids)
        with self._lock.shared():
            return self._ids.slots(wanted) >= 0

    def search(
        self, queries: npt.ArrayLike, k: int, *, allowed: Allowed = None, **effort: Any
    ) -> tuple[F32, I64]:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        queries : array_like, (n, dim) or (dim,)
        k : int, >= 1
        allowed : array_like of int, or of bool (len(self),), or IdFilter, optional
            Only these rows may be returned: ids, or a mask over `self.ids`. The search itself honours it, so
            min(k, number allowed) results come back.
        **effort
            The family's effort for this call, such as `rerank`; see the class.

        Returns
        -------
        distances : float32 (n, k)
            The metric's values, best first; equal ones by lower id. inf ("l2") or -inf where there is no row.
        ids : int64 (n, k)
            -1 where there is no row.
        """
        vectors = as_rows(queries, self._dim, "queries", True)
        if type(k) is not int or not 0 < k <= MAX_ROWS:
            k = as_count(k, "k")
        if self._metric == "cosine":
            vectors = normalised(vectors)
        if effort:
            effort = self._checked(effort)
        with self._lock.shared():
            bits = None if allowed is None else self._bits(allowed)
            scores, found = self._search(vectors, k, bits, effort)
        if self._metric != "l2":
            np.subtract(0.0, scores, out=scores)
        return scores, found

    def range_search(
        self, queries: npt.ArrayLike, radius: float, *, allowed: Allowed = None
    ) -> tuple[I64, F32, I64]:
        """Find all rows nearer than a radius.

        Parameters
        ----------
        queries : array_like, (n, dim) or (dim,)
        radius : float
            "l2": squared distances below it; "ip" and "cosine": values above it.
        allowed : optional
            As for `search`.

        Returns
        -------
        limits : int64 (n + 1,)
            The results of query i are at limits[i] .. limits[i + 1] of the other two, best first.
        distances : float32 (limits[-1],)
        ids : int64 (limits[-1],)
        """
        vectors = self._prepared(as_rows(queries, self.dim, "queries", True))
        bound = as_number(radius, "radius")
        l2 = self.metric == "l2"
        with self._lock.shared():
            bits = None if allowed is None else self._bits(allowed)
            with np.errstate(over="ignore"):  # beyond float32 is as good as infinite
                radii = np.full(len(vectors), bound if l2 else -bound, np.float32)
            limits, scores, found = self._range(vectors, radii, bits)
        return limits, scores if l2 else np.subtract(0.0, scores, dtype=np.float32), found

    def reconstruct(self, ids: npt.ArrayLike) -> F32:
        """Return the rows of ids as well as the index knows them.

        Parameters
        ----------
        ids : int or array_like of int, (n,)

        Returns
        -------
        float32 (dim,) for one id, (n, dim) for several

        Raises
        ------
        KeyError
            For an id that is not there.
        """
        wanted = as_ids(np.atleast_1d(ids))
        with self._lock.shared():
            slots = self._ids.slots(wanted)
            if (slots < 0).any():
                raise KeyError(f"id {wanted[(slots < 0).argmax()]} is not in the index")
            rows = self._decode(slots)
        return rows[0] if np.ndim(ids) == 0 else rows

    def search_and_reconstruct(
        self, queries: npt.ArrayLike, k: int, *, allowed: Allowed = None, **effort: Any
    ) -> tuple[F32, I64, F32]:
        """Search, and return (distances, ids, rows): float32 (n, k, dim), NaN where there is none."""
        with self._lock.shared():
            distances, found = self.search(queries, k, allowed=allowed, **effort)
            rows = np.full((*found.shape, self.dim), np.nan, np.float32)
            rows[found >= 0] = self._decode(self._ids.slots(found[found >= 0]))
        return distances, found, rows

    # Files

    def save(self, path: file.PathName) -> None:
        """Write the index to a file: beside it first, then renamed, so that there is always a whole one."""
        with self._lock.shared():
            file.write(path, *self._contents())

    def to_bytes(self) -> bytes:
        """Return what `save` would write."""
        with self._lock.shared():
            return file.to_bytes(*self._contents())

    @classmethod
    def load(cls, path: file.PathName, mmap: bool = True) -> Self:
        """Open a saved index.

        Parameters
        ----------
        path : path-like
        mmap : bool
            Map the file and read what a search touches when it touches it; the file must then stay as it is,
            and only its header is verified (`inlay.file.verify` checks the rest). False reads and verifies
            all of it.

        Raises
        ------
        FormatError
            For a damaged or foreign file, or one that holds another kind of index.
        """
        return cls._opened(*file.read(path, mmap=mmap))

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Self:
        """Open what `to_bytes` gave."""
        return cls._opened(*file.read(data))

    @classmethod
    def _opened(cls, header: Header, sections: Sections) -> Self:
        kind = field(header, "index", str)
        if kind != cls.__name__:
            raise FormatError(f"holds a {kind}, not a {cls.__name__}; inlay.load opens any", file=header.file)
        try:
            index = cls(
                field(header, "dim", int),
                field(header, "metric", str),
                seed=field(header, "seed", int),
                **field(header, "options", dict),
            )
            for name, value in index._checked(field(header, "effort", dict)).items():
                setattr(index, name, value)
        except (TypeError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"describes an index that cannot be: {error}", file=header.file) from None
        n = field(header, "rows", int, at_least=0, at_most=MAX_ROWS)
        ids = sections.take("ids", np.int64, (n,)) if "ids" in sections else None
        base = field(header, "base", int, at_least=-(2**63), at_most=2**63 - max(n, 1))
        index._restore(header, sections, n)
        index._ids.restore(n, base, field(header, "next_id", int, at_least=0, at_most=2**63), ids)
        return index

    def _contents(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        fields, sections = self._state()
        if self._ids.stored is not None:
            sections["ids"] = self._ids.stored
        header = {
            "index": type(self).__name__,
            "spec": self.spec,
            "dim": self.dim,
            "metric": self.metric,
            "seed": self.seed,
            "options": self.options,
            "effort": {name: getattr(self, name) for name in self.EFFORT},
            "rows": len(self),
            "base": self._ids.base,
            "next_id": self._ids.next_id,
            **fields,
        }
        return header, sections

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_bytes, (self.to_bytes(),)

    # Parts shared by the above

    def _prepared(self, rows: F32) -> F32:
        return normalised(rows) if self._metric == "cosine" else rows

    def _extend(self, rows: F32, progress: Progress) -> None:
        # Train if need be, then code the rows into slots at the end; whatever fails, all is as it was.
        if len(rows) == 0:
            return
        if len(self) + len(rows) > MAX_ROWS:
            raise ValueError(f"an index holds at most {MAX_ROWS:,} rows")
        self._truncate(len(self))  # of rows whose ids an interruption kept from being stored
        with self._undone():
            if not self.is_trained:
                self._train(self._prepared(rows), progress)
            with track(progress, len(rows), "adding", long=rows.nbytes > LONG) as step:
                self._reserve(len(self) + len(rows))
                for first in range(0, len(rows), CHUNK):
                    chunk = rows[first : first + CHUNK]
                    self._append(self._prepared(chunk))
                    step(len(chunk))

    @contextmanager
    def _undone(self) -> Iterator[None]:
        n, learned = len(self), self._learned()
        try:
            yield
        except BaseException:
            with uninterrupted():
                self._truncate(n)
                self._unlearn(learned)
            raise

    def _as_mask(self, which: object) -> npt.NDArray[np.bool_] | None:
        mask = np.asarray(which)
        if mask.dtype != np.bool_:
            return None
        if mask.shape != (len(self),):
            raise ValueError(f"a mask must have one entry a row, ({len(self)},), not shape {mask.shape}")
        return mask

    def _bits(self, allowed: Allowed) -> Bits:
        if isinstance(allowed, IdFilter):
            bits: Bits = allowed.bits(self._ids)
            return bits
        mask = self._as_mask(allowed)
        return self._ids.bits(as_ids(allowed, "allowed ids")) if mask is None else Bits(mask)

    def _checked(self, effort: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in effort.items():
            if name not in self.EFFORT:
                known = f"it knows {', '.join(self.EFFORT)}" if self.EFFORT else "it has none"
                raise TypeError(f"{type(self).__name__} has no effort {name!r}; {known}")
            if value is not None:
                as_count(value, name, 0)
        return dict(effort)
