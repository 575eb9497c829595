"""The records of a collection: questions and changes, each to one connection of its SQLite database.

    state   one line: name, metric, index, dim, and the three numbers that name a committed state
    doc     row, id, metadata as JSON      small, because filters walk through all of it
    body    row, text
    gone    the rows removed since the last compaction, in that order
    kept    the rows that the last compaction kept
    words   the words of the texts, if they are to be searched      `full_text`
    patched the rows whose metadata were changed, each with the number of its last change, if any ever were
    watch   the recall that was measured last, and the effort for it, once it was

A document is written as a new row, whose vector and text never change: replacing it removes one row and adds
another, and no row number is used twice. So (generation, next_row, removed) says all about a state that an
index can know, and what happened between two states of one generation is the rows from one `next_row` to the
other and the entries of `gone` in between. Metadata alone may change in place: those rows are in `patched`.

`database` has the file around the tables, and the connections.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contents import FormatError
from . import filter_sql, filters, full_text
from .metadata import decode, stored, to_text
from .vectors import I64

METRICS = ("l2", "ip", "cosine")
Version = tuple[int, int, int, int]  # generation, next row, removed, patches

# Stored: changing these needs a new format version.
PATCHED = "CREATE TABLE patched (n INTEGER PRIMARY KEY, row INTEGER NOT NULL UNIQUE)"

WATCH = (
    "CREATE TABLE watch (one INTEGER PRIMARY KEY CHECK (one = 1), spec TEXT NOT NULL, row INTEGER NOT NULL, "
    "level INTEGER NOT NULL, recall REAL NOT NULL)"
)
MAX_LEVEL = 5

_VERSION = "generation, next_row, removed"
_PATCHES = "(SELECT coalesce(max(n), 0) FROM patched)"
_IS_PATCHED = "EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'patched')"
_LISTED = 500  # parameters in one statement; older SQLites take 999
_PAGE = 1000  # records read at once by those who walk over all
_VALUES = 20_000  # values of a key read at once
_SELECT = "SELECT doc.row, id, text, meta FROM doc JOIN body ON body.row = doc.row"


@dataclass(frozen=True, slots=True)
class Record:
    """One stored document, without its vector."""

    id: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """The line of `state`: what a committed state is, in numbers.

    Parameters
    ----------
    name, metric, spec : str
        Of the collection; `spec` is what was asked for, an index or "auto".
    dim : int or None
        None until it is known.
    generation : int
        Counts compactions; the number of the vector file.
    n_kept, first_row : int
        Slots that the last compaction filled, and the first row after it.
    next_row : int
        The row number of the next document.
    removed : int
        Entries of `gone`.
    snapshot, snapshot_bytes, snapshot_crc
        Name, length and checksum of the saved index, if there is one.
    patches : int
        How often metadata of a document were changed: the last number in `patched`, not in the line.
    """

    name: str
    metric: str
    spec: str
    dim: int | None
    generation: int = 0
    n_kept: int = 0
    first_row: int = 0
    next_row: int = 0
    removed: int = 0
    snapshot: str | None = None
    snapshot_bytes: int | None = None
    snapshot_crc: int | None = None
    patches: int = 0

    @property
    def version(self) -> Version:
        """What tells one state of the documents from all others; later ones are larger."""
        return self.generation, self.next_row, self.removed, self.patches

    @property
    def n_slots(self) -> int:
        """Vectors in the file, those of removed documents included."""
        return self.n_kept + self.next_row - self.first_row

    @property
    def n_live(self) -> int:
        """Documents."""
        return self.n_slots - self.removed

    def check(self, file: str) -> None:
        """Raise FormatError unless the numbers can be true."""
        counts = (*self.version, self.n_kept, self.first_row)
        names = (self.name, self.metric, self.spec)
        if (
            not all(isinstance(name, str) for name in names)
            or self.metric not in METRICS
            or not all(type(count) is int and 0 <= count < 2**62 for count in counts)
            or not (self.dim is None or (type(self.dim) is int and 1 <= self.dim < 2**31))
            or self.first_row > self.next_row
            or self.n_kept > self.first_row
            or self.removed > self.n_slots
            or (self.dim is None and self.n_slots > 0)
            or (
                self.snapshot is not None
                and (type(self.snapshot) is not str or not self.snapshot.isprintable())
            )
        ):
            raise FormatError(f"the state of the collection cannot be true: {self!r:.300}", file=file)


_COLUMNS = tuple(field.name for field in fields(State) if field.name != "patches")


@dataclass(frozen=True, slots=True)
class Watch:
    """The line of `watch`: the recall that was measured last, see `watching`.

    Parameters
    ----------
    spec : str
        Of the index.
    row : int
        The next row then.
    level : int
        Of the effort, 0 to 5.
    recall : float
        At that level.
    """

    spec: str
    row: int
    level: int
    recall: float


@contextmanager
def damage(file: str) -> Iterator[None]:
    """Turn what SQLite says about a damaged file into a FormatError."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "malformed" in str(error):
            raise FormatError(f"SQLite cannot read the database: {error}", file=file) from error
        if "UTF-8" in str(error):
            raise FormatError("the database holds text that is no valid Unicode", file=file) from error
        raise


