"""Another number of shards: documents move a bucket or some at a time, while the collection serves.

    1   the map says that two shards are unsettled: each now shows what is its own by the map, and no more
    2   the buckets' documents are copied from one to the other, where nobody sees them
    3   the map gives the buckets to the other: from here on it shows them, and the first one does not
    4   the first one removes them, and the map says that both are settled

Changes wait during the first three steps, for some tenths of a second; questions never. A question by an
older map is refused by the shards of the newer one and asked again, so it sees every document once.
Wherever this is broken off, the map says what was going on: what is not a shard's own goes, and the move
begins again with the bucket it had come to.
"""

import asyncio
import shutil
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .routing import I64, Map, even, shard_folder

AT_ONCE = 4096  # documents; changes wait while so many are copied


class Keeping(Protocol):
    """What a move needs of the keeper."""

    @property
    def map(self) -> Map:
        """The map."""

    @property
    def folder(self) -> Path:
        """The folder of the sharded collection."""

    def changing(self) -> AbstractAsyncContextManager[None]:
        """Let one change be made, when those before have ended."""

    def put_map(self, **changes: Any) -> None:
        """Make a change of the map durable."""

    def tell_moved(self, done: int, total: int) -> None:
        """Take down how far a move is."""

    async def tell(self, shard: int, method: str, *arguments: Any) -> Any:
        """Call the writer of a shard until it answers."""

    async def tell_all(self, shard: int, method: str, *arguments: Any) -> list[Any]:
        """Call all replicas of a shard."""

    async def order(self, shard: int, method: str, *arguments: Any) -> None:
        """Let the writer of a shard make a change."""

    async def retire(self, shard: int) -> None:
        """End the actors of a shard."""


@dataclass(frozen=True)
class Move:
    """What goes from one shard to another."""

    source: int
    target: int
    buckets: int
    documents: int


@dataclass(frozen=True)
class Plan:
    """What a change of the number of shards moves; as text, what it says of itself.

    Attributes
    ----------
    documents : dict
        How many each shard has, by its number.
    after : dict
        How many each will have.
    moves : list of Move
    """

    documents: dict[int, int]
    after: dict[int, int]
    moves: list[Move]

    def __str__(self) -> str:
        total = sum(self.documents.values())
        moving = sum(move.documents for move in self.moves)
        lines = [f"{len(self.documents)} -> {len(self.after)} shards: {moving:,} of {total:,} documents move"]
        lines += [
            f"  shard {move.source} -> {move.target}: {move.documents:,} documents, {move.buckets:,} buckets"
            for move in self.moves
        ]
        for shard in sorted({*self.documents, *self.after}):
            before, after = self.documents.get(shard), self.after.get(shard)
            was = "new" if before is None else f"{before:,}"
            lines.append(f"  shard {shard}: {was} -> {'gone' if after is None else f'{after:,}'}")
        return "\n".join(lines)


def aim(map: Map, shards: int) -> Map:
    """Return the map with the owners that so many shards lead to as its target."""
    kept = list(map.shards[:shards])
    new = list(range(map.next_shard, map.next_shard + shards - len(kept)))
    return replace(
        map,
        shards=(*map.shards, *new),
        next_shard=map.next_shard + len(new),
        target=even([*kept, *new], map.owners),
    )


async def plan(keeper: Keeping, shards: int) -> Plan:
    """Return what would move; the collection may change meanwhile."""
    now = keeper.map
    aimed = aim(now, shards)
    found = await asyncio.gather(*(keeper.tell(shard, "histogram") for shard in now.shards))
    counts = np.sum(found, axis=0)
    owners, target = aimed.table, np.array(aimed.target)
    moves = []
    for source in now.shards:
        for goal in aimed.shards:
            chosen = (owners == source) & (target == goal)
            if source != goal and chosen.any():
                moves.append(Move(source, goal, int(chosen.sum()), int(counts[chosen].sum())))
    return Plan(
        {shard: int(counts[owners == shard].sum()) for shard in now.shards},
        {shard: int(counts[target == shard].sum()) for shard in sorted(set(target.tolist()))},
        moves,
    )


async def begin(keeper: Keeping, shards: int) -> None:
    """Take down where the move is to lead; the keeper makes the shards that are new."""
    async with keeper.changing():
        aimed = aim(keeper.map, shards)
        if aimed.target == aimed.owners and aimed.shards == keeper.map.shards:
            return
        keeper.put_map(shards=aimed.shards, next_shard=aimed.next_shard, target=aimed.target)


async def run(keeper: Keeping) -> None:
    """Move until every bucket is where the target says, and end the shards that have none then."""
    await _settle(keeper)
    done, left = 0, await _left(keeper)
    keeper.tell_moved(done, left)
    while (group := await _next_group(keeper)) is not None:
        source, goal, buckets, documents = group
        await _move(keeper, source, goal, buckets)
        done += documents
        keeper.tell_moved(done, max(left, done))
    async with keeper.changing():
        gone = set(keeper.map.shards) - set(keeper.map.owners)
        kept = tuple(shard for shard in keeper.map.shards if shard not in gone)
        keeper.put_map(shards=kept, target=None)
        for shard in gone:
            await keeper.retire(shard)
            shutil.rmtree(shard_folder(keeper.folder, shard), ignore_errors=True)


async def _left(keeper: Keeping) -> int:
    """Count the documents that have to move."""
    counts = np.sum([await keeper.tell(shard, "histogram") for shard in keeper.map.shards], axis=0)
    return int(counts[keeper.map.table != np.array(keeper.map.target)].sum())


async def _next_group(keeper: Keeping) -> tuple[int, int, I64, int] | None:
    """Return a source, a goal, buckets with not too many documents, and how many these are."""
    owners, target = keeper.map.table, np.array(keeper.map.target)
    waiting = np.flatnonzero(owners != target)
    if not len(waiting):
        return None
    source, goal = int(owners[waiting[0]]), int(target[waiting[0]])
    buckets = waiting[(owners[waiting] == source) & (target[waiting] == goal)]
    documents = np.cumsum((await keeper.tell(source, "histogram"))[buckets])
    n = max(1, int(np.searchsorted(documents, AT_ONCE, "right")))
    return source, goal, buckets[:n], int(documents[n - 1])


async def _move(keeper: Keeping, source: int, goal: int, buckets: I64) -> None:
    async with keeper.changing():
        keeper.put_map(unsettled=(source, goal))
        await _adopted(keeper)
        await keeper.order(goal, "receive", await keeper.tell(source, "take", buckets))
        owners = keeper.map.table
        owners[buckets] = goal
        keeper.put_map(owners=tuple(owners.tolist()))
        await _adopted(keeper)
    async with keeper.changing():
        await keeper.order(source, "drop", buckets)
        await _settled(keeper)


async def _settle(keeper: Keeping) -> None:
    """Take away what a move that was broken off has left."""
    async with keeper.changing():
        await _adopted(keeper)
        for shard in keeper.map.unsettled:
            await keeper.order(shard, "drop_foreign")
        await _settled(keeper)


async def _settled(keeper: Keeping) -> None:
    pair = keeper.map.unsettled
    keeper.put_map(unsettled=())
    await asyncio.gather(*(keeper.tell_all(shard, "adopt") for shard in pair))


async def _adopted(keeper: Keeping) -> None:
    """Wait until all replicas of the unsettled shards go by the present map."""
    await asyncio.gather(*(keeper.tell_all(shard, "adopt") for shard in keeper.map.unsettled))
