"""Kill processes in the middle of writing, again and again, and look for everything that they acknowledged.

    python tests/core/collection/kill_rounds.py --rounds 200

Two children take turns at one folder, each opening it for some calls as soon as the other lets go or is dead:
they add, replace, patch and delete documents and save the index; compactions come of themselves. Each says on
a pipe what it is about to do, and that it is done. At random moments both get SIGKILL, one after the other.
Whatever was reported must be there: with its text, its metadata and its vector, found by a search and by a
filter. A call that was under way may have happened or not, chunk by chunk, but no document is there in part.
The next round goes on with the same folder.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inlay.collection import Collection, upkeep
from inlay.collection import collection as writing

NAMES = 600
DIM = 12
CHUNK = 64  # small, so that calls of several chunks are broken off between them
WRITERS = 2
OPEN: dict[str, Any] = {"metric": "l2", "dim": DIM, "full_text": True}
Version = (
    tuple[int, int] | None
)  # of the document, and of the last patch to its metadata; None: there is none


def vector(version: int) -> list[float]:
    """Return the vector of a version: versions are never used twice, nor are vectors."""
    return [float(x) for x in np.random.default_rng(version).normal(size=DIM).astype(np.float32)]


def contents(version: int, patch: int) -> tuple[str, dict[str, Any]]:
    """Return the text and the metadata of a version; texts are long enough to be in several pages."""
    metadata = {"version": version, "patch": patch, "list": [version, str(version)]}
    return f"text {version} " * (version % 400), metadata


# What a child does


def write(folder: str, seed: int, version: int, index: str) -> None:
    """Change a collection for ever, a few calls at a time, saying on stdout what comes and what is done."""
    writing.CHUNK, upkeep._WASTE_ROWS = CHUNK, 100
    upkeep._TAIL_ROWS = upkeep._TAIL_ROWS_OF_GRAPH = 200
    rng = random.Random(seed)
    while True:
        try:
            collection = Collection.open(folder, index=index, **OPEN)
        except BlockingIOError:
            time.sleep(0.001)
            continue
        for _ in range(rng.choice([1, 3, 30])):
            version = change(collection, rng, version)
        if rng.random() < 0.5:
            collection.close()
        del collection  # forgotten, otherwise


def change(collection: Collection, rng: random.Random, version: int) -> int:
    """Do one thing; return the next version."""
    names = [f"id{i}" for i in rng.sample(range(NAMES), rng.choice([1, 5, 40, 200]))]
    call = rng.choices(["upsert", "add", "patch", "delete", "snapshot"], [50, 15, 10, 20, 5])[0]
    if call == "add":
        names = [name for name in names if name not in collection]
    batch = {name: version + WRITERS * i for i, name in enumerate(names)}
    say(call, batch)
    if call == "delete":
        collection.delete(names)
    elif call == "snapshot":
        collection.snapshot()
    elif call == "patch":
        collection.update_metadata(names, {"patch": version})
    elif names:
        texts, metadatas = zip(*(contents(number, 0) for number in batch.values()), strict=True)
        vectors = [vector(number) for number in batch.values()]
        store = collection.add if call == "add" else collection.upsert
        store(vectors, ids=names, texts=texts, metadatas=metadatas, progress=False)
    say("done", {})
    return version + WRITERS * len(names)


def say(call: str, batch: dict[str, int]) -> None:
    sys.stdout.write(json.dumps([time.monotonic_ns(), call, batch]) + "\n")
    sys.stdout.flush()


# What the parent does


@dataclass
class Call:
    """What a child said that it does."""

    begun: int
    name: str
    batch: dict[str, int]
    is_done: bool = False

    def after(self, name: str, before: Version) -> Version:
        """Return what becomes of a document."""
        if self.name in ("upsert", "add"):
            return self.batch[name], 0
        if self.name == "delete":
            return None
        if self.name == "patch":
            return None if before is None else (before[0], next(iter(self.batch.values())))
        return before


class Child:
    """A process that writes."""

    def __init__(self, folder: Path, seed: int, version: int, index: str) -> None:
        options = {"write": folder, "seed": seed, "version": version, "index": index}
        given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, __file__, *given]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._said: list[str] = []
        # Read all the time: a child that waits for room in the pipe would die there and not while it writes.
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            self._said.extend(stream)

    def kill(self) -> list[Call]:
        """Kill it, and return what it did."""
        self._process.send_signal(signal.SIGKILL)
        self._listener.join()
        assert self._process.wait() == -signal.SIGKILL, "the child ended by itself"
        calls: list[Call] = []
        for line in self._said:
            with contextlib.suppress(json.JSONDecodeError):  # the last line may be cut
                stamp, name, batch = json.loads(line)
                if name == "done":
                    calls[-1].is_done = True
                else:
                    calls.append(Call(stamp, name, batch))
        return calls

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def writes(self) -> bool:
        """Whether it has said anything."""
        return bool(self._said)


def follow(model: dict[str, set[Version]], calls: list[Call]) -> None:
    """Bring what may be stored under each name up to date; a call that was under way leaves both."""
    for call in sorted(calls, key=lambda call: call.begun):
        for name in call.batch:
            before = model.get(name, {None})
            after = {call.after(name, version) for version in before}
            model[name] = after if call.is_done else before | after


def check_whole(call: Call, found: dict[str, Version], untouched: set[str]) -> None:
    """Look that a call that was under way happened chunk by chunk, or not at all."""
    names = list(call.batch)
    size = CHUNK if call.name in ("upsert", "add") else NAMES
    happened = []
    for start in range(0, len(names), size):
        part = [name for name in names[start : start + size] if name in untouched]
        if call.name == "delete":
            chunk = {found[name] is None for name in part}
        elif call.name == "patch":
            patch = next(iter(call.batch.values()))
            chunk = {found[name][1] == patch for name in part if found[name] is not None}  # type: ignore[index]
        else:
            chunk = {found[name] == (call.batch[name], 0) for name in part}
        assert len(chunk) <= 1, f"a {call.name} happened in part"
        happened += chunk
    assert sorted(happened, reverse=True) == happened, "a chunk was stored before an earlier one"


def check(folder: Path, model: dict[str, set[Version]], calls: list[Call]) -> int:
    """Compare the collection with the model, and take over what became of the last calls."""
    with Collection.open(folder, read_only=True) as reader:
        seen = {record.id: record.metadata for record in reader}
    with Collection.open(folder, **OPEN) as collection:
        records = {record.id: record for record in collection}
        assert {name: record.metadata for name, record in records.items()} == seen
        found: dict[str, Version] = dict.fromkeys(model)
        for name, metadata in seen.items():
            found[name] = metadata["version"], metadata["patch"]
        for name, version in found.items():
            assert version in model.get(name, ()), f"{name} is {version} and not one of {model.get(name)}"
        for call in calls:
            if call.name != "snapshot" and not call.is_done:
                others = {
                    name
                    for other in calls
                    if other is not call and (other.begun > call.begun or not other.is_done)
                    for name in other.batch
                }
                was_there = {name for name in call.batch if model[name] != {None}}
                check_whole(call, found, was_there - others)
        model.update({name: {version} for name, version in found.items()})
        live = {name: version for name, version in found.items() if version is not None}
        check_parts(collection, records, live)
        return int(collection.stats()["generation"])


def check_parts(collection: Collection, records: dict[str, Any], live: dict[str, tuple[int, int]]) -> None:
    """Look that texts, vectors, index, filters and words all have the live documents, and no others."""
    names = sorted(live)
    assert len(collection) == len(live)
    for name, stored in zip(names, collection.vectors(names).tolist(), strict=True):
        assert (records[name].text, records[name].metadata) == contents(*live[name]), name
        assert stored == vector(live[name][0]), name
    for name in random.Random(len(live)).sample(names, min(10, len(names))):
        hit = collection.search(vector(live[name][0]), NAMES)[0]  # all: a walk for one may miss it
        assert (hit.id, hit.distance) == (name, 0.0), f"{name} is not found by its vector"
        assert [record.id for record in collection.get(filter={"version": live[name][0]})] == [name]
    if names:
        assert {hit.id for hit in collection.search(vector(0), NAMES)} == set(live)
        patched = sorted(name for name, (_, patch) in live.items() if patch)
        assert sorted(record.id for record in collection.get(filter={"patch": {"$gt": 0}})) == patched
    worded = {hit.id for hit in collection.search_text("text", NAMES)}
    assert worded == {name for name, version in live.items() if contents(*version)[0]}


def rounds(folder: Path, n: int, seed: int, index: str) -> collections.Counter[str]:
    """Run; return how often each call was acknowledged, how many were broken off, and the compactions."""
    rng = random.Random(seed)
    model: dict[str, set[Version]] = {}
    counts: collections.Counter[str] = collections.Counter()
    version = 2
    for number in range(n):
        children = [
            Child(folder, seed * 10_000 + number * WRITERS + i, version + i, index) for i in range(WRITERS)
        ]
        while not any(child.writes for child in children):
            assert all(child.is_alive for child in children), "a child ended by itself"
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.4))
        rng.shuffle(children)
        calls = children[0].kill()
        time.sleep(rng.choice([0, 0.05, 0.3]))
        calls += children[1].kill()
        version += WRITERS * NAMES * (1 + len(calls))
        follow(model, calls)
        counts.update(call.name if call.is_done else "broken off" for call in calls)
        counts["compactions"] = check(folder, model, calls)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("INLAY_KILL_ROUNDS", "5")))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", metavar="FOLDER", help="be a child")
    parser.add_argument("--version", type=int, default=2, help="the first version of the child")
    parser.add_argument("--index", default="LVQ8")
    given = parser.parse_args()
    if given.write is not None:
        write(given.write, given.seed, given.version, given.index)
    with tempfile.TemporaryDirectory() as folder:
        counts = rounds(Path(folder) / "collection", given.rounds, given.seed, given.index)
    said = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{given.rounds} rounds of {WRITERS} killed writers; {said}: all there, nothing in part")


if __name__ == "__main__":
    main()
