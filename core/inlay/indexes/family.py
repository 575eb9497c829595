"""What a family of indexes provides: how rows are stored and searched by *slot*, the row's place in storage.

`base.Index` does everything around that: it checks what comes in, keeps ids, locks, undoes what failed.

A row can go in two ways. Where rows know nothing of each other, the last row moves into the hole at once.
Where they refer to each other (`MOVES_ROWS` False), the removed row is buried: its slot stays, dead, and
searches pass through it, until `_heal` has led all references past the dead slots and the last rows move
into them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast, overload

import numpy as np
import numpy.typing as npt

from ..arrays import as_count, normalised
from ..contents import Sections
from ..ids import MAX_ROWS, Bits, IdMap
from ..parallel.lock import SharedLock
from ..progress import Progress

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

METRICS = ("l2", "ip", "cosine")

# Rows coded between two looks at the progress bar; whole blocks of every packed layout.
CHUNK = 16_384


class Effort:
    """An effort of searches as an attribute of an index: a number, or None for the family's default.

    Its value stands in the slot of that name with an underscore before it.
    """

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, index: None, owner: type) -> "Effort": ...
    @overload
    def __get__(self, index: "Family", owner: type) -> int | None: ...
    def __get__(self, index: "Family | None", owner: type) -> "Effort | int | None":
        return self if index is None else cast("int | None", getattr(index, f"_{self._name}"))

    def __set__(self, index: "Family", value: int | None) -> None:
        setattr(index, f"_{self._name}", None if value is None else as_count(value, self._name, 0))


class Family(ABC):
    """Rows by slot, and the ids that they answer to."""

    __slots__ = ("__weakref__", "_dim", "_ids", "_lock", "_metric", "_seed", "_unverified")

    #: Names of the options that `__init__` takes beside dim, metric and seed.
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    #: Names of the attributes, each an `Effort`, that set the effort of a search; each may also be given to
    #: `search`.
    EFFORT: ClassVar[tuple[str, ...]] = ()
    #: Whether the last row moves into the slot of a removed one at once; if not, the row is buried.
    MOVES_ROWS: ClassVar[bool] = True
    #: Share of dead slots beyond which a change drops them. Until then every search passes through them; to
    #: drop them touches every row, which is O(1) for each one removed since the last time.
    MOST_DEAD: ClassVar[float] = 0.2
    #: Bytes of rows from which adding shows a bar by itself: some seconds of work.
    LONG: ClassVar[int] = 1 << 30

    def __init__(self, dim: int, metric: str = "l2", *, seed: int = 0) -> None:
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
        self._dim = as_count(dim, "dim")
        self._metric = metric
        self._seed = as_count(seed, "seed", 0)
        self._ids = IdMap()
        self._lock = SharedLock()
        self._unverified: Sections | None = None  # the mapped file that rows come from, until it is verified
        for name in self.EFFORT:
            setattr(self, f"_{name}", None)

    # What it is

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

    # Changing it

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
        """Go back to what `_learned` gave, once `_truncate` went back to the slots of then."""

    def _store(self, rows: F32, step: Callable[[int], None]) -> None:
        """Store rows in new slots at the end; report those that are done by `step(n)`.

        May be interrupted anywhere. Either `_commit` follows, or `_truncate` and `_unlearn`.
        """
        for first in range(0, len(rows), CHUNK):
            chunk = rows[first : first + CHUNK]
            self._append(self._prepared(chunk))
            step(len(chunk))

    @abstractmethod
    def _append(self, rows: F32) -> None:
        """Store prepared rows in new slots at the end."""

    def _commit(self) -> None:  # noqa: B027 (nothing to do where new rows leave the old ones as they were)
        """Forget how to undo the last `_store`: its rows have their ids now."""

    @abstractmethod
    def _truncate(self, n: int) -> None:
        """Keep the first n slots."""

    @abstractmethod
    def _move(self, sources: I64, targets: I64) -> None:
        """Let the slots of targets hold the rows of sources, whose slots `_truncate` then drops."""

    def _heal(self, alive: Bits) -> None:  # noqa: B027 (nothing to do where no row refers to another)
        """Let no live row refer to a dead one; dead rows stay until `_move` and `_truncate` follow.

        May be interrupted, and has changed nothing then.
        """

    @abstractmethod
    def _clear(self) -> None:
        """Drop all rows; stay trained."""

    @abstractmethod
    def _shrink(self) -> None:
        """Give back memory beyond the rows there are."""

    # Asking it

    @abstractmethod
    def _search(self, queries: F32, k: int, allowed: Bits | None, effort: dict[str, Any]) -> tuple[F32, I64]:
        """Return (scores, ids), nearest first, missing ones (inf, -1).

        There is one row at least, and `allowed` has no dead slots; so for `_range`.
        """

    @abstractmethod
    def _range(self, queries: F32, radii: F32, allowed: Bits | None) -> tuple[I64, F32, I64]:
        """Return (limits, scores, ids) of all rows with a score below the radius."""

    @abstractmethod
    def _decode(self, slots: I64) -> F32:
        """Return the rows that slots hold, as well as they are known."""

    @abstractmethod
    def _bytes(self, *, cold: bool) -> int:
        """Return the bytes of what a search touches all the time, or for its last candidates only."""

    # Files

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return (header fields, sections) for a file."""

    @abstractmethod
    def _restore(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        """Take what `_state` gave, as read from a file with n slots."""

    # Parts shared by families

    def _prepared(self, rows: F32) -> F32:
        return normalised(rows) if self._metric == "cosine" else rows

    def _checked(self, effort: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in effort.items():
            if name not in self.EFFORT:
                known = f"it knows {', '.join(self.EFFORT)}" if self.EFFORT else "it has none"
                raise TypeError(f"{type(self).__name__} has no effort {name!r}; {known}")
            if value is not None and (type(value) is not int or not 0 <= value <= MAX_ROWS):
                as_count(value, name, 0)
        return dict(effort)
