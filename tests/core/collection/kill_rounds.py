"""Kill a process in the middle of writing, again and again, and look for everything that it had acknowledged.

    python tests/core/collection/kill_rounds.py --rounds 50

A child writes and deletes in a loop and reports each call on a pipe when it has returned. At a random moment
it gets SIGKILL. Whatever it reported must be there: with its text, its metadata and its vector, found by a
search. The one call that was not reported may have happened or not, chunk by chunk, but no document is there
in part. The next round goes on with the same folder.
"""

import argparse
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
from pathlib import Path
from typing import Any

import numpy as np

from inlay.collection import Collection, upkeep
from inlay.collection import collection as writing

NAMES = 600
DIM = 12
CHUNK = 64  # small, so that calls of several chunks are broken off between them
OPEN: dict[str, Any] = {"metric": "l2", "dim": DIM, "full_text": True}


def vector(version: int) -> list[float]:
    """Return the vector of a version: versions are never used twice, nor are vectors."""
    return [float(x) for x in np.random.default_rng(version).normal(size=DIM).astype(np.float32)]


def contents(version: int) -> tuple[str, dict[str, Any]]:
    """Return the text and the metadata of a version; texts are long enough to be in several pages."""
    return f"text {version} " * (version % 400), {"version": version, "list": [version, str(version)]}


def write(folder: str, seed: int, version: int, index: str) -> None:
    """Change a collection for ever, saying on stdout what comes and what is done."""
    writing.CHUNK, upkeep._WASTE_ROWS = CHUNK, 100
    upkeep._TAIL_ROWS = upkeep._TAIL_ROWS_OF_GRAPH = 200
    rng = random.Random(seed)
    with Collection.open(folder, index=index, **OPEN) as collection:
        while True:
            names = [f"id{i}" for i in rng.sample(range(NAMES), rng.choice([1, 5, 40, 200]))]
            if rng.random() < 0.2:
                say("delete", dict.fromkeys(names))
                collection.delete(names)
            elif rng.random() < 0.05:
                say("snapshot", {})
                collection.snapshot()
            else:
                batch = {name: version + i for i, name in enumerate(names)}
                version += len(names)
                say("upsert", batch)
                texts, metadatas = zip(*map(contents, batch.values()), strict=True)
                vectors = [vector(number) for number in batch.values()]
                collection.upsert(vectors, ids=names, texts=texts, metadatas=metadatas, progress=False)
            say("done", {})


def say(word: str, batch: dict[str, int | None]) -> None:
    sys.stdout.write(json.dumps([word, batch]) + "\n")
    sys.stdout.flush()


def run_and_kill(
    folder: Path, seed: int, version: int, index: str, seconds: float
) -> list[tuple[str, dict[str, Any]]]:
    """Let a child write for a while, kill it, and return what it said."""
    command = [
        sys.executable,
        __file__,
        "--write",
        str(folder),
        "--seed",
        str(seed),
        "--version",
        str(version),
        "--index",
        index,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [child.stdout.readline()]  # it writes by now
        # Read all the time: a child that waits for room in the pipe would die there and not while it writes.
        listener = threading.Thread(target=said.extend, args=[child.stdout])
        listener.start()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        listener.join()
        assert child.wait() == -signal.SIGKILL, "the child ended by itself"
    heard = []
    for line in said:
        with contextlib.suppress(json.JSONDecodeError):  # the last line may be cut
            heard.append(tuple(json.loads(line)))
    return heard


def follow(model: dict[str, int], said: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Bring the model to what was acknowledged, and return the batch that was under way."""
    pending: dict[str, Any] = {}
    for word, batch in said:
        if word != "done":
            pending = batch
            continue
        for name, version in pending.items():
            if version is None:
                model.pop(name, None)
            else:
                model[name] = version
        pending = {}
    return pending


def check(folder: Path, model: dict[str, int], pending: dict[str, Any]) -> None:
    """Compare the collection with the model, and take over what became of the last batch."""
    with Collection.open(folder, read_only=True) as reader:
        seen = {record.id: record.metadata["version"] for record in reader}
    with Collection.open(folder, **OPEN) as collection:
        records = {record.id: record for record in collection}
        assert {name: record.metadata["version"] for name, record in records.items()} == seen
        happened = [
            records[name].metadata["version"] == version if name in records else version is None
            for name, version in pending.items()
            if version is not None or name in model
        ]
        chunks = [set(happened[start : start + CHUNK]) for start in range(0, len(happened), CHUNK)]
        if all(version is not None for version in pending.values()):
            assert all(len(chunk) == 1 for chunk in chunks), "a chunk was stored in part"
            assert sorted(happened, reverse=True) == happened, "a chunk was stored before an earlier one"
        else:
            assert len(set(happened)) <= 1, "a deletion happened in part"
        for name, version in pending.items():
            for wanted in (model.get(name), version):
                if (records[name].metadata["version"] if name in records else None) == wanted:
                    break
            else:
                raise AssertionError(f"{name} is neither what it was nor what it should become")
            model.pop(name, None)
            if name in records:
                model[name] = records[name].metadata["version"]
        assert set(records) == set(model), "documents are missing or came back"
        assert len(collection) == len(model)
        names = sorted(model)
        for name, stored in zip(names, collection.vectors(names).tolist(), strict=True):
            assert (records[name].text, records[name].metadata) == contents(model[name]), name
            assert stored == vector(model[name]), name
        for name in random.Random(len(model)).sample(names, min(40, len(names))):
            hit = collection.search(vector(model[name]), 1)[0]
            assert (hit.id, hit.distance) == (name, 0.0)
        if names:
            assert len(collection.search(vector(0), NAMES)) == len(model)
            assert collection.count({"version": {"$gte": 0}}) == len(model)
        worded = {hit.id for hit in collection.search_text("text", NAMES)}
        assert worded == {name for name, version in model.items() if contents(version)[0]}


def rounds(folder: Path, n: int, seed: int, index: str) -> int:
    """Run and return how many calls were acknowledged altogether."""
    rng = random.Random(seed)
    model: dict[str, int] = {}
    version = acknowledged = 0
    for round_seed in range(n):
        said = run_and_kill(folder, seed * 1000 + round_seed, version, index, rng.uniform(0.0, 0.4))
        version += sum(len(batch) for word, batch in said if word == "upsert")
        acknowledged += sum(word == "done" for word, _ in said)
        check(folder, model, follow(model, said))
    return acknowledged


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("INLAY_KILL_ROUNDS", "5")))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", metavar="FOLDER", help="be the child")
    parser.add_argument("--version", type=int, default=0, help="the first version of the child")
    parser.add_argument("--index", default="LVQ8")
    given = parser.parse_args()
    if given.write is not None:
        write(given.write, given.seed, given.version, given.index)
    with tempfile.TemporaryDirectory() as folder:
        acknowledged = rounds(Path(folder) / "collection", given.rounds, given.seed, given.index)
    print(f"{given.rounds} rounds, {acknowledged} acknowledged calls: all there, nothing in part")


if __name__ == "__main__":
    main()
