"""`ShardedCollection`: one collection whose documents are in several shards, each served by actors of Ray.

    ray.init()                                               # or address="auto" on a cluster
    papers = ShardedCollection.open("/shared/papers", shards=4, replicas=2)
    papers.upsert(vectors, ids=ids, texts=texts, metadatas=metadatas)
    papers.search(vector, 5, filter={"year": {"$gte": 2020}})

    driver ── changes ──> keeper ──> the writer of each shard ── commits ──> /shared/papers/shard-000, ...
           ── questions ───────────> any replica of each shard <── follows ──┘

This file has how a collection comes, is copied, grows and goes; `reading` and `searching` what can be asked,
`changing` what changes, `calls` the way to the shards, `keeper` the one way to change anything, `moving`
growth, `routing` which shard has what.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray

from inlay.collection import exchange
from inlay.collection.database import Durability
from inlay.collection.opening import OTHERS, Wanted, check_terms
from inlay.collection.records import State
from inlay.collection.store import LONG
from inlay.collection.watching import TARGET
from inlay.progress import Progress, track

from . import opening
from .asynchronous import Asynchronous
from .calls import Calls
from .changing import Changing
from .keeper import Terms
from .moving import Plan
from .reading import Asking
from .routing import MAP, shard_folder
from .searching import Searching


class ShardedCollection(Searching, Changing, Asynchronous):
    """A collection over several shards; made by `ShardedCollection.open` or `attach`.

    It answers the calls of `inlay.Collection` in the same way, and any thread may call anything. What
    differs: functions as filters are asked in this process; iterating is not of one state; and a change of
    many documents is durable shard by shard, 4096 documents at a time. Every call has a deadline, after
    which it raises `DeadlineExceeded`.
    """

    def __init__(
        self,
        keeper: Any,
        path: str,
        *,
        deadline: float,
        change_deadline: float,
        partial: bool,
        read_only: bool,
    ) -> None:
        self._asking = Asking()
        self._calls = Calls(keeper, deadline, change_deadline)
        self._path = path
        self._change_deadline = change_deadline
        self._partial = partial
        self._read_only = read_only
        self._started = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        dim: int | None = None,
        metric: str | None = None,
        index: str | None = None,
        *,
        shards: int | None = None,
        replicas: int | None = None,
        collection: str = "default",
        full_text: bool = False,
        read_only: bool = False,
        durability: Durability = "full",
        recall: float = TARGET,
        name: str | None = None,
        cpus: float = 1.0,
        threads: int | None = None,
        deadline: float = 60.0,
        change_deadline: float = 600.0,
        partial: bool = False,
    ) -> Self:
        """Open a sharded collection, made if there is none; attach to it if it runs.

        Parameters
        ----------
        path : str or path-like
            A folder that all nodes see.
        dim, metric, index, collection, full_text, read_only, durability, recall : optional
            As for `inlay.Collection.open`.
        shards : int, optional
            How many, one by default; `reshard` changes that later.
        replicas : int, optional
            Actors for each shard, one by default: the first writes, the others follow, on the same node.
        name : str, optional
            By which others can `attach`; the path by default.
        cpus : float
            What Ray puts aside for each replica.
        threads : int, optional
            As many threads as one call of a replica may use; by default all of the node.
        deadline, change_deadline : float
            Seconds for a question, and for a change: one that lets an index grow may take minutes.
        partial : bool
            Let searches do without shards of which no replica is there; `Hits.missing` names them.

        Raises
        ------
        ValueError, FormatError, FileNotFoundError
            As for `inlay.Collection.open`; also when there are other shards or replicas, or no shards at all.
        RuntimeError
            When `ray.init` was not called.
        """
        opening.check_ray()
        wanted = Wanted(os.fspath(path), dim, metric, index, collection, full_text)
        wanted.check()
        check_terms(durability, recall)
        if wanted.home is None:
            raise ValueError("a sharded collection needs a folder that all nodes see, not ':memory:'")
        terms = Terms(name or str(wanted.home), cpus, threads, durability, recall, change_deadline)
        keeper = opening.running(terms.name)
        started = keeper is None
        if keeper is not None and opening.home_of(keeper, change_deadline) != str(wanted.home):
            raise ValueError(f"name={terms.name!r} is that of another collection that runs")
        map = opening.provided(wanted, shards, replicas, running=not started, read_only=read_only)
        wanted.check_against(State(map.name, map.metric, map.spec, map.dim))
        if started:
            keeper = opening.start(str(wanted.home), terms)
        try:
            opened = cls(
                keeper,
                wanted.place,
                deadline=deadline,
                change_deadline=change_deadline,
                partial=partial,
                read_only=read_only,
            )
            opened._provide(dim, full_text)
        except BaseException:
            if started:
                opening.stop(keeper, change_deadline)
            raise
        opened._started = started
        return opened

    @classmethod
    def attach(
        cls,
        name: str,
        *,
        read_only: bool = False,
        deadline: float = 60.0,
        change_deadline: float = 600.0,
        partial: bool = False,
    ) -> Self:
        """Return a collection that runs, by the name it was opened with.

        Raises
        ------
        LookupError
            When there is none.
        """
        opening.check_ray()
        keeper = opening.running(name)
        if keeper is None:
            raise LookupError(f"no collection runs under the name {name!r}")
        return cls(
            keeper,
            opening.home_of(keeper, change_deadline),
            deadline=deadline,
            change_deadline=change_deadline,
            partial=partial,
            read_only=read_only,
        )

    def _provide(self, dim: int | None, full_text: bool) -> None:
        map = self._calls.map
        if dim is not None and map.dim is None and not self._read_only:
            self._change("fix_dim", dim)
            self._calls.refresh()
        if full_text and not map.full_text:
            if self._read_only:
                raise ValueError(
                    f"full_text=True was asked for but {self._path} has none; "
                    "open it once without read_only=True"
                )
            self._change("index_texts")
            self._calls.refresh()

    def __repr__(self) -> str:
        stats, map = self.stats(), self._calls.map
        documents = f"{stats['documents']:,} documents, {stats['index']}, {map.metric}"
        return f"<ShardedCollection {map.name!r} at {self._path}: {documents}, {len(map.shards)} shards>"

    # Files

    def snapshot(self) -> None:
        """Save the index of every shard now, so that opening does not have to make it."""
        self._change("snapshot")

    def copy_to(self, path: str | os.PathLike[str]) -> None:
        """Write a copy, as of one moment, to a folder; it appears there complete, in place of an earlier one.

        Raises
        ------
        FileExistsError
            When the folder holds something that is not a sharded collection.
        BlockingIOError
            When the one it holds runs, or documents are moving.
        """
        target = Path(path).absolute()
        if (target / OTHERS).exists():
            raise FileExistsError(f"{target} holds further collections; give another folder")
        if target.exists() and not (target / MAP).exists() and (not target.is_dir() or any(target.iterdir())):
            raise FileExistsError(
                f"{target} holds something that is not a collection of shards; give another folder"
            )
        if opening.running(str(target)) is not None:
            raise BlockingIOError(f"the collection in {target} runs; close it, or give another folder")
        self._calls.tell("copy_to", str(target), deadline=self._change_deadline)

    def export_jsonl(self, file: str | os.PathLike[str], *, progress: Progress = None) -> int:
        """Write all documents to a file of JSON Lines for other programs; return how many."""
        return exchange.export(self.parts(), len(self), Path(file), progress)

    # Growth

    def plan(self, shards: int) -> Plan:
        """Return what `reshard` would move."""
        found: Plan = self._calls.tell("plan", opening.checked(shards, "shards"))
        return found

    def reshard(
        self, shards: int, *, report: Callable[[str], object] = print, progress: Progress = None
    ) -> None:
        """Change the number of shards; the collection serves meanwhile.

        It goes on when this process ends, and when actors are lost; opening the collection takes it up again.

        Parameters
        ----------
        shards : int
        report : callable
            Is given the plan before anything moves.
        progress : bool, callable or None
            Of the documents that move.
        """
        plan = self.plan(shards)
        report(str(plan))
        self._change("reshard", shards, again=False)
        self.wait_until_moved(progress=progress)

    def wait_until_moved(self, *, progress: Progress = None) -> None:
        """Return when no documents are moving any more.

        Raises
        ------
        RuntimeError
            When that was broken off; `reshard` takes it up again.
        """
        done, total, error = self._calls.tell("moved")
        with track(progress, total, "moving", long=total > LONG) as step:
            while done < total:
                before = done
                time.sleep(0.02)
                done, total, error = self._calls.tell("moved")
                step(min(done, total) - before)
        if error is not None:
            raise RuntimeError(f"documents stopped moving: {error}")
        self._calls.refresh()

    # Coming and going

    def processes(self) -> dict[int, list[int | None]]:
        """Return the processes of each shard's replicas, the writer's first; None where there is none."""
        self._calls.refresh()
        return self._calls.processes()

    def close(self) -> None:
        """Let go of the collection; if it was started here, its actors end. Closing twice is no error."""
        if self._started:
            self.shutdown()
        self._calls.closed = True

    def drop(self) -> None:
        """Remove the collection, its files included, and close it; see `Collection.drop`."""
        self.clear()
        home = Path(opening.home_of(self._calls.keeper, self._change_deadline))
        shards = self._calls.refresh().shards
        self.shutdown()
        for shard in shards:
            shutil.rmtree(shard_folder(home, shard))
        (home / MAP).unlink()
        with contextlib.suppress(OSError):  # something else is in it
            home.rmdir()

    def detach(self) -> None:
        """Let go of the collection, which runs on for others to `attach` to."""
        self._started = False
        self._calls.closed = True

    def shutdown(self) -> None:
        """End the actors, wherever they were started."""
        if self._calls.closed:
            return
        self._calls.tell("close", deadline=self._change_deadline)
        ray.kill(self._calls.keeper, no_restart=True)
        self._started = False
        self._calls.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
