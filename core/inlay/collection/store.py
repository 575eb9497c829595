"""A store keeps three things in step: the records, the vectors, and an index over them.

    inlay.sqlite                the records, and the truth                      `records`, `database`
    vectors-<generation>.f32    the vectors as given                            `vectors`
    index-<version>.inlay       the index, saved; may be missing, as it can be made again      `upkeep`
    writer.lock                 held by who writes

A change goes one way. The vectors are written behind the last slot and made durable; then the records are
changed in one transaction, and **its commit is the one moment at which the change happens**. Only then does
the index follow: `_follow` compares the version it stands at with the committed one, and adds and removes the
rows in between. Whoever reads looks at the version first, so whatever kept the index from following (an
error, Ctrl-C, another process that writes) is made up for by the next one to read.

Readers share a lock that the writer takes alone from its commit until the index has followed. So index,
records and vectors are of one state while somebody reads, and k documents give k hits.
"""

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contents import FormatError
from ..parallel.lock import SharedLock
from . import disk, full_text, upkeep, watching
from .columns import Columns
from .database import (
    DATABASE,
    LOCK,
    Database,
    Durability,
    WriterLock,
    claim,
    leave_open,
    make_words,
    open_folder,
    provide,
)
from .records import Reader, Record, State, Watch, Writer
from .vectors import I64, FileVectors, MemoryVectors, Slots, Vectors
from .view import View, bring, built, grown, pieces

if TYPE_CHECKING:
    from .batch import Batch

CHUNK = 4096  # documents that become durable together
LONG = 100_000  # documents from which storing shows a bar by itself: some seconds of work

_STORES: "weakref.WeakSet[Store]" = weakref.WeakSet()