class Reader:
    """Questions to the database over one connection.

    Parameters
    ----------
    database : sqlite3.Connection
    lock : context manager
        Held during each question; matters where threads share the connection.
    file : str
        For messages.
    """

    def __init__(self, database: sqlite3.Connection, lock: AbstractContextManager[Any], file: str) -> None:
        self._database = database
        self._lock = lock
        self._file = file
        self._tree: filters.Filter | None = None
        self._doubt: FormatError | None = None
        self._is_patched = False  # there was no such table when it was last looked for
        database.create_function("matches", 1, self._matches)

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Execute one statement and return all of its lines."""
        with self._lock, damage(self._file):
            return self._database.execute(sql, parameters).fetchall()

    def _listed(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        """Ask with a list of any length in the place of {}."""
        for start in range(0, len(values), _LISTED):
            part = values[start : start + _LISTED]
            yield from self.ask(sql.format(",".join("?" * len(part))), part)

    def pin(self) -> None:
        """Stay with the state that is the latest now, until `unpin`."""
        self.ask("BEGIN")

    def unpin(self) -> None:
        """End what `pin` began."""
        if self._database.in_transaction:
            self.ask("COMMIT")

    def state(self) -> State:
        """Return the state that is committed."""
        lines = self.ask(f"SELECT {', '.join(_COLUMNS)} FROM state")
        if len(lines) != 1:
            raise FormatError("the state of the collection is missing", file=self._file)
        state = State(**dict(zip(_COLUMNS, lines[0], strict=True)), patches=self.version()[-1])
        state.check(self._file)
        return state

    def version(self) -> Version:
        """Return `state().version`, faster."""
        if not self._is_patched:
            generation, next_row, removed, there = self.ask(f"SELECT {_VERSION}, {_IS_PATCHED} FROM state")[0]
            if not there:
                return generation, next_row, removed, 0
            self._is_patched = True
        version: Version = self.ask(f"SELECT {_VERSION}, {_PATCHES} FROM state")[0]
        return version

    def watch(self) -> Watch | None:
        """Return what was seen of recall last; None if it never was measured."""
        if not self.has("watch"):
            return None
        lines = self.ask("SELECT spec, row, level, recall FROM watch")
        if not lines:
            return None
        watch = Watch(*lines[0])
        if (
            not (type(watch.spec) is str and type(watch.row) is int and type(watch.recall) is float)
            or type(watch.level) is not int
            or not (0 <= watch.level <= MAX_LEVEL and 0 <= watch.recall <= 1)
        ):
            raise FormatError(f"what is said of recall cannot be true: {watch!r:.200}", file=self._file)
        return watch

    def kept(self, state: State) -> I64:
        """Return the rows that the last compaction kept, ascending."""
        lines = self.ask("SELECT rows FROM kept")
        stored = lines[0][0] if len(lines) == 1 else b""
        if not isinstance(stored, bytes) or len(stored) != 8 * state.n_kept or len(lines) > 1:
            raise FormatError("the list of kept rows has another length than it should have", file=self._file)
        rows = np.frombuffer(stored, "<i8").astype(np.int64)
        if len(rows) and (rows[0] < 0 or rows[-1] >= state.first_row or (np.diff(rows) <= 0).any()):
            raise FormatError("the list of kept rows is not in order", file=self._file)
        return rows

    def gone(self, after: int) -> I64:
        """Return the rows removed in this generation after the first `after` of them, in order of removal."""
        return self._rows("SELECT row FROM gone WHERE n > ? ORDER BY n", [after])

    def count(self) -> int:
        """Count the documents, one by one."""
        return int(self.ask("SELECT count(*) FROM doc")[0][0])

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the rows of those ids that there are."""
        return dict(self._listed("SELECT id, row FROM doc WHERE id IN ({})", ids))

    def records(self, rows: I64) -> list[Record]:
        """Return the documents of these rows, in this order."""
        found = {line[0]: line for line in self._listed(f"{_SELECT} WHERE doc.row IN ({{}})", rows.tolist())}
        if len(found) < len(set(rows.tolist())):
            raise FormatError("a document is in the index but not among the records", file=self._file)
        return [self._record(found[row]) for row in rows.tolist()]

    def page(self, after: int) -> tuple[int, list[Record]]:
        """Return the next thousand documents beyond a row, in order of insertion, and the last one's row."""
        lines = self.ask(f"{_SELECT} WHERE doc.row > ? ORDER BY doc.row LIMIT ?", [after, _PAGE])
        return (lines[-1][0] if lines else after), [self._record(line) for line in lines]

    def rows(self) -> I64:
        """Return the rows of all documents, in order of insertion."""
        return self._rows("SELECT row FROM doc ORDER BY row")

    def has(self, table: str) -> bool:
        """Tell whether there is a table that not every collection has."""
        return bool(self.ask("SELECT 1 FROM sqlite_master WHERE name = ?", [table]))

    def patched(self, after: int) -> I64:
        """Return the rows whose metadata were changed after the first `after` changes."""
        if not self.has("patched"):
            return np.empty(0, np.int64)
        return self._rows("SELECT row FROM patched WHERE n > ?", [after])

    def values(self, key: str, first_row: int) -> Iterator[tuple[I64, list[str]]]:
        """Yield what the documents from a row on have for a key of their metadata, some thousands at a time.

        Yields
        ------
        rows : int64 array (n,)
            Ascending.
        texts : list of str
            JSON of metadata, see `metadata.revive`: a list whose first item is the value, null without one.
        """
        sql, parameters = filter_sql.value(key) or ("meta", [])
        sql = f"SELECT row, {sql} FROM doc WHERE row >= ? ORDER BY row LIMIT {_VALUES}"
        while lines := self.ask(sql, [*parameters, first_row]):
            yield self._values(key, lines)
            first_row = lines[-1][0] + 1

    def values_of(self, key: str, rows: I64) -> Iterator[tuple[I64, list[str]]]:
        """Yield the same of certain rows, without those that there are not."""
        sql, parameters = filter_sql.value(key) or ("meta", [])
        for start in range(0, len(rows), _LISTED):
            part = rows[start : start + _LISTED].tolist()
            places = ",".join("?" * len(part))
            lines = self.ask(f"SELECT row, {sql} FROM doc WHERE row IN ({places})", [*parameters, *part])
            yield self._values(key, lines)

    def _values(self, key: str, lines: list[tuple[int, str]]) -> tuple[I64, list[str]]:
        rows = np.fromiter((row for row, _ in lines), np.int64, len(lines))
        texts = [text for _, text in lines]
        if not all(isinstance(text, str) for text in texts):
            raise FormatError("the metadata of a document are no text", file=self._file)
        if filter_sql.value(key) is None:
            texts = [to_text([stored(filters.lookup(decode(text), key))]) for text in texts]
        return rows, texts

    def matching(self, tree: filters.Filter) -> I64:
        """Return the rows of the documents that match a filter, in order of insertion."""
        condition, parameters = filter_sql.where(tree)
        with self._lock:
            self._tree, self._doubt = tree, None
            try:
                return self._rows(f"SELECT row FROM doc WHERE {condition} ORDER BY row", parameters)
            except sqlite3.OperationalError:
                if self._doubt is not None:
                    raise self._doubt from None
                raise

    def has_words(self) -> bool:
        """Tell whether texts can be searched."""
        return self.has("words")

    def worded(
        self, text: str, limit: int, allowed: I64 | None = None
    ) -> tuple[npt.NDArray[np.float64], I64]:
        """Return BM25 (larger is better) and row of documents that have a word of the text, best first.

        Parameters
        ----------
        text : str
            Words, see `full_text.words_of`.
        limit : int
            So many at most.
        allowed : int64 array, optional
            Of these rows only.
        """
        words = full_text.words_of(text)
        # BM25 gives a word that half of the texts have no weight, but looking at all of these takes the time.
        half = self.state().n_live / 2
        telling = [word for word in words if self.ask(full_text.COUNT, [word])[0][0] <= half]
        found = self._ranked(telling, limit, allowed)
        if len(found) < limit and len(telling) < len(words):
            found = self._ranked(words, limit, allowed)
        values, rows = zip(*found, strict=True) if found else ((), ())
        return np.array(values, np.float64), np.array(rows, np.int64)

    def _ranked(self, words: Sequence[str], limit: int, allowed: I64 | None) -> list[tuple[float, int]]:
        if not words:
            return []
        among = [] if allowed is None else [to_text(allowed.tolist())]
        sql = full_text.RANKED.format("" if allowed is None else full_text.ALLOWED)
        return self.ask(sql, [full_text.any_of(words), *among, limit])

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> I64:
        with self._lock, damage(self._file):
            lines = self._database.execute(sql, parameters)
            return np.fromiter((row for (row,) in lines), np.int64)

    def _matches(self, text: str) -> bool:
        """Answer what SQL cannot tell; an error is kept, for SQLite hides it."""
        try:
            return self._tree is not None and filters.matches(self._tree, decode(text))
        except FormatError as error:
            self._doubt = error
            raise

    def _record(self, line: tuple[int, str, str, str]) -> Record:
        _, name, text, meta = line
        if not (isinstance(name, str) and isinstance(text, str) and isinstance(meta, str)):
            raise FormatError(f"row {line[0]!r:.40} of the records is no text", file=self._file)
        return Record(name, text, decode(meta))

    def copy_into(self, file: Path, state: State) -> None:
        """Write a copy of the database to a new file; all of it but what `state` says of a snapshot."""
        target = sqlite3.connect(file, isolation_level=None)
        try:
            with self._lock, damage(self._file):
                self._database.backup(target)
            Writer(target, self._lock, str(file)).put(state)
        finally:
            target.close()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


