"""`ShardedCollection`: one collection whose documents are in several shards, each served by actors of Ray.

    ray.init()                                               # or address="auto" on a cluster
    papers = ShardedCollection.open("/shared/papers", shards=4, replicas=2)
    papers.upsert(vectors, ids=ids, texts=texts, metadatas=metadatas)
    papers.search(vector, 5, filter={"year": {"$gte": 2020}})

    driver ── changes ──> keeper ──> the writer of each shard ── commits ──> /shared/papers/shard-000, ...
           ── questions ───────────> any replica of each shard <── follows ──┘

This file has what changes, and how a collection comes and goes; `reading` what can be asked, `calls` the
way to the shards, `keeper` the one way to change anything, `moving` growth, `routing` which shard has what.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import ray

from inlay.collection import AnyCollection, batch, exchange, metadata, opening, selection
from inlay.collection.collection import LONG
from inlay.collection.database import DATABASE, Durability
from inlay.collection.records import State
from inlay.collection.selection import Given as Filter
from inlay.collection.store import CHUNK
from inlay.collection.watching import TARGET
from inlay.progress import Progress, track

from .asynchronous import Asynchronous
from .calls import Calls
from .keeper import NAMESPACE, Keeper, KnownIds, Terms
from .moving import Plan
from .reading import Reading, accepts, split
from .routing import MAP, Map, buckets_of, even, load, save, shard_folder


class ShardedCollection(Reading, Asynchronous):
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
        self._calls = Calls(keeper, ray.get(keeper.where.remote(), timeout=change_deadline), deadline)
        self._path = path
        self._change_deadline = change_deadline
        self._partial = partial
        self._read_only = read_only
        self._started = False
        self._closed = False

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
        _check_ray()
        wanted = opening.Wanted(os.fspath(path), dim, metric, index, collection, full_text)
        wanted.check()
        opening.check_recall(recall)
        if wanted.home is None:
            raise ValueError("a sharded collection needs a folder that all nodes see, not ':memory:'")
        terms = Terms(name or str(wanted.home), cpus, threads, durability, recall, change_deadline)
        keeper = _running(terms.name)
        started = keeper is None
        if keeper is not None and _home(keeper, change_deadline) != str(wanted.home):
            raise ValueError(f"name={terms.name!r} is that of another collection that runs")
        map = _provided(wanted, shards, replicas, running=not started, read_only=read_only)
        wanted.check_against(State(map.name, map.metric, map.spec, map.dim))
        if started:
            options = {"name": terms.name, "namespace": NAMESPACE, "lifetime": "detached", "max_restarts": -1}
            maker = ray.remote(Keeper).options(**options, get_if_exists=True, num_cpus=0)
            keeper = maker.remote(str(wanted.home), terms)
        opened = cls(
            keeper,
            wanted.place,
            deadline=deadline,
            change_deadline=change_deadline,
            partial=partial,
            read_only=read_only,
        )
        opened._started = started
        try:
            opened._provide(dim, full_text)
        except BaseException:
            opened.close()
            raise
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
        _check_ray()
        keeper = _running(name)
        if keeper is None:
            raise LookupError(f"no collection runs under the name {name!r}")
        return cls(
            keeper,
            _home(keeper, change_deadline),
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

    @property
    def path(self) -> str:
        """The folder."""
        return self._path

    @property
    def recall(self) -> float:
        """Which part of the nearest a search shall find on average, as the first who opened it said."""
        found: float = self._calls.tell("recall")
        return found

    @property
    def read_only(self) -> bool:
        """Whether changes are refused here."""
        return self._read_only

    def __repr__(self) -> str:
        stats, map = self.stats(), self._calls.map
        documents = f"{stats['documents']:,} documents, {stats['index']}, {map.metric}"
        return f"<ShardedCollection {map.name!r} at {self._path}: {documents}, {len(map.shards)} shards>"

    # Changing

    def _change(self, method: str, *arguments: Any, again: bool = True) -> Any:
        if self._read_only:
            raise PermissionError(
                "the collection was opened with read_only=True; open it without to change it"
            )
        if self._closed:
            raise RuntimeError("the collection is closed")
        return self._calls.tell(method, *arguments, deadline=self._change_deadline, again=again)

    def add(
        self,
        vectors: npt.ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress = None,
    ) -> list[str]:
        """Store new documents; see `Collection.add`.

        If the keeper is lost in the middle it is not known what was stored: `upsert` the same then.
        """
        given = batch.check(vectors, ids, texts, metadatas, self.dim)
        twice = given.first_repeated()
        if twice is not None:
            raise ValueError(
                f"row {twice} has the id {given.ids[twice]!r} of an earlier row; upsert would replace it"
            )
        return self._insert(given, progress, new=True)

    def upsert(
        self,
        vectors: npt.ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress = None,
    ) -> list[str]:
        """Store documents, each in the place of the one with its id; see `Collection.upsert`."""
        return self._insert(batch.check(vectors, ids, texts, metadatas, self.dim), progress, new=False)

    def _insert(self, given: batch.Batch, progress: Progress, *, new: bool) -> list[str]:
        documents = given.last_of_each()
        if not len(documents):
            return []
        n = len(documents)
        with track(progress, n, "storing", long=n > LONG) as step:
            if new:
                self._check_new(documents)
            for start in range(0, n, CHUNK):
                part = documents.part(start, start + CHUNK)
                self._calls.with_map(lambda map, part=part: self._store(map, part, new))  # type: ignore[misc]
                step(len(part))
        return given.ids

    def _check_new(self, documents: batch.Batch) -> None:
        """Refuse ids that are there before anything is written, also where that takes several steps."""
        if len(documents) > CHUNK and (known := self.get(documents.ids)):
            _refuse_known(documents.ids, {record.id for record in known})

    def _store(self, map: Map, documents: batch.Batch, new: bool) -> None:
        buckets = buckets_of(documents.ids)
        owners = map.table[buckets]
        parts = {}
        for shard in np.unique(owners).tolist():
            positions = np.flatnonzero(owners == shard)
            some = positions.tolist()
            part = batch.Batch(
                documents.vectors[positions],
                [documents.ids[i] for i in some],
                [documents.texts[i] for i in some],
                [documents.metas[i] for i in some],
            )
            parts[shard] = ([ray.put(part)], positions, buckets[positions])
        dim = documents.vectors.shape[1]
        try:
            self._change("store", map.version, parts, len(documents), dim, new, again=not new)
        except KnownIds as known:
            _refuse_known(documents.ids, set(known.args[0]))

    def merge_from(self, other: AnyCollection) -> None:
        """Store the documents of another collection, each in the place of the one with its id."""
        if isinstance(other, ShardedCollection) and other.path == self.path and other.name == self.name:
            return
        for records, vectors in other.parts():
            self.upsert(
                vectors,
                ids=[record.id for record in records],
                texts=[record.text for record in records],
                metadatas=[record.metadata for record in records],
                progress=False,
            )

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter = None) -> int:
        """Remove documents; see `Collection.delete`. A function is asked before the change begins."""
        if ids is None and filter is None:
            raise ValueError("give ids or a filter; clear() removes all documents")
        judge, names = self._chosen(filter, ids)
        return int(self._calls.with_map(lambda map: self._meant_by(map, "delete", names, judge)))

    def update_metadata(
        self,
        ids: Sequence[str] | None,
        patch: Mapping[str, Any],
        *,
        filter: Filter = None,
        replace: bool = False,
    ) -> int:
        """Change the metadata of documents; see `Collection.update_metadata`.

        The documents of one shard change together, or none of them.
        """
        if ids is None and filter is None:
            raise ValueError("give ids or a filter; filter={} is all documents")
        judge, names = self._chosen(filter, ids)
        metadata.encode(patch)  # refused before anything is read
        given = dict(patch)
        return int(
            self._calls.with_map(
                lambda map: self._meant_by(map, "update_metadata", names, judge, given, replace)
            )
        )

    def _chosen(self, filter: Filter, ids: Sequence[str] | None) -> tuple[Any, list[str] | None]:
        """Return a filter and ids that the shards can be told: what a function accepts becomes ids."""
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        if not callable(judge):
            return judge, names
        records = self if names is None else self.get(names)
        return None, [record.id for record in records if accepts(judge, record)]

    def _meant_by(self, map: Map, method: str, names: list[str] | None, judge: Any, *more: Any) -> Any:
        parts = None if names is None else split(map, names)
        return self._change(method, map.version, parts, judge, *more)

    def clear(self) -> None:
        """Remove all documents; what the collection is, its dimension included, stays."""
        self._change("clear")

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
        if target.exists() and not (target / MAP).exists() and (not target.is_dir() or any(target.iterdir())):
            raise FileExistsError(
                f"{target} holds something that is not a sharded collection; give another folder"
            )
        if _running(str(target)) is not None:
            raise BlockingIOError(f"the collection in {target} runs; close it, or give another folder")
        self._calls.tell("copy_to", str(target), deadline=self._change_deadline)

    def export_jsonl(self, file: str | os.PathLike[str], *, progress: Progress = None) -> int:
        """Write all documents to a file of JSON Lines for other programs; return how many."""
        with track(progress, len(self), "exporting", long=len(self) > LONG) as step:
            written = 0
            for n in exchange.write(self.parts(), Path(file)):
                step(n)
                written += n
        return written

    def import_jsonl(self, file: str | os.PathLike[str]) -> int:
        """Store the documents of a file of JSON Lines, each in the place of the one with its id."""
        return sum(len(self.upsert(**columns, progress=False)) for columns in exchange.read(Path(file)))

    # Growth

    def plan(self, shards: int) -> Plan:
        """Return what `reshard` would move."""
        found: Plan = self._calls.tell("plan", _checked(shards, "shards"))
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
        self._closed = True

    def drop(self) -> None:
        """Remove the collection, its files included, and close it; see `Collection.drop`."""
        self.clear()
        home, shards = Path(_home(self._calls.keeper, self._change_deadline)), self._calls.refresh().shards
        self.shutdown()
        for shard in shards:
            shutil.rmtree(shard_folder(home, shard))
        (home / MAP).unlink()
        with contextlib.suppress(OSError):  # something else is in it
            home.rmdir()

    def detach(self) -> None:
        """Let go of the collection, which runs on for others to `attach` to."""
        self._started = False
        self._closed = True

    def shutdown(self) -> None:
        """End the actors, wherever they were started."""
        if self._closed:
            return
        self._closed = True
        self._started = False
        self._calls.tell("close", deadline=self._change_deadline)
        ray.kill(self._calls.keeper, no_restart=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_ray() -> None:
    if not ray.is_initialized():
        raise RuntimeError(
            'call ray.init() first: ray.init() starts Ray here, ray.init(address="auto") joins a cluster'
        )


def _running(name: str) -> Any:
    """Return the keeper of that name, None if none runs."""
    try:
        return ray.get_actor(name, NAMESPACE)
    except ValueError:
        return None


def _home(keeper: Any, deadline: float) -> str:
    return str(ray.get(keeper.home.remote(), timeout=deadline))


def _checked(n: int, name: str) -> int:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{name} must be an int, not {type(n).__name__}")
    if not 1 <= n <= 4096:
        raise ValueError(f"{name} must be from 1 to 4096, not {n}")
    return n


def _provided(
    wanted: opening.Wanted, shards: int | None, replicas: int | None, *, running: bool, read_only: bool
) -> Map:
    """Return the map of a collection; made if there is none."""
    home = wanted.home
    assert home is not None
    n_shards = None if shards is None else _checked(shards, "shards")
    n_replicas = None if replicas is None else _checked(replicas, "replicas")
    try:
        map = load(home)
    except FileNotFoundError:
        if read_only:
            raise
        if (home / DATABASE).exists():
            raise ValueError(
                f"{home} holds a collection without shards; open an empty folder, and merge_from that one"
            ) from None
        home.mkdir(parents=True, exist_ok=True)
        numbers = tuple(range(n_shards or 1))
        metric, spec = wanted.metric or "cosine", wanted.index or "auto"
        map = Map(
            wanted.name,
            metric,
            spec,
            wanted.dim,
            wanted.full_text,
            n_replicas or 1,
            numbers,
            even(numbers),
            next_shard=len(numbers),
        )
        save(map, home)
        return map
    if n_shards not in (None, len(map.shards)):
        raise ValueError(
            f"shards={n_shards} was asked for but {home} has {len(map.shards)}; reshard changes that"
        )
    if n_replicas not in (None, map.replicas):
        if running:
            raise ValueError(
                f"replicas={n_replicas} was asked for but {home} runs with {map.replicas}; close it first"
            )
        map = Map(**{**vars(map), "replicas": n_replicas})
        save(map, home)
    return map


def _refuse_known(ids: Sequence[str], known: set[str]) -> None:
    row = next(i for i, name in enumerate(ids) if name in known)
    raise ValueError(f"row {row} has the id {ids[row]!r}, which is there; upsert would replace it")
