"""Which shard has which document: the map of a sharded collection.

    id  --CRC-32-->  one of 16,384 buckets  --owners-->  a shard

A bucket is what moves when the number of shards changes; where an id falls never changes. The map is a
small file beside the shards, replaced as a whole and with a higher version at every change: whoever asks a
shard says by which version, and a shard refuses one that is older than its own (`StaleMap`), so all shards
that answer a question agree on what belongs to whom.

A document has a *key*, its place in the order of insertion of the whole collection, with its bucket in the
low bits: what comes first has the lower key, and keys never change, not even when a document moves.
"""

import json
import os
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inlay import FormatError
from inlay.collection import disk

I64 = npt.NDArray[np.int64]

BITS = 14
BUCKETS = 1 << BITS
MAP = "shards.json"
FORMAT = 1  # Stored: any change to the map, the hash or the number of buckets needs a new one.


class Overtaken(Exception):
    """A change that comes after later ones: nobody waits for it any more, and it is not made."""


class StaleMap(Exception):
    """A question by a map that is no longer that of the shard; it is asked again by the present one."""


def buckets_of(ids: Sequence[str]) -> I64:
    """Return the bucket of each id."""
    return np.fromiter((zlib.crc32(name.encode()) for name in ids), np.int64, len(ids)) & (BUCKETS - 1)


def keys_of(first: int, positions: I64, buckets: I64) -> I64:
    """Return the keys of documents at some positions of a call whose first has the place `first`."""
    return ((first + positions) << BITS) | buckets


@dataclass(frozen=True)
class Map:
    """What a sharded collection is, and where its documents are.

    Parameters
    ----------
    name, metric, spec, dim, full_text
        As of any collection; `spec` is what was asked for, an index or "auto".
    replicas : int
        Actors for each shard, the writer included.
    shards : tuple of int
        Their numbers. One is never used twice.
    owners : tuple of int
        The shard of each bucket.
    version : int
        Higher for every later map.
    keeper : int
        Counts the keepers there were: a later one has the word.
    next_shard, next_place : int
        The next shard's number, and a place in the order of insertion that was never given away.
    unsettled : tuple of int
        Shards that may hold documents of buckets that are not theirs: a move is going on.
    target : tuple of int or None
        The owners that a move is on its way to.
    """

    name: str
    metric: str
    spec: str
    dim: int | None
    full_text: bool
    replicas: int
    shards: tuple[int, ...]
    owners: tuple[int, ...] = field(repr=False)
    version: int = 1
    keeper: int = 0
    next_shard: int = 0
    next_place: int = 0
    unsettled: tuple[int, ...] = ()
    target: tuple[int, ...] | None = field(default=None, repr=False)

    @property
    def table(self) -> I64:
        """The owners, as an array."""
        return np.array(self.owners, np.int64)

    def split(self, ids: Sequence[str]) -> dict[int, I64]:
        """Return the positions of the ids that each shard has, for shards that have any."""
        owners = self.table[buckets_of(ids)]
        return {int(shard): np.flatnonzero(owners == shard) for shard in np.unique(owners)}

    def check(self, file: str) -> None:
        """Raise FormatError unless this can be true."""
        numbers = (self.replicas, self.version, self.keeper, self.next_shard, self.next_place, *self.shards)
        if (
            not all(type(number) is int and 0 <= number < 2**62 for number in numbers)
            or not all(isinstance(text, str) for text in (self.name, self.metric, self.spec))
            or not (self.dim is None or (type(self.dim) is int and self.dim > 0))
            or self.replicas < 1
            or not self.shards
            or len(set(self.shards)) < len(self.shards)
            or any(
                table is not None and (len(table) != BUCKETS or not set(table) <= set(self.shards))
                for table in (self.owners, self.target)
            )
        ):
            raise FormatError("the map of the shards cannot be true", file=file)


def even(shards: Sequence[int], owners: Sequence[int] = ()) -> tuple[int, ...]:
    """Return owners that give every shard as many buckets, moving as few as that takes.

    Parameters
    ----------
    shards : sequence of int
        Who shall own any.
    owners : sequence of int, optional
        Who does now; by default nobody, and neighbours go to one shard.
    """
    share, more = divmod(BUCKETS, len(shards))
    quota = {shard: share + (i < more) for i, shard in enumerate(shards)}
    if not len(owners):
        return tuple(shard for shard in shards for _ in range(quota[shard]))
    table = list(owners)
    homeless = []
    for bucket, owner in enumerate(table):
        if quota.get(owner, 0) > 0:
            quota[owner] -= 1
        else:
            homeless.append(bucket)
    open_places = [shard for shard in shards for _ in range(quota[shard])]
    for bucket, shard in zip(homeless, open_places, strict=True):
        table[bucket] = shard
    return tuple(table)


def shard_folder(home: Path, shard: int) -> Path:
    """Return the folder of a shard, which is that of an ordinary collection."""
    return home / f"shard-{shard:03d}"


def save(map: Map, home: Path) -> None:
    """Write the map; it is replaced as a whole, and durable on return."""
    beside = home / f".inlay-{secrets.token_hex(8)}.tmp"
    lists = {"owners": _runs(map.owners), "target": None if map.target is None else _runs(map.target)}
    with open(beside, "w", encoding="utf-8") as stream:
        json.dump({"format": FORMAT, **vars(map), **lists}, stream)
        stream.flush()
        disk.sync_file(stream.fileno())
    os.replace(beside, home / MAP)
    disk.sync_folder(home)


def load(home: Path) -> Map:
    """Read the map.

    Raises
    ------
    FileNotFoundError
        When there is no sharded collection.
    FormatError
        When the file is damaged, or written by a newer version.
    """
    file = home / MAP
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no collection of shards in {home}: it has no {MAP}") from None
    try:
        held: dict[str, Any] = json.loads(text)
        if held.pop("format") != FORMAT:
            raise FormatError("the map has another format; upgrade Inlay", file=str(file))
        for name in ("owners", "target"):
            if held[name] is not None:
                if sum(n for _, n in held[name]) != BUCKETS:
                    raise FormatError("the map has another number of buckets", file=str(file))
                held[name] = tuple(owner for owner, n in held[name] for _ in range(n))
        for name in ("shards", "unsettled"):
            held[name] = tuple(held[name])
        map = Map(**held)
        map.check(str(file))
    except FormatError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise FormatError(f"the map of the shards cannot be read: {error}", file=str(file)) from error
    return map


def _runs(owners: Sequence[int]) -> list[list[int]]:
    """Return owners as [owner, how many buckets in a row]."""
    runs: list[list[int]] = []
    for owner in owners:
        if runs and runs[-1][0] == owner:
            runs[-1][1] += 1
        else:
            runs.append([owner, 1])
    return runs