class Writer(Reader):
    """Questions and changes; a change is made between `begin` and `commit` or `rollback`."""

    def begin(self) -> None:
        """Begin a transaction."""
        self.ask("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the transaction durable. This is the moment at which a change of the collection happens."""
        self.ask("COMMIT")

    def rollback(self) -> None:
        """Take the transaction back, if it has not been done yet."""
        if self._database.in_transaction:
            self.ask("ROLLBACK")

    def insert(self, first_row: int, ids: Sequence[str], texts: Sequence[str], metas: Sequence[str]) -> None:
        """Add documents, `metas` as JSON, with the row numbers from `first_row` on."""
        rows = range(first_row, first_row + len(ids))
        self._many("INSERT INTO doc VALUES (?, ?, ?)", zip(rows, ids, metas, strict=True))
        self._many("INSERT INTO body VALUES (?, ?)", zip(rows, texts, strict=True))
        if self.has_words():
            self._many(full_text.INSERT, zip(rows, texts, strict=True))

    def remove(self, rows: I64, removed: int) -> None:
        """Remove documents, after `removed` that were removed before in this generation."""
        if self.has_words():
            self._many(full_text.REMOVE, ((row,) for row in rows.tolist()))
        for table in ("doc", "body"):
            self._many(f"DELETE FROM {table} WHERE row = ?", ((row,) for row in rows.tolist()))
        self._many("INSERT INTO gone VALUES (?, ?)", enumerate(rows.tolist(), removed + 1))

    def renew(self, kept: I64) -> None:
        """Begin the lists of a new generation."""
        self.ask("DELETE FROM gone")
        if self.has("patched"):
            self.ask("DELETE FROM patched")
        self.ask("DELETE FROM kept")
        self.ask("INSERT INTO kept VALUES (?)", [kept.astype("<i8").tobytes()])

    def empty(self) -> None:
        """Remove all documents."""
        for table in ("doc", "body"):
            self.ask(f"DELETE FROM {table}")
        if self.has_words():
            self.ask(full_text.EMPTY)

    def set_metas(self, rows: I64, metas: Sequence[str], patches: int) -> None:
        """Write other metadata, as JSON, to documents, after so many changes of this kind; log the rows."""
        self._many("UPDATE doc SET meta = ? WHERE row = ?", zip(metas, rows.tolist(), strict=True))
        self._many("INSERT OR REPLACE INTO patched VALUES (?, ?)", enumerate(rows.tolist(), patches + 1))

    def put(self, state: State) -> None:
        """Write the state."""
        names = ", ".join(("one", *_COLUMNS))
        places = ", ".join("?" * (1 + len(_COLUMNS)))
        values = [getattr(state, name) for name in _COLUMNS]
        self.ask(f"INSERT OR REPLACE INTO state ({names}) VALUES ({places})", [1, *values])

    def put_watch(self, watch: Watch) -> None:
        """Write what was seen of recall."""
        line = [1, watch.spec, watch.row, watch.level, watch.recall]
        self.ask("INSERT OR REPLACE INTO watch VALUES (?, ?, ?, ?, ?)", line)

    def _many(self, sql: str, lines: Iterable[Sequence[Any]]) -> None:
        with self._lock, damage(self._file):
            self._database.executemany(sql, lines)
