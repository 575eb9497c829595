"""What a kind of index says of rows by their keys; `base.Index` does everything around that.

An index around another gives work on by these methods, under the lock of the one inside. They take and return
keys (`names`), arrays that were checked, and no locks.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy.typing as npt

from inlay.contents import Sections
from inlay.parallel.lock import SharedLock

from .arrays import F32, I64, U8, as_int
from .attributes import Declared
from .errors import IndexOperationError
from .names import Names

METRIC_INNER_PRODUCT = 0
METRIC_L2 = 1
METRICS = {METRIC_INNER_PRODUCT: "ip", METRIC_L2: "l2"}

Values = tuple[F32, I64]
Ranges = tuple[I64, F32, I64]
State = tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]


class Kind(Declared, ABC):
    """Rows by key, and their labels."""

    #: Attributes that `ParameterSpace` sets, by its names for them.
    EFFORT: ClassVar[Mapping[str, str]] = {}
    #: What the class is called with, as attributes (`metric` is `metric_type`), and what a file keeps beside.
    MADE_OF: ClassVar[tuple[str, ...]] = ()
    SAVED: ClassVar[tuple[str, ...]] = ()
    #: Attributes that hold the indexes it is made of.
    PARTS: ClassVar[tuple[str, ...]] = ()

    d: int
    metric_type: int
    metric_arg: float = 0.0
    verbose: bool = False
    own_fields: bool = False

    def __init__(self, d: int, metric: int = METRIC_L2) -> None:
        self.d = as_int(d, "d", 1)
        self.metric_type = as_int(metric, "metric")
        if self.metric_type not in METRICS:
            raise IndexOperationError(
                f"metric {metric} is not there: METRIC_L2 and METRIC_INNER_PRODUCT are (cosine similarity is "
                "the inner product of what normalize_L2 leaves)"
            )
        self._lock = SharedLock()
        self._read_only = False

    # What a kind of index says

    @property
    @abstractmethod
    def is_trained(self) -> bool:
        """Whether it takes rows."""

    @property
    @abstractmethod
    def factory_string(self) -> str:
        """The string from which `index_factory` makes such an index."""

    @property
    @abstractmethod
    def _names(self) -> Names:
        """The labels of the rows."""

    @abstractmethod
    def _learn(self, x: F32) -> None:
        """Learn from rows."""

    @abstractmethod
    def _append(self, x: F32, labels: I64 | None) -> I64:
        """Store and name rows; return their keys."""

    @abstractmethod
    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        """Return distances and keys, best first, key -1 where there is no row; k and ntotal are 1 or more."""

    @abstractmethod
    def _within(self, x: F32, radius: float, allowed: I64 | None, effort: Mapping[str, Any]) -> Ranges:
        """Return limits, distances and keys of all rows that are nearer than a radius."""

    @abstractmethod
    def _rows(self, keys: I64) -> F32:
        """Return rows as well as they are known."""

    @abstractmethod
    def _discard(self, keys: I64) -> None:
        """Remove rows and their names."""

    @abstractmethod
    def _empty(self) -> None:
        """Remove all rows and names."""

    @property
    def _takes_labels(self) -> bool:
        return not self._names.shifts

    @property
    def _is_l2(self) -> bool:
        return self.metric_type == METRIC_L2

    # Codes by themselves

    def _encode(self, x: F32) -> U8:
        """Return rows as codes."""
        raise IndexOperationError(f"{type(self).__name__} has no codes of rows by themselves")

    def _decode(self, codes: U8) -> F32:
        """Return the rows that codes stand for."""
        raise IndexOperationError(f"{type(self).__name__} has no codes of rows by themselves")

    # Files: what `io` keeps of an index beside its parts

    def _state(self) -> State:
        """Return header fields and sections."""
        return {}, {}

    def _restore(self, fields: Mapping[str, Any], sections: Sections) -> None:
        """Take what `_state` gave, its parts being restored already."""

    # What changes and questions ask first

    def _check_trained(self, what: str) -> None:
        if not self.is_trained:
            raise IndexOperationError(
                f"{type(self).__name__} must be trained before it can {what}: call train(x)"
            )

    def _check_writable(self) -> None:
        if self._read_only:
            raise IndexOperationError("the index was read with IO_FLAG_READ_ONLY")
