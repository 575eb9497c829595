"""Opening a collection: what is asked for is checked, and compared with what is there.

path/                        the collection "default", or one made here by an older Inlay
path/collections/<name>/     any other; what no file name can have is written as %2F and the like
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..arrays import as_count
from ..indexes import from_spec
from . import batch, choice
from .database import DATABASE, Database, Durability
from .records import METRICS, State
from .store import Store

IN_MEMORY = ":memory:"
DEFAULT = "default"
OTHERS = "collections"
_LONGEST = 200  # bytes of a file name; systems take 255


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user says a collection is; None stands for what is stored, or the default of a new one."""

    path: str
    dim: int | None
    metric: str | None
    index: str | None
    name: str
    full_text: bool

    @property
    def place(self) -> str:
        """The absolute path of the folder, or ":memory:"."""
        return self.path if self.path == IN_MEMORY else str(Path(self.path).absolute())

    @property
    def home(self) -> Path | None:
        """The folder of this collection's files; None in memory."""
        return None if self.path == IN_MEMORY else _home(Path(self.place), self.name)

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
            ("collection", self.name, state.name),  # elsewhere than in the home of that name
        ):
            if given is not None and given != stored:
                raise ValueError(f"{what}={given!r} was asked for but {self.place} has {what}={stored!r}")


def check_terms(durability: str, recall: float) -> None:
    """Refuse how no collection can be kept."""
    batch.check_share(recall, "recall")
    if durability not in ("full", "normal"):
        raise ValueError(f'durability must be "full" or "normal", not {durability!r}')


def open_store(wanted: Wanted, *, read_only: bool, durability: Durability, recall: float) -> Store:
    """Return the store of a collection; see `Collection.open`."""
    wanted.check()
    check_terms(durability, recall)
    folder = wanted.home
    if folder is None and read_only:
        raise ValueError("a collection in memory begins empty; with read_only=True it would stay so")
    first = State(wanted.name, wanted.metric or "cosine", wanted.index or choice.AUTO, wanted.dim)
    store = Store(folder, first, read_only=read_only, durability=durability, recall=recall)
    try:
        with store.reading() as (view, _):
            wanted.check_against(view.state)
        if wanted.dim is not None and view.state.dim is None and not read_only:
            store.set_dim(wanted.dim)
        if wanted.full_text:
            _provide_words(store, wanted.place)
    except BaseException:
        store.close()
        raise
    return store


def _provide_words(store: Store, place: str) -> None:
    with store.reading() as (_, reader):
        there = reader.has_words()
    if not there and store.read_only:
        raise ValueError(
            f"full_text=True was asked for but {place} has none; open it once without read_only=True"
        )
    if not there:
        store.index_texts()


# Several collections in one folder


def _home(place: Path, name: str) -> Path:
    """Return the folder of a collection's files."""
    if name == _stored_name(place, DEFAULT):
        return place
    encoded = quote(name, safe="").replace(".", "%2E")  # the names . and .. lead elsewhere
    if len(encoded) > _LONGEST:
        raise ValueError(f"collection={name!r:.80} is too long for the name of a folder")
    return place / OTHERS / encoded


def _stored_name(folder: Path, otherwise: str | None = None) -> str | None:
    """Return the name of the collection whose files are in this very folder."""
    if not (folder / DATABASE).exists():
        return otherwise
    database = Database(folder / DATABASE, read_only=True)
    try:
        with database.borrow() as reader:
            return reader.state().name
    finally:
        database.close()


def names(place: Path) -> list[str]:
    """Return the names of the collections in a folder, sorted."""
    folders = [place, *(place / OTHERS).glob("*")]
    return sorted(name for folder in folders if (name := _stored_name(folder)) is not None)
