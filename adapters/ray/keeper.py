"""The keeper of a sharded collection: all changes go through it, one after the other.

It is an actor of a few kilobytes, and the only one to change the map. Documents do not pass through it: who
stores some puts them into the object store, a part for each shard, and the keeper hands the references on.
What it adds is their place in the order of insertion. It can be killed at any moment: everything it must
know is in the map, and every change of a shard may be done twice, so a change that was broken off is simply
made again.

Questions do not come here; see `calls`.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from inlay.collection import disk
from inlay.collection.database import Durability
from inlay.collection.filters import Filter
from inlay.collection.watching import TARGET

from . import moving
from .routing import BITS, I64, Map, StaleMap, keys_of, load, save, shard_folder
from .shard import Shard

NAMESPACE = "inlay"
CALLS_AT_ONCE = 16  # of one replica; its collection answers from any number of threads
_PLACES = 1 << 20  # so many places in the order are put aside with one write of the map
_PAUSE = 0.05  # seconds before a replica that is gone is asked again


class KnownIds(Exception):
    """Documents that are new have ids that are there; `args[0]` are these."""


@dataclass(frozen=True)
class Terms:
    """How the actors of a collection run.

    Parameters
    ----------
    name : str
        Of the keeper; those of the shards begin with it.
    cpus : float
        What the engine puts aside for a replica.
    threads : int or None
        As many threads as one call of a replica may use.
    durability : {"full", "normal"}
    recall : float
        Of each shard's searches.
    patience : float
        Seconds in which a replica that was lost has to be back.
    """

    name: str
    cpus: float = 1.0
    threads: int | None = None
    durability: Durability = "full"
    recall: float = TARGET
    patience: float = 600.0


Handles = dict[int, list[Any]]  # the replicas of each shard, the one that writes first


class Keeper:
    """Keeps the map, makes the actors, and passes changes on.

    Parameters
    ----------
    home : str
        The folder of the sharded collection.
    terms : Terms
    """

    def __init__(self, home: str, terms: Terms) -> None:
        self._home = Path(home)
        self._terms = terms
        held = load(self._home)
        self._map = replace(held, keeper=held.keeper + 1)
        save(self._map, self._home)
        self._turn = (self._map.keeper, 0)
        self._handles: Handles = {}
        self._changes = asyncio.Lock()
        self._starting = asyncio.Lock()
        self._next_place = self._map.next_place
        self._ended_place = self._next_place  # that of the first document of the next change
        self._move: asyncio.Task[None] | None = None
        self._moved = (0, 0)

    # The actors

    async def start(self) -> tuple[Map, Handles]:
        """Make the actors that are not there, take up a move that was broken off, and return who is who."""
        async with self._starting:
            for shard in self._map.shards:
                if shard not in self._handles:
                    self._handles[shard] = self._made(shard)
            await asyncio.gather(*(self.tell_all(shard, "adopt") for shard in self._map.shards))
            if self._map.target is not None and (self._move is None or self._move.done()):
                self._move = asyncio.create_task(moving.run(self))
        return self._map, self._handles

    async def where(self) -> tuple[Map, Handles]:
        """Return the map and the actors."""
        return (self._map, self._handles) if self._handles else await self.start()

    def home(self) -> str:
        """Return the folder."""
        return str(self._home)

    def recall(self) -> float:
        """Return which part of the nearest searches shall find."""
        return self._terms.recall

    async def pid(self) -> int:
        """Return the process, which says that it is there."""
        return os.getpid()

    def _made(self, shard: int) -> list[Any]:
        """Return the replicas of a shard, made where they are not there.

        They follow the files of one another, which takes a machine's shared memory: all are on one node.
        """
        replicas = self._map.replicas
        group = None if replicas == 1 else self._group(shard, replicas)
        return [self._replica(shard, i, group) for i in range(replicas)]

    def _replica(self, shard: int, i: int, group: PlacementGroup | None) -> Any:
        strategy = "SPREAD" if group is None else PlacementGroupSchedulingStrategy(group, i)
        options = {
            "name": f"{self._terms.name}/{shard}/{i}",
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            "max_concurrency": CALLS_AT_ONCE,
            "num_cpus": self._terms.cpus,
            "scheduling_strategy": strategy,
        }
        terms = self._terms
        return (
            ray.remote(Shard)
            .options(**options)
            .remote(str(self._home), shard, i == 0, terms.durability, terms.threads, terms.recall)
        )

    def _group(self, shard: int, replicas: int) -> PlacementGroup:
        name = f"{self._terms.name}/{shard}"
        try:
            group: PlacementGroup = ray.util.get_placement_group(name)
        except ValueError:
            bundles = [{"CPU": self._terms.cpus}] * replicas
            group = placement_group(bundles, "STRICT_PACK", name, lifetime="detached")
        return group

    async def tell(self, shard: int, method: str, *arguments: Any, replica: int = 0) -> Any:
        """Call a replica, by default the writer, until it answers; what is called may be done twice."""
        if not self._handles:  # this keeper has taken the place of one that was lost
            await self.start()
        until = time.monotonic() + self._terms.patience
        while True:
            actor = self._handles[shard][replica]
            try:
                return await getattr(actor, method).remote(*arguments)
            except RayTaskError as error:
                raise error.cause from None
            except RayActorError as error:
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"shard {shard} did not come back in {self._terms.patience:g} s"
                    ) from error
                if isinstance(error, ActorDiedError):  # for good: it could not begin
                    self._handles[shard] = self._made(shard)
                await asyncio.sleep(_PAUSE)

    async def tell_all(self, shard: int, method: str, *arguments: Any) -> list[Any]:
        """Call all replicas of a shard, the one that writes first: it makes what the others open."""
        first = await self.tell(shard, method, *arguments)
        others = (self.tell(shard, method, *arguments, replica=i) for i in range(1, self._map.replicas))
        return [first, *await asyncio.gather(*others)]

    async def order(self, shard: int, method: str, *arguments: Any) -> None:
        """Let the writer of a shard make a change; one that arrives after its turn it refuses."""
        await self.tell(shard, "change", self._turn, method, *arguments)

    async def _order_each(self, method: str, *arguments: Any) -> None:
        await _together([self.order(shard, method, *arguments) for shard in self._map.shards])

    # The map

    @property
    def map(self) -> Map:
        """The map."""
        return self._map

    @property
    def folder(self) -> Path:
        """The folder of the sharded collection."""
        return self._home

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Let one change be made, when those before have ended; its turn is later than theirs."""
        async with self._changes:
            self._turn = (self._turn[0], self._turn[1] + 1)
            try:
                yield
            finally:
                self._ended_place = self._next_place

    def put_map(self, **changes: Any) -> None:
        """Make a change of the map durable."""
        self._map = replace(self._map, **changes, version=self._map.version + 1)
        save(self._map, self._home)

    def _places(self, n: int) -> int:
        """Return the first of n places in the order of insertion that nobody has had."""
        first = self._next_place
        self._next_place += n
        if self._next_place > self._map.next_place:
            self._map = replace(self._map, next_place=self._next_place + _PLACES)
            save(self._map, self._home)
        return first

    def _check(self, version: int) -> None:
        if version != self._map.version:
            raise StaleMap

    async def last_key(self) -> int:
        """Return a key below those of all changes that have not ended yet, and of no other."""
        return (self._ended_place << BITS) - 1

    # Changes

    async def store(
        self, version: int, parts: Mapping[int, tuple[list[Any], I64, I64]], n: int, dim: int, new: bool
    ) -> None:
        """Store documents.

        Parameters
        ----------
        version : int
            Of the map that the parts were made by.
        parts : mapping
            For each shard the reference of its `Batch`, in a list so that it is not fetched on the way here;
            and the positions in the call, and the buckets, of its documents.
        n : int
            Documents in the call.
        dim : int
            Of the vectors.
        new : bool
            Refuse ids that are there.
        """
        async with self.changing():
            self._check(version)
            if self._map.dim not in (None, dim):
                raise ValueError(f"vectors have {dim} dimensions, the others {self._map.dim}")
            if new:
                asked = [self.tell(shard, "known", batch[0]) for shard, (batch, _, _) in parts.items()]
                if known := [name for part in await _together(asked) for name in part]:
                    raise KnownIds(known)
            if self._map.dim is None:
                await self._fix_dim(dim)
            first = self._places(n)
            await _together(
                [
                    self.order(shard, "store", batch[0], keys_of(first, positions, buckets))
                    for shard, (batch, positions, buckets) in parts.items()
                ]
            )

    async def delete(self, version: int, ids: Mapping[int, list[str]] | None, tree: Filter | None) -> int:
        """Remove documents; return how many."""
        async with self.changing():
            self._check(version)
            return await self._change(ids, tree, lambda shard, names: self.order(shard, "remove", names))

    async def update_metadata(
        self,
        version: int,
        ids: Mapping[int, list[str]] | None,
        tree: Filter | None,
        patch: Mapping[str, Any],
        whole: bool,
    ) -> int:
        """Change metadata; return of how many documents."""
        async with self.changing():
            self._check(version)
            return await self._change(
                ids, tree, lambda shard, names: self.order(shard, "patch", names, patch, whole)
            )

    async def _change(
        self,
        ids: Mapping[int, list[str]] | None,
        tree: Filter | None,
        change: Callable[[int, list[str]], Coroutine[Any, Any, Any]],
    ) -> int:
        """Change the documents that are meant: which these are is settled before the first change."""
        asked = dict.fromkeys(self._map.shards) if ids is None else ids
        found = await _together(
            [self.tell(shard, "names", self._map.version, tree, names) for shard, names in asked.items()]
        )
        meant = {shard: names for shard, names in zip(asked, found, strict=True) if names}
        await _together([change(shard, names) for shard, names in meant.items()])
        return sum(map(len, meant.values()))

    async def clear(self) -> None:
        """Remove all documents."""
        async with self.changing():
            await self._order_each("clear")

    async def fix_dim(self, dim: int) -> None:
        """Set the number of dimensions of a collection that has none yet."""
        async with self.changing():
            if self._map.dim is None:
                await self._fix_dim(dim)

    async def _fix_dim(self, dim: int) -> None:
        await self._order_each("fix_dim", dim)
        self._map = replace(self._map, dim=dim)  # no other map: where documents are is as it was
        save(self._map, self._home)

    async def index_texts(self) -> None:
        """Let texts be searched."""
        async with self.changing():
            await self._order_each("index_texts")
            self._map = replace(self._map, full_text=True)
            save(self._map, self._home)

    # Files

    async def snapshot(self) -> None:
        """Save the index of each shard."""
        async with self.changing():
            await _together([self.tell(shard, "snapshot") for shard in self._map.shards])

    async def copy_to(self, target: str) -> None:
        """Write a copy, as of one moment, to a folder; it appears there complete."""
        place = Path(target)
        name = f".inlay-{secrets.token_hex(8)}"
        beside, aside = place.with_name(f"{name}.tmp"), place.with_name(f"{name}-old.tmp")
        async with self.changing():
            if self._map.unsettled:
                raise BlockingIOError("documents are moving between shards; copy the collection afterwards")
            try:
                beside.mkdir(parents=True)
                await _together(
                    [
                        self.tell(shard, "copy_to", str(shard_folder(beside, shard)))
                        for shard in self._map.shards
                    ]
                )
                save(replace(self._map, target=None, next_place=self._next_place), beside)
                if place.exists():
                    os.rename(place, aside)
                os.rename(beside, place)
                disk.sync_folder(place.parent)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
                if place.exists():
                    shutil.rmtree(aside, ignore_errors=True)

    # Growth

    async def plan(self, shards: int) -> moving.Plan:
        """Return what a change of the number of shards would move."""
        return await moving.plan(self, shards)

    async def reshard(self, shards: int) -> None:
        """Begin to move documents until there are so many shards."""
        if self._move is not None and not self._move.done():
            raise BlockingIOError("documents are moving already; wait for that to end")
        await moving.begin(self, shards)
        await self.start()

    async def moved(self) -> tuple[int, int, str | None]:
        """Return how many documents moved, of how many, and what went wrong; (n, n, None) at the end."""
        done, total = self._moved
        if self._move is None or not self._move.done():
            return done, total + 1, None  # one step is left: the end
        error = self._move.exception()
        return done, done, None if error is None else f"{type(error).__name__}: {error}"

    def tell_moved(self, done: int, total: int) -> None:
        """Take down how far a move is."""
        self._moved = (done, total)

    # The end

    async def retire(self, shard: int) -> None:
        """End the actors of a shard."""
        for actor in self._handles.pop(shard):
            with contextlib.suppress(RayActorError):  # then it has let go of its files
                await actor.close.remote()
            ray.kill(actor, no_restart=True)
        if self._map.replicas > 1:
            remove_placement_group(self._group(shard, self._map.replicas))

    async def close(self) -> None:
        """End all actors but this one."""
        async with self.changing():
            if self._move is not None:
                self._move.cancel()
            await asyncio.gather(*(self.retire(shard) for shard in list(self._handles)))


async def _together(calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Wait until all calls have ended, and raise what the first one that failed has raised.

    A change is over when no shard is at it any more, so that the next one does not overtake it.
    """
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers
