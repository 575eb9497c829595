"""Workers are killed and stopped: what was acknowledged stays, and nobody is told anything wrong.

Fifty kills under load: kill_rounds.py.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("ray", reason="the Ray adapter needs Ray: pip install 'inlay[ray]'")

import ray

from inlay import Collection, FormatError
from inlay.adapters.ray import DeadlineExceeded, ShardedCollection, moving
from tests.adapters.ray.conftest import documents


def until_whole(collection):
    """Wait until every replica is there again."""
    while any(process is None for replicas in collection.processes().values() for process in replicas):
        time.sleep(0.05)


def test_a_replica_answers_for_one_that_was_killed_and_changes_wait_for_the_writer(doubled):
    doubled.add(**documents(80))
    expected = doubled.search(np.zeros(4), 80)
    for victim in (1, 0):  # the follower of shard 0, and its writer
        os.kill(doubled.processes()[0][victim], signal.SIGKILL)
        assert [doubled.search(np.zeros(4), 80) for _ in range(4)] == [expected] * 4
        doubled.upsert(**documents(10, first=100 * (2 - victim)))
        doubled.delete([f"id{100 * (2 - victim) + i}" for i in range(10)])
    until_whole(doubled)
    assert doubled.search(np.zeros(4), 80) == expected


def test_without_a_replica_one_is_told_what_is_missing_or_waits(single):
    single.add(**documents(80))
    expected = single.search(np.zeros(4), 80)
    partial = ShardedCollection.attach(single.path, partial=True)
    assert partial.search(np.zeros(4), 80).missing == ()
    os.kill(single.processes()[0][0], signal.SIGKILL)
    found = partial.search(np.zeros(4), 80)
    assert found == expected or found.missing == (0,)
    assert found.missing == () or len(found) == single.stats()["shards"][1]["documents"]
    assert single.search(np.zeros(4), 80) == expected  # waits until it is back
    until_whole(single)


def test_a_worker_that_hangs_is_a_missed_deadline(single):
    single.add(**documents(10))
    hasty = ShardedCollection.attach(single.path, deadline=0.3)
    process = single.processes()[1][0]
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceeded, match=r"shards .*1.* in 0.3 s"):
            hasty.search(np.zeros(4))
    finally:
        os.kill(process, signal.SIGCONT)
    assert len(single.search(np.zeros(4))) == 10


def test_a_keeper_that_was_killed_goes_on_where_it_was(single, monkeypatch):
    single.add(**documents(30))
    keeper = ray.get_actor(single.path, "inlay")
    os.kill(ray.get(keeper.pid.remote()), signal.SIGKILL)
    single.upsert(**documents(30, first=30))
    assert [record.id for record in single] == [f"id{i}" for i in range(60)]


def test_another_driver_attaches_by_name(single):
    single.add(**documents(3))
    script = (
        "from tests import ray_cluster\n"
        "import ray\n"
        f"ray.init(address={ray.get_runtime_context().gcs_address!r}, log_to_driver=False)\n"
        "from inlay.adapters.ray import ShardedCollection\n"
        f"found = ShardedCollection.attach({single.path!r})\n"
        "found.upsert([[9, 9, 9, 9]], ids=['theirs'])\n"
        "print([hit.id for hit in found.search([9, 9, 9, 9], 1)])\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "['theirs']" in ran.stdout.splitlines(), ran.stderr  # Ray may have warned of something, too
    assert "theirs" in single
    reading = ShardedCollection.attach(single.path, read_only=True)
    with pytest.raises(PermissionError):
        reading.clear()
    reading.close()  # it did not start it
    assert len(single) == 4
    with pytest.raises(LookupError, match="nothing"):
        ShardedCollection.attach("nothing")
    with pytest.raises(ValueError, match="shards=5 was asked for but"):
        ShardedCollection.open(single.path, shards=5)


def test_the_number_of_shards_changes_while_it_serves(single, monkeypatch):
    single.add(**documents(400))
    always = {f"id{i}" for i in range(100, 400)}
    wrong, stop = [], threading.Event()

    def write():
        turn = 0
        while not stop.is_set():
            turn += 1
            single.upsert(**documents(20, first=20 * (turn % 5), seed=turn))
            single.delete([f"id{20 * (turn % 5) + i}" for i in range(0, 20, 2)])

    def look():
        while not stop.is_set():
            for i, found in enumerate(
                (
                    [hit.id for hit in single.search(np.zeros(4), 1000)],
                    [record.id for record in single.get()],
                    [record.id for record in single],
                    [hit.id for hit in single.search_text("ant bee cat dog eel the", 1000)],
                )
            ):
                if len(found) != len(set(found)):
                    wrong.append(f"twice in answer {i}")
            if not always <= {record.id for record in single.get()}:
                wrong.append("missing")

    threads = [threading.Thread(target=work) for work in (write, look)]
    for thread in threads:
        thread.start()
    plans = []
    try:
        single.reshard(3, report=plans.append)
        assert len(single.shards) == 3
        single.reshard(2, report=plans.append)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert plans[0].startswith("2 -> 3 shards")
    assert not wrong
    assert len(single.shards) == 2
    found = single.get()
    assert len(found) == len({record.id for record in found}) == len(single)
    assert {record.id for record in found} >= always
    until_whole(single)
    homes = [single.path + f"/shard-{shard:03d}" for shard in single.shards]
    there = []
    for home in homes:  # each is a collection that can be read on its own
        with Collection.open(home, read_only=True) as part:
            there += [record.id for record in part]
    assert sorted(there) == sorted(record.id for record in found)


def test_a_move_that_was_broken_off_is_taken_up(single):
    single.add(**documents(300))
    before = [record.id for record in single]
    keeper = ray.get_actor(single.path, "inlay")
    ray.get(keeper.reshard.remote(3))
    os.kill(ray.get(keeper.pid.remote()), signal.SIGKILL)
    assert [record.id for record in single] == before
    single.wait_until_moved()
    assert len(single.shards) == 3
    assert [record.id for record in single] == before
    assert {fact["documents"] > 50 for fact in single.stats()["shards"].values()} == {True}
    single.reshard(2, report=lambda plan: None)
    assert [record.id for record in single] == before


def test_a_plan_says_what_would_move(single):
    single.add(**documents(300))
    plan = single.plan(3)
    assert isinstance(plan, moving.Plan)
    assert sum(plan.documents.values()) == sum(plan.after.values()) == 300
    assert sum(move.documents for move in plan.moves) < 150
    assert "2 -> 3 shards" in str(plan)
    assert len(single.shards) == 2


def test_what_damage_is_there_is_said_at_once_and_nothing_runs_on(local_ray, tmp_path):
    options = {"metric": "l2", "shards": 2, "cpus": 0.01}
    with ShardedCollection.open(tmp_path / "c", **options) as collection:
        collection.add(**documents(20))
    file = tmp_path / "c" / "shard-001" / "inlay.sqlite"
    whole = file.read_bytes()
    file.write_bytes(b"garbage" * 10_000)
    with ShardedCollection.open(tmp_path / "c", **options) as collection, pytest.raises(FormatError):
        len(collection)
    with pytest.raises(LookupError):
        ShardedCollection.attach(str(tmp_path / "c"))
    file.write_bytes(whole)
    with ShardedCollection.open(tmp_path / "c", **options) as collection:
        assert [record.id for record in collection] == documents(20)["ids"]
        (tmp_path / "several" / "collections").mkdir(parents=True)
        with pytest.raises(FileExistsError, match="further collections"):
            collection.copy_to(tmp_path / "several")
    with pytest.raises(RuntimeError, match="closed"):
        len(collection)
