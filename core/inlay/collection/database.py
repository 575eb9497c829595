"""The database file of a collection, the connections to it, and the lock of the one who writes.

A connection is used by one thread at a time: who reads borrows one from a pool. In memory there is only one,
because it is the database; threads take turns with it, question by question.

A connection must not be used, and not even be closed, on the other side of a `fork()`: it is left alone
there.
"""

import contextlib
import ctypes
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ..contents import FormatError
from . import disk, full_text
from .records import PATCHED, WATCH, Reader, State, Writer, damage

Durability = Literal["full", "normal"]
DATABASE = "inlay.sqlite"
LOCK = "writer.lock"

# Stored: changing anything down to the blank line needs a new format version. Tables that not every
# collection has add their number to it: without them it stays 1, which every Inlay reads.
FORMAT = 1
OPTIONAL = {"words": (1, full_text.TABLE), "patched": (2, PATCHED), "watch": (4, WATCH)}
APPLICATION = 0x494E4C59  # says whose database it is
SCHEMA = (
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, metric TEXT NOT NULL, "
    "spec TEXT NOT NULL, dim INTEGER, generation INTEGER NOT NULL, n_kept INTEGER NOT NULL, "
    "first_row INTEGER NOT NULL, next_row INTEGER NOT NULL, removed INTEGER NOT NULL, "
    "snapshot TEXT, snapshot_bytes INTEGER, snapshot_crc INTEGER)",
    "CREATE TABLE doc (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, meta TEXT NOT NULL)",
    "CREATE TABLE body (row INTEGER PRIMARY KEY, text TEXT NOT NULL)",
    "CREATE TABLE gone (n INTEGER PRIMARY KEY, row INTEGER NOT NULL)",
    "CREATE TABLE kept (rows BLOB NOT NULL)",
)

_PATIENCE = 30.0  # seconds to wait for another process that is in the middle of a commit
_CACHE = (
    "PRAGMA cache_size = -16000"  # 16 MB: a filter walks through all metadata, SQLite's own 2 MB lose a fifth
)


def create(file: Path, state: State) -> None:
    """Make the database file: it appears complete, or not at all."""
    beside = file.with_name(f".inlay-{secrets.token_hex(8)}.tmp")
    database = sqlite3.connect(beside, isolation_level=None)
    try:
        _make_tables(Writer(database, contextlib.nullcontext(), str(beside)), state)
    finally:
        database.close()
    with open(beside, "r+b") as stream:
        disk.sync_file(stream.fileno())
    os.replace(beside, file)
    disk.sync_folder(file.parent)


def _make_tables(writer: Writer, state: State) -> None:
    writer.ask(f"PRAGMA application_id = {APPLICATION}")
    writer.ask(f"PRAGMA user_version = {FORMAT}")
    writer.begin()
    for statement in SCHEMA:
        writer.ask(statement)
    writer.put(state)
    writer.commit()


def make_words(writer: Writer) -> None:
    """Make texts searchable, those there are included; part of a transaction."""
    provide(writer, "words")
    writer.ask(full_text.BUILD)


def provide(writer: Writer, name: str) -> None:
    """Make one of the optional tables if there is none; part of a transaction."""
    if writer.has(name):
        return
    number, statement = OPTIONAL[name]
    ((version,),) = writer.ask("PRAGMA user_version")
    writer.ask(statement)
    writer.ask(f"PRAGMA user_version = {version + number}")


