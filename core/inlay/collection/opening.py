"""Opening a collection: what is asked for is checked, and compared with what is there."""

from dataclasses import dataclass
from pathlib import Path

from ..arrays import as_count
from ..indexes import from_spec
from . import batch, choice
from .database import Durability
from .records import METRICS, State
from .store import Store

IN_MEMORY = ":memory:"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user says a collection is; None stands for what is stored, or the default of a new one."""

    path: str
    dim: int | None
    metric: str | None
    index: str | None
    name: str

    @property
    def place(self) -> str:
        """The absolute path of the folder, or ":memory:"."""
        return self.path if self.path == IN_MEMORY else str(Path(self.path).absolute())

    def check(self) -> None:
        """Refuse what no collection can be, before any file is made."""
        if self.dim is not None:
            as_count(self.dim, "dim")
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {self.metric!r}")
        if self.index is not None and self.index != choice.AUTO:
            from_spec(self.index, self.dim or 64, self.metric or "cosine")
        batch.check_text(self.name, "collection")
        if not self.name:
            raise ValueError("collection must not be empty; leave it out for the default")
        if not self.path:
            raise ValueError('path must not be empty; ":memory:" keeps a collection in memory')

    def check_against(self, state: State) -> None:
        """Refuse what contradicts the collection that is there."""
        for what, given, stored in (
            ("dim", self.dim, state.dim if state.dim is not None else self.dim),
            ("metric", self.metric, state.metric),
            ("index", self.index, state.spec),
            ("collection", self.name, state.name),
        ):
            if given is not None and given != stored:
                raise ValueError(f"{what}={given!r} was asked for but {self.place} has {what}={stored!r}")


def open_store(wanted: Wanted, *, read_only: bool, durability: Durability) -> Store:
    """Return the store of a collection; see `Collection.open`."""
    wanted.check()
    if durability not in ("full", "normal"):
        raise ValueError(f'durability must be "full" or "normal", not {durability!r}')
    folder = None if wanted.path == IN_MEMORY else Path(wanted.place)
    if folder is None and read_only:
        raise ValueError("a collection in memory begins empty; with read_only=True it would stay so")
    first = State(wanted.name, wanted.metric or "cosine", wanted.index or choice.AUTO, wanted.dim)
    store = Store(folder, first, read_only=read_only, durability=durability)
    try:
        with store.reading() as (view, _):
            wanted.check_against(view.state)
        if wanted.dim is not None and view.state.dim is None and not read_only:
            store.set_dim(wanted.dim)
    except BaseException:
        store.close()
        raise
    return store