class Store:
    """Records, vectors and index of one collection.

    Parameters
    ----------
    folder : Path or None
        None keeps everything in memory.
    wanted : State
        What a new collection begins with.
    read_only : bool
    durability : {"full", "normal"}
    recall : float
        What a writer raises the effort of searches for.

    Raises
    ------
    FormatError, FileNotFoundError, NotADirectoryError, BlockingIOError
        When the folder holds no collection that can be opened, or another writes to it.
    """

    def __init__(
        self,
        folder: Path | None,
        wanted: State,
        *,
        read_only: bool = False,
        durability: Durability = "full",
        recall: float = watching.TARGET,
    ) -> None:
        self.folder = folder
        self.recall = recall
        self.read_only = read_only
        self._forked = False
        self._ended: str | None = None  # why nothing can be done any more
        self._shared = SharedLock()
        self._writing = threading.RLock()
        self._changing = False
        self._view: View | None = None
        self._in_memory: dict[int, MemoryVectors] = {}  # by generation, where there are no files
        self._lock = None if folder is None or read_only else claim(folder, wanted)
        try:
            self._database: Database | None = open_folder(folder, wanted, read_only, durability)
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        self._release = weakref.finalize(self, _let_go, os.getpid(), self._database, self._lock)
        _STORES.add(self)
        try:
            with self.reading() as (view, _):
                if self._lock is not None and folder is not None:
                    upkeep.tidy(folder, view.state)
            if self._lock is not None:
                self._keep_up()  # what was due when the last writer died
        except BaseException:
            self._release()
            raise

    # Reading

    @contextmanager
    def reading(self) -> Iterator[tuple[View, Reader]]:
        """Give one state of everything, which stays as it is inside the `with` block."""
        with self._connected().borrow() as reader:
            if self.read_only:
                reader.pin()  # another process may commit meanwhile; in this one nobody can
            while True:
                with self._shared.shared():
                    self._check_open()
                    view = self._view
                    if view is not None and view.state.version == reader.version():
                        yield view, reader
                        return
                with self._shared.exclusive():
                    self._check_open()
                    self._catch_up(reader)

    def walk(self) -> Iterator[Record]:
        """Yield all documents of one state, in order of insertion."""
        if self.folder is None:
            with self.reading() as (_, reader):
                records = reader.records(reader.rows())
            yield from records
            return
        with self._connected().borrow() as reader:
            reader.pin()
            after, page = reader.page(-1)
            while page:
                yield from page
                after, page = reader.page(after)

    def _check_open(self) -> None:
        if self._ended is not None:
            raise RuntimeError(self._ended)

    def _connected(self) -> Database:
        """Return the database, opened anew in a child made by `fork()`."""
        self._check_open()
        if self._database is None:
            with self._writing:
                if self._database is None:
                    assert self.folder is not None
                    self._database = Database(self.folder / DATABASE, read_only=True)
        return self._database

    def _catch_up(self, reader: Reader) -> None:
        """Follow, or let the reader follow where the view is ahead of it."""
        version = reader.version()
        if self._view is None or self._view.state.version <= version:
            try:
                self._follow(reader)
                return
            except (FormatError, FileNotFoundError):
                if not self.read_only:
                    raise
                # A compaction in another process takes files away that this reader was about to open, or to
                # map once more because they had grown.
                reader.unpin()
                reader.pin()
                if reader.version() == version:
                    raise
        else:
            reader.unpin()
            reader.pin()

    def _follow(self, reader: Reader) -> None:
        """Bring the view from where it stands to the reader's state."""
        state, view = reader.state(), self._view
        if view is None or view.index is None or view.state.generation != state.generation:
            self._view = self._loaded(reader, state, view)
            return
        following = replace(view, state=state, watch=reader.watch())
        if self.read_only and following.is_outgrown and view.state.snapshot_crc != state.snapshot_crc:
            self._view = self._loaded(reader, state, None)  # with the index that the writer has built
            return
        gone = reader.gone(view.state.removed)
        added = _without(np.arange(view.state.next_row, state.next_row), gone)
        added = added[~view.index.contains(added)]  # what was broken off may be done in part
        bring(following, view.index, added)
        if len(gone):
            view.index.remove(gone)
        self._view = following

    def _loaded(self, reader: Reader, state: State, before: View | None) -> View:
        """Make the view of a state from the files, or with the index of the view before."""
        view = View(state, Slots(reader.kept(state), state.first_row), watch=reader.watch())
        if state.dim is None:
            return view
        gone = reader.gone(0)
        if len(gone) != state.removed or reader.count() != state.n_live:
            raise FormatError("the records are not as many as they should be", file=str(self.folder))
        view = replace(view, vectors=self._vectors(state))
        live = _without(view.slots.rows(state.next_row), gone)
        if len(live) != state.n_live:
            raise FormatError("rows were removed that never were", file=str(self.folder))
        if not len(live):
            return built(view, live)
        if before is not None and before.index is not None:
            index, looked = before.index, before.looked
        elif self.folder is not None and (saved := upkeep.load_snapshot(self.folder, state)) is not None:
            index, looked = saved, len(saved)  # if it is a scan, no graph suited so many
        else:
            return built(view, live)
        there = index.ids
        index.remove(_without(there, live))
        bring(view, index, _without(live, there))
        return replace(view, index=index, looked=looked)

    def _vectors(self, state: State) -> Vectors:
        """Return the vectors of a generation; new ones where none were written."""
        assert state.dim is not None
        if self.folder is None:
            return self._in_memory.setdefault(state.generation, MemoryVectors(state.dim))
        file = upkeep.vector_file(self.folder, state.generation)
        try:
            return FileVectors(file, state.dim, state.n_slots, writable=not self.read_only)
        except FileNotFoundError:
            raise FormatError("the vectors are missing", file=str(file)) from None

    # Changing

    @contextmanager
    def changing(self) -> Iterator[tuple[View, Writer]]:
        """Let one thread at a time change the collection, beginning with the committed state.

        Raises
        ------
        PermissionError
            If it was opened for reading only, or by the process that this one was forked from.
        """
        if self._forked:
            raise PermissionError(
                "the process that this one was forked from writes to the collection; open it here"
            )
        if self.read_only:
            raise PermissionError(
                "the collection was opened with read_only=True; open it without to change it"
            )
        with self._writing:
            outermost = not self._changing
            self._changing = True
            try:
                with self.reading():
                    pass  # whatever was broken off before is made up for
                database = self._connected()
                assert self._view is not None
                assert database.writer is not None
                yield self._view, database.writer
            finally:
                self._changing = not outermost

    def insert(self, batch: "Batch") -> None:
        """Add documents, in the place of those with the same ids."""
        with self.changing() as (view, writer):
            replaced = np.fromiter(writer.rows_of(batch.ids).values(), np.int64)
            state = view.state
            following = replace(
                state,
                dim=batch.vectors.shape[1],
                next_row=state.next_row + len(batch),
                removed=state.removed + len(replaced),
            )
            vectors = view.vectors or self._vectors(replace(state, dim=following.dim))
            vectors.write(state.n_slots, batch.vectors)

            def change() -> None:
                writer.remove(replaced, state.removed)
                writer.insert(state.next_row, batch.ids, batch.texts, batch.metas)
                writer.put(following)

            self._commit(writer, change)
        self._keep_up()

    def remove(self, rows: I64) -> None:
        """Remove documents that there are."""
        with self.changing() as (view, writer):
            state = view.state

            def change() -> None:
                writer.remove(rows, state.removed)
                writer.put(replace(state, removed=state.removed + len(rows)))

            self._commit(writer, change)
        self._keep_up()

    def clear(self) -> None:
        """Remove all documents."""
        with self.changing() as (view, writer):
            self._renew(view, writer, np.empty(0, np.int64))

    def set_dim(self, dim: int) -> None:
        """Fix the number of dimensions of a collection that has none yet."""
        with self.changing() as (view, writer):
            self._commit(writer, lambda: writer.put(replace(view.state, dim=dim)))

    def set_metas(self, rows: I64, metas: list[str]) -> None:
        """Write other metadata to documents; the index knows nothing of them."""
        with self.changing() as (view, writer):

            def change() -> None:
                provide(writer, "patched")
                writer.set_metas(rows, metas, view.state.patches)

            self._commit(writer, change)

    def index_texts(self) -> None:
        """Make texts searchable, unless they are."""
        with self.changing() as (_, writer):
            if not writer.has_words():
                full_text.check_known()
                self._commit(writer, lambda: make_words(writer))

    def _commit(self, writer: Writer, change: Callable[[], None]) -> None:
        """Change the records in one transaction, and let the index follow before anybody reads."""
        with contextlib.ExitStack() as stack:
            if self.folder is None:
                stack.enter_context(self._shared.exclusive())  # readers use the same connection
            writer.begin()
            try:
                change()
                if self.folder is not None:
                    stack.enter_context(self._shared.exclusive())
                writer.commit()
            except BaseException:
                writer.rollback()
                raise
            self._follow(writer)

    # Upkeep

    def _keep_up(self) -> None:
        """Do what a change has made due."""
        # The change itself is done: that the disk is full is for the next one to say.
        with self.changing() as (view, writer), contextlib.suppress(OSError, sqlite3.OperationalError):
            if upkeep.is_wasteful(view.state):
                self._renew(view, writer, self._live(view, writer))
                view = self._present()
            while view.is_outgrown:
                view = grown(view)  # beside the one that serves
                with self._shared.exclusive():
                    self._view = view
                self.snapshot()
                view = self._present()
            if watching.is_due(view):
                self._see(watching.watched(view, self.recall), writer)
                view = self._present()
            if view.index is not None and upkeep.is_tail_long(view.state, view.index):
                self.snapshot()

    def _see(self, watch: Watch, writer: Writer) -> None:
        """Take over, and write down for others, what effort the recall takes."""

        def change() -> None:
            provide(writer, "watch")
            writer.put_watch(watch)

        self._commit(writer, change)

    def _present(self) -> View:
        assert self._view is not None
        return self._view

    def _live(self, view: View, reader: Reader) -> I64:
        return _without(view.slots.rows(view.state.next_row), reader.gone(0))

    def _renew(self, view: View, writer: Writer, kept: I64) -> None:
        """Begin a new generation with the documents that are kept: all that there are, or none."""
        state = view.state
        following = replace(
            state, generation=state.generation + 1, n_kept=len(kept), first_row=state.next_row, removed=0
        )
        if state.dim is not None:
            vectors = self._vectors(replace(following, n_kept=0))
            for start, rows in pieces(kept):
                vectors.write(start, view.vectors_of(rows))

        def change() -> None:
            if not len(kept):
                writer.empty()
            writer.renew(kept)
            writer.put(following)

        self._commit(writer, change)
        self._in_memory.pop(state.generation, None)
        after = self._present()
        if after.index is not None:
            after.index.compact()
        if self.folder is not None:
            upkeep.tidy(self.folder, after.state)

    def snapshot(self) -> None:
        """Save the index, unless it is saved as it is; in memory there is nothing to do."""
        with self.changing() as (view, writer):
            if self.folder is None or view.index is None or upkeep.is_saved(view.state):
                return
            state = upkeep.save_snapshot(self.folder, view.state, view.index)
            writer.put(state)
            self._view = replace(view, state=state)
            upkeep.tidy(self.folder, state)

    def copy_to(self, folder: Path) -> None:
        """Write all files, as of one moment, into an empty folder."""
        # The one who writes keeps others from writing but not from reading.
        with self.reading() if self.read_only else self.changing() as (view, reader):
            state = replace(view.state, snapshot=None)
            if view.index is not None and view.vectors is not None and state.dim is not None:
                copy = FileVectors(upkeep.vector_file(folder, state.generation), state.dim, 0, writable=True)
                for start, slots in pieces(np.arange(state.n_slots)):
                    copy.write(start, view.vectors.read(slots))
                state = upkeep.save_snapshot(folder, state, view.index)
            reader.copy_into(folder / DATABASE, state)

    def stats(self) -> dict[str, Any]:
        """Return what there is to know in numbers; see `Collection.stats`."""
        with self.reading() as (view, reader):
            disk_bytes = None if self.folder is None else disk.folder_bytes(self.folder)
            return {**view.stats(), "full_text": reader.has_words(), "disk_bytes": disk_bytes}

    # The end

    def close(self) -> None:
        """Save the index if opening would have much to make up for, and let go of everything."""
        with self._writing:
            if self._ended is not None:
                return
            try:
                if not self.read_only:
                    self._save_at_close()
            finally:
                self._end()

    def _end(self) -> None:
        with self._shared.exclusive():
            self._ended = "the collection is closed"
            self._view = None
            self._in_memory.clear()
            self._release()
            if self._database is not None:
                self._database.close()

    def destroy(self) -> None:
        """Remove all documents and files, and close."""
        with self.changing():
            self.clear()
            # The writer's lock is held to the end. Until the database goes, this is an empty collection.
            if self.folder is not None:
                upkeep.remove_files(self.folder)
                assert self._database is not None
                self._database.close()
                for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK):
                    (self.folder / name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # other collections are in it
                    self.folder.rmdir()
            self._end()

    def _save_at_close(self) -> None:
        with self.changing() as (view, _), contextlib.suppress(OSError, sqlite3.OperationalError):
            if view.index is not None and upkeep.is_tail_long(view.state, view.index, closing=True):
                self.snapshot()

    def after_fork(self) -> None:
        """Go on in a child made by `fork()`: with the memory it has got, or reading the files anew."""
        self._writing = threading.RLock()
        if self._ended is not None or self._database is None:
            return
        if self.folder is None:
            if self._changing or not self._database.is_idle():
                self._ended = (
                    "this process was forked while the collection in memory was in use; its copy is torn"
                )
            elif self._view is not None:  # a thread that is not here may have been at work on its columns
                self._view = replace(self._view, columns=Columns())
            return
        self._database.abandon()
        if self._lock is not None:
            leave_open(self._lock.database)
        self._forked = not self.read_only
        self.read_only = True
        self._database, self._view = None, None


def _without(rows: I64, others: I64) -> I64:
    """Return the rows, each there once, that are not among the others."""
    # To look for rows that are there twice, NumPy imports its masked arrays: 20 ms of the first change.
    return np.setdiff1d(rows, others, assume_unique=True)


def _let_go(pid: int, database: Database, lock: WriterLock | None) -> None:
    """Close what a store has open, also when it was forgotten, but not in a child made by `fork()`."""
    if os.getpid() == pid:
        database.close()
        if lock is not None:
            lock.release()


def _after_fork() -> None:
    for store in list(_STORES):
        store.after_fork()


if hasattr(os, "register_at_fork"):  # elsewhere no process forks
    os.register_at_fork(after_in_child=_after_fork)
