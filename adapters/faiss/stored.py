"""An index that holds rows itself: one index of the core, which knows rows by their keys."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import inlay
from inlay.contents import FormatError, Header, Sections, field
from inlay.indexes import opened
from inlay.indexes.coded import CodedIndex

from .arrays import F32, I64, U8
from .base import Index
from .errors import operation
from .kind import METRIC_L2, METRICS, Ranges, State, Values
from .names import Names


class TrainingWarning(UserWarning):
    """Few rows to learn from."""


class StoredIndex(Index):
    """Rows in an index of the core.

    Attributes
    ----------
    core : inlay.Index
        That index; its ids are keys. For looking at: what changes it by itself is not seen here.
    """

    #: Whether a row's label is its place, or stays what it was.
    SHIFTS: ClassVar[bool] = True
    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "metric")
    #: Rows that coding cannot do without.
    fewest_rows: int = 1

    def __init__(self, d: int, metric: int = METRIC_L2) -> None:
        super().__init__(d, metric)
        self._named = Names(self.SHIFTS)
        # Rows with NaN or infinite values: they count, and no search finds them.
        self._void = np.empty(0, np.int64)
        with operation():
            self._core = self._new_core(METRICS[self.metric_type])

    @abstractmethod
    def _new_core(self, metric: str) -> inlay.Index:
        """Return an empty index for the rows."""

    def _efforts(self, k: int, effort: Mapping[str, Any]) -> dict[str, Any]:
        """Return the core's efforts for one call, from the attributes and what the call says."""
        return {}

    @property
    def core(self) -> inlay.Index:
        """The index of the core that holds the rows."""
        return self._core

    @property
    def is_trained(self) -> bool:
        """Whether it takes rows."""
        return self._core.is_trained

    @property
    def _names(self) -> Names:
        return self._named

    def _learn(self, x: F32) -> None:
        with operation():
            self._core.train(self._enough(x), progress=self.verbose)

    def _enough(self, x: F32) -> F32:
        """Return rows to learn from: these, again and again where they are too few for any code."""
        if not 0 < len(x) < self.fewest_rows:
            return x
        warnings.warn(
            f"{len(x)} rows to train with; there will be fewer different codes than {self.fewest_rows}",
            TrainingWarning,
            stacklevel=5,
        )
        return np.resize(x, (self.fewest_rows, self.d))

    def _append(self, x: F32, labels: I64 | None) -> I64:
        finite = np.asarray(np.isfinite(x).all(axis=1))
        rows = x if finite.all() else np.where(finite[:, None], x, np.float32(0))
        keys = self._named.new_keys(len(x))
        with operation():
            self._core.add(rows, keys, progress=self.verbose)
        self._named.append(keys, labels)
        if not finite.all():
            self._void = np.concatenate([self._void, keys[~finite]])
        return keys

    def _seen(self, allowed: I64 | None) -> I64 | None:
        """Return which keys a search may find."""
        if not len(self._void):
            return allowed
        return np.setdiff1d(self._named.keys if allowed is None else allowed, self._void)

    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        with operation():
            return self._core.search(x, k, allowed=self._seen(allowed), **self._efforts(k, effort))

    def _within(self, x: F32, radius: float, allowed: I64 | None, effort: Mapping[str, Any]) -> Ranges:
        with operation():
            return self._core.range_search(x, radius, allowed=self._seen(allowed))

    def _rows(self, keys: I64) -> F32:
        rows = self._core.reconstruct(keys)
        if len(self._void):
            rows[np.isin(keys, self._void)] = np.nan
        return rows

    def _discard(self, keys: I64) -> None:
        self._core.remove(keys)
        self._named.remove(keys)
        if len(self._void):
            self._void = np.setdiff1d(self._void, keys)

    def _empty(self) -> None:
        self._core.reset()
        self._named.clear()
        self._void = np.empty(0, np.int64)

    def _shrink(self) -> None:
        self._core.compact()

    # Files

    def _state(self) -> State:
        header, sections = self._core.contents()
        fields, names = self._named.state()
        arrays = {f"core.{name}": array for name, array in sections.items()}
        arrays |= {f"names.{name}": array for name, array in names.items()}
        if len(self._void):
            arrays["void"] = self._void
        return {"core": header, "names": fields, "void": len(self._void)}, arrays

    def _restore(self, fields: Mapping[str, Any], sections: Sections) -> None:
        core = opened(Header(field(fields, "core", dict), sections.file), sections.under("core."))
        before = self._core
        if (type(core), core.spec, core.dim, core.metric) != (
            type(before),
            before.spec,
            before.dim,
            before.metric,
        ):
            raise FormatError(f"holds {core!r} where {before!r} belongs", file=sections.file)
        names = Names(self.SHIFTS)
        names.restore(field(fields, "names", dict), sections.under("names."))
        if not names.has_keys(np.sort(core.ids)):
            raise FormatError("names other rows than it holds", file=sections.file)
        self._core, self._named = core, names
        if field(fields, "void", int, at_least=0):
            self._void = sections.take("void", np.int64, (fields["void"],))
            if not np.isin(self._void, names.keys).all():
                raise FormatError("calls rows void that it does not hold", file=sections.file)

    # Codes by themselves

    @property
    def code_size(self) -> int:
        """Bytes of a code."""
        return self.sa_code_size()

    @property
    def codes(self) -> U8:
        """The codes of all rows, one after the other, uint8 (ntotal * code_size,)."""
        with self._lock.shared():
            rows = self._rows(self._named.keys)
        return self.sa_encode(rows).reshape(-1)

    @property
    def _coded(self) -> CodedIndex:
        assert isinstance(self._core, CodedIndex)
        return self._core

    def sa_code_size(self) -> int:
        """Return the bytes of a code."""
        with operation():
            return self._coded.code_size

    def _encode(self, x: F32) -> U8:
        with operation():
            return self._coded.encode(x)

    def _decode(self, codes: U8) -> F32:
        with operation():
            return self._coded.decode(codes)