class Database:
    """Connections to the database of one collection.

    Parameters
    ----------
    file : Path or State
        A file that `create` made, or the state to begin with in memory.
    read_only : bool
    durability : {"full", "normal"}
        "normal" lets the system write a commit when it likes: after a loss of power the last commits may be
        missing, each as a whole. Nothing is lost when only the process dies.

    Raises
    ------
    FormatError
        When the file is not a database of ours.
    """

    def __init__(
        self, file: Path | State, *, read_only: bool = False, durability: Durability = "full"
    ) -> None:
        self.in_memory = isinstance(file, State)
        self._file = file
        self._name = ":memory:" if isinstance(file, State) else str(file)
        self._idle: list[Reader] = []
        self._open: list[sqlite3.Connection] = []
        self._closed = False
        self._turns = threading.RLock()
        self.writer: Writer | None = None
        try:
            if isinstance(file, State):
                self.writer = Writer(self._connect(self._name), self._turns, self._name)
                _make_tables(self.writer, file)
            else:
                with self.borrow() as reader:
                    reader.pin()  # another process may be about to make one of the optional tables
                    self._check(reader)
                if not read_only:
                    self.writer = self._open_writer(file, durability)
        except BaseException:
            self.close()
            raise

    def _connect(self, name: str) -> sqlite3.Connection:
        with damage(self._name):
            database = sqlite3.connect(
                name, uri=not self.in_memory, isolation_level=None, check_same_thread=False, timeout=_PATIENCE
            )
            self._open.append(database)
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute(_CACHE)
        return database

    def _open_writer(self, file: Path, durability: Durability) -> Writer:
        writer = Writer(
            self._connect(f"{file.absolute().as_uri()}?mode=rw"), contextlib.nullcontext(), self._name
        )
        # Where the file system has no shared memory SQLite stays with its older journal, which is slower.
        writer.ask("PRAGMA journal_mode = WAL")
        writer.ask(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        return writer

    def _check(self, reader: Reader) -> None:
        """Refuse a database that is not, exactly, one of ours."""
        ((application,),), ((version,),) = (
            reader.ask("PRAGMA application_id"),
            reader.ask("PRAGMA user_version"),
        )
        if application != APPLICATION:
            raise FormatError("this SQLite database is not that of a collection", file=self._name)
        latest = FORMAT + sum(number for number, _ in OPTIONAL.values())
        if not FORMAT <= version <= latest:
            known = f"this Inlay reads versions {FORMAT} to {latest}; upgrade Inlay"
            raise FormatError(f"the collection has format version {version}, {known}", file=self._name)
        # A table that looks right may be a view, and a trigger runs code of whoever made the file.
        lines = reader.ask("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        optional = {sql for number, sql in OPTIONAL.values() if (version - FORMAT) & number}
        wanted = {*SCHEMA, *optional}
        if full_text.TABLE in optional:
            lines = [(name, sql) for name, sql in lines if not _is_shadow(name, sql)]
        if {sql for _, sql in lines} != wanted:
            raise FormatError("the tables of the database are not those of a collection", file=self._name)

    @contextmanager
    def borrow(self) -> Iterator[Reader]:
        """Lend a connection to read with; in memory the one there is."""
        if self.in_memory:
            assert self.writer is not None
            yield self.writer
            return
        try:
            reader = self._idle.pop()
        except IndexError:
            assert isinstance(self._file, Path)
            address = f"{self._file.absolute().as_uri()}?mode=ro"
            reader = Reader(self._connect(address), contextlib.nullcontext(), self._name)
        try:
            yield reader
        finally:
            reader.unpin()
            if self._closed:
                reader.close()
            else:
                self._idle.append(reader)

    def close(self) -> None:
        """Close all connections but the ones that are lent; those are closed when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        if self.writer is not None:
            self.writer.close()

    def abandon(self) -> None:
        """Leave all connections open for ever: what a child made by `fork()` has to do."""
        for database in self._open:
            leave_open(database)

    def is_idle(self) -> bool:
        """Tell whether no thread is in the middle of a question to the connection that is shared."""
        if not self._turns.acquire(blocking=False):
            return False
        self._turns.release()
        return True


def _is_shadow(name: str, sql: str) -> bool:
    """Tell whether this is a table that FTS5 made for itself, in the words of whichever SQLite it was."""
    return name in full_text.SHADOWS and sql.startswith(f"CREATE TABLE '{name}'(")


def leave_open(database: sqlite3.Connection) -> None:
    """Keep a connection from being closed, also when Python ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(database))


class WriterLock:
    """The right to write, which one object of one process has at a time.

    It is an exclusive transaction on a SQLite file that stays empty: that is a lock of the operating system
    on every platform, it ends with the process however that ends, and a child made by `fork()` does not
    inherit it.

    Raises
    ------
    BlockingIOError
        When another has it.
    """

    def __init__(self, file: Path) -> None:
        self.database = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            self.database.execute("PRAGMA journal_mode = MEMORY")  # no file beside a file that stays empty
            self.database.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            self.database.close()
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise BlockingIOError(
                    f"{file.parent} is already open for writing, by another process or another Collection of "
                    "this one; close that, or open this with read_only=True"
                ) from None
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
                raise FormatError("this is not the lock of a collection; remove it", file=str(file)) from None
            raise

    def release(self) -> None:
        """Give the right back."""
        self.database.close()


def claim(folder: Path, wanted: State) -> WriterLock:
    """Become the one who writes to a folder, and make what is not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{folder} is a file; a collection is a folder") from None
    lock = WriterLock(folder / LOCK)
    try:
        file = folder / DATABASE
        if not file.exists():
            if any(folder.glob("vectors-*.f32")):
                raise FormatError("there are vectors here but no database; restore it", file=str(file))
            create(file, wanted)
    except BaseException:
        lock.release()
        raise
    return lock


def open_folder(folder: Path | None, wanted: State, read_only: bool, durability: Durability) -> Database:
    """Return the database of a folder, or one in memory."""
    if folder is None:
        return Database(wanted)
    file = folder / DATABASE
    if not file.exists():
        raise FileNotFoundError(f"there is no collection in {folder}: it has no {DATABASE}")
    return Database(file, read_only=read_only, durability=durability)
