"""The contract that every index keeps, whatever its family.

A family says how rows are stored and searched by *slot*, the row's place in storage (`family`); everything
around that lives here once: checking what comes in, ids, filters, locking, undoing what failed; files in
`saving`. Searches run together; a change waits for them and excludes them. Inside, a score is
smaller-is-nearer; the public face gives the metric's own value.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import as_count, as_ids, as_number, as_rows, normalised
from ..ids import MAX_ROWS, Bits, IdFilter, repeated
from ..parallel.signals import uninterrupted
from ..progress import Progress, track
from ..results import negate
from .family import F32, I64
from .saving import Saved

Allowed = npt.ArrayLike | IdFilter | None


class Index(Saved):
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

    __slots__ = ()

    # What it holds

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
            self._extend(vectors, progress, lambda: self._ids.append(chosen))
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
            old = slots[known]
            if self.MOVES_ROWS and len(old):
                # New ids first, so that the replacements can be moved off the end once everything is stored.
                vectors = vectors[np.argsort(known, kind="stable")]

            def settle() -> None:
                if self.MOVES_ROWS:
                    if len(old):
                        n = self._ids.n_slots + len(fresh)
                        self._move(np.arange(n, n + len(old)), old)
                        self._truncate(n)
                    self._ids.append(fresh)
                else:
                    self._ids.bury(old)
                    self._ids.append(chosen)

            self._extend(vectors, progress, settle)
            self._sweep(self.MOST_DEAD)
        return chosen

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove rows; amortised O(1) a row.

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
                if self.MOVES_ROWS:
                    self._follow(*self._ids.remove(slots))
                else:
                    self._ids.bury(slots)
                    if not len(self):
                        self._forget()
            self._sweep(self.MOST_DEAD)
        return len(slots)

    def compact(self) -> None:
        """Give memory back that removals and growth left over."""
        with self._lock.exclusive():
            self._sweep()
            with uninterrupted():
                self._ids.compact()
                self._shrink()

    def reset(self) -> None:
        """Remove all rows; what was learned stays, and ids that were in use are not given again."""
        with self._lock.exclusive(), uninterrupted():
            self._forget()

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
            bits = self._ids.alive if allowed is None else self._bits(allowed)
            if len(self._ids):
                scores, found = self._search(vectors, k, bits, effort)
            else:
                shape = (len(vectors), k)
                scores, found = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int64)
        if self._metric != "l2":
            negate(scores)
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
            bits = self._ids.alive if allowed is None else self._bits(allowed)
            with np.errstate(over="ignore"):  # beyond float32 is as good as infinite
                radii = np.full(len(vectors), bound if l2 else -bound, np.float32)
            if len(self._ids):
                limits, scores, found = self._range(vectors, radii, bits)
            else:
                limits = np.zeros(len(vectors) + 1, np.int64)
                scores, found = np.empty(0, np.float32), np.empty(0, np.int64)
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

    # Parts shared by the above

    def _extend(self, rows: F32, progress: Progress, settle: Callable[[], None]) -> None:
        # Train if need be, store the rows in slots at the end, settle their ids. If any of it fails or is
        # interrupted, all is as it was; only once the ids are settled there is nothing to be undone.
        if len(rows) == 0:
            return
        n = self._ids.n_slots
        if n + len(rows) > MAX_ROWS:
            raise ValueError(f"an index holds at most {MAX_ROWS:,} rows")
        self._truncate(n)  # of rows that a second Ctrl-C kept from being undone
        learned, settled = self._learned(), False
        try:
            if not self.is_trained:
                self._train(self._prepared(rows), progress)
            with track(progress, len(rows), "adding", long=rows.nbytes > self.LONG) as step:
                self._reserve(n + len(rows))
                self._store(rows, step)
            with uninterrupted():
                settle()
                self._commit()
                settled = True
        except BaseException:
            if not settled:
                with uninterrupted():
                    self._truncate(n)
                    self._unlearn(learned)
            raise

    def _sweep(self, most_dead: float = 0.0) -> None:
        # Drop the dead slots once they are more than this share. When that fails or is interrupted they stay.
        n = self._ids.n_slots
        if n - len(self) > most_dead * n and (alive := self._ids.alive) is not None:
            self._heal(alive)
            with uninterrupted():
                self._follow(*self._ids.drop_dead())

    def _follow(self, sources: I64, targets: I64) -> None:
        # Move rows as their ids have moved.
        if len(sources):
            self._move(sources, targets)
        self._truncate(self._ids.n_slots)

    def _forget(self) -> None:
        self._ids.clear()
        self._clear()

    def _as_mask(self, which: object) -> npt.NDArray[np.bool_] | None:
        # The slots that a mask over the rows names; None for what is no mask.
        mask = np.asarray(which)
        if mask.dtype != np.bool_:
            return None
        if mask.shape != (len(self),):
            raise ValueError(f"a mask must have one entry a row, ({len(self)},), not shape {mask.shape}")
        return self._ids.spread(mask)

    def _bits(self, allowed: Allowed) -> Bits:
        if isinstance(allowed, IdFilter):
            bits: Bits = allowed.bits(self._ids)
            return bits
        mask = self._as_mask(allowed)
        return self._ids.bits(as_ids(allowed, "allowed ids")) if mask is None else Bits(mask)
