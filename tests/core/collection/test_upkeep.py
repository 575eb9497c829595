"""Snapshots can be missing, damaged or foreign; waste is cleared away."""

import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inlay.collection import Collection, choice, upkeep
from inlay.collection.database import DATABASE


def saved(place):
    return sorted(Path(place).glob("index-*.inlay"))


def ids(hits):
    return [hit.id for hit in hits]


@pytest.fixture(params=["LVQ8", "HNSW8,LVQ8", "QuIVer8"])
def index(request):
    """The index of a collection: a scan and both kinds of graph."""
    return request.param


@pytest.fixture
def closed(tmp_path, documents, index):
    """A collection on disk with a snapshot, and what it answers."""
    place = tmp_path / "collection"
    with Collection.open(place, index=index, metric="l2") as collection:
        collection.add(**documents(300))
        collection.delete(["id7", "id8"])
        answers = ids(collection.search(documents(300)["vectors"][7], 20))
    assert len(saved(place)) == 1
    return place, answers


def rebuilds(monkeypatch, opened, place, answers, documents):
    """Open, and return whether the index was built anew; the answers must be the same anyway."""
    built = []
    monkeypatch.setattr(choice, "sample", lambda rows: built.append(len(rows)) or rows)
    collection = opened(place)
    assert ids(collection.search(documents(300)["vectors"][7], 20)) == answers
    assert len(collection) == 298
    return bool(built)


@pytest.mark.one_folder("looks into the files of one collection")
def test_a_snapshot_is_used(monkeypatch, opened, closed, documents):
    assert not rebuilds(monkeypatch, opened, *closed, documents)


@pytest.mark.one_folder("looks into the files of one collection")
def test_a_missing_snapshot_is_made_again(monkeypatch, opened, closed, documents):
    saved(closed[0])[0].unlink()
    assert rebuilds(monkeypatch, opened, *closed, documents)
    opened(closed[0], read_only=True).close()


@pytest.mark.one_folder("looks into the files of one collection")
@pytest.mark.parametrize("where", [0.0, 0.02, 0.5, 0.99])
def test_a_damaged_snapshot_is_ignored(monkeypatch, opened, closed, documents, where):
    file = saved(closed[0])[0]
    data = bytearray(file.read_bytes())
    data[int(where * len(data))] ^= 1
    file.write_bytes(data)
    assert rebuilds(monkeypatch, opened, *closed, documents)


@pytest.mark.one_folder("looks into the files of one collection")
@pytest.mark.parametrize("size", [0, 10, 1000, -1])
def test_a_cut_snapshot_is_ignored(monkeypatch, opened, closed, documents, size):
    file = saved(closed[0])[0]
    file.write_bytes(file.read_bytes()[:size])
    assert rebuilds(monkeypatch, opened, *closed, documents)


@pytest.mark.one_folder("looks into the files of one collection")
def test_a_snapshot_of_another_collection_is_ignored(monkeypatch, opened, closed, documents, tmp_path, index):
    with Collection.open(tmp_path / "other", index=index, metric="l2") as other:
        other.add(**documents(300, seed=2))
        other.delete(["id7", "id8"])
    shutil.copy(saved(tmp_path / "other")[0], saved(closed[0])[0])
    assert rebuilds(monkeypatch, opened, *closed, documents)


@pytest.mark.one_folder("looks into the files of one collection")
@pytest.mark.parametrize(
    "name", ["../other/index-0-300-0.inlay", "/etc/passwd", "inlay.sqlite", "index-0.inlay"]
)
def test_a_snapshot_with_a_strange_name_is_ignored(monkeypatch, opened, closed, documents, name):
    database = sqlite3.connect(closed[0] / DATABASE)
    database.execute("UPDATE state SET snapshot = ?", [name])
    database.commit()
    database.close()
    assert rebuilds(monkeypatch, opened, *closed, documents)


@pytest.mark.one_folder("looks into the files of one collection")
def test_an_index_of_another_kind_or_shape_is_no_snapshot(closed, documents):
    place, _ = closed
    with Collection.open(place) as collection:
        state = collection._state
    for change in ({"dim": 9}, {"metric": "ip"}, {"spec": "Flat"}, {"spec": "LVQ4"}):
        assert upkeep.load_snapshot(place, replace(state, **change)) is None
    assert upkeep.load_snapshot(place, state) is not None


@pytest.mark.one_folder("looks into the files of one collection")
def test_what_came_after_the_snapshot_is_made_up_for(opened, documents, tmp_path, index):
    place = tmp_path / "collection"
    everything = documents(400)
    collection = opened(place, index=index, metric="l2")
    collection.add(**{name: value[:300] for name, value in everything.items()})
    collection.snapshot()
    collection.add(**{name: value[300:] for name, value in everything.items()})
    collection.delete(["id1", "id350"])
    collection.upsert(everything["vectors"][5:6] + 1, ids=["id5"])
    copied = tmp_path / "copied"
    shutil.copytree(place, copied)  # as a crash would leave it
    for name in os.listdir(copied):
        if name.startswith("writer"):
            (copied / name).unlink()
    again = opened(copied)
    assert len(again) == len(collection) == 398
    for row in (0, 1, 5, 299, 300, 350, 399):
        query = everything["vectors"][row]
        assert ids(again.search(query, 398)) == ids(collection.search(query, 398))


@pytest.mark.one_folder("looks into the files of one collection")
def test_snapshots_take_turns_and_an_unchanged_one_stays(opened, documents, tmp_path):
    collection = opened(tmp_path / "c")
    collection.add(**documents(20))
    collection.snapshot()
    (first,) = saved(tmp_path / "c")
    before = first.stat().st_mtime_ns
    collection.snapshot()
    assert first.stat().st_mtime_ns == before
    collection.delete(["id3"])
    collection.snapshot()
    (second,) = saved(tmp_path / "c")
    assert second != first


@pytest.mark.one_folder("looks into the files of one collection")
@pytest.mark.parametrize(
    ("spec", "rows"), [("auto", "_TAIL_ROWS"), ("HNSW8", "_TAIL_ROWS_OF_GRAPH"), ("LVQ8", "_TAIL_ROWS")]
)
def test_a_snapshot_is_written_when_the_tail_is_long(monkeypatch, opened, documents, tmp_path, spec, rows):
    monkeypatch.setattr(upkeep, rows, 100)
    collection = opened(tmp_path / "c", index=spec)
    collection.add(**documents(100))
    assert saved(tmp_path / "c") == []
    collection.upsert(**documents(101))
    assert len(saved(tmp_path / "c")) == 1


@pytest.mark.one_folder("looks into the files of one collection")
def test_leftovers_are_removed_by_the_next_writer(closed):
    place, _ = closed
    leftovers = ["vectors-7.f32", "index-0-1-0.inlay", ".inlay-0123.tmp", ".inlay-0123.tmp-journal"]
    for name in leftovers:
        (place / name).write_bytes(b"left")
    (place / "mine.txt").write_text("mine")
    Collection.open(place, read_only=True).close()
    assert set(leftovers) <= set(os.listdir(place))
    Collection.open(place).close()
    assert not set(leftovers) & set(os.listdir(place))
    assert (place / "mine.txt").exists()


def test_an_index_taught_by_one_row_finds_what_one_taught_by_all_finds(opened, documents):
    everything = documents(3000, dim=64)
    everything["vectors"] += 1.0
    for spec in ("LVQ4", "LVQ8"):
        slow, fast = opened(index=spec, metric="l2"), opened(index=spec, metric="l2")
        fast.add(**everything)
        slow.add(**{name: value[:1] for name, value in everything.items()})
        slow.add(**{name: value[1:] for name, value in everything.items()})
        queries = everything["vectors"][:50] + 0.1
        exact = np.argsort(((everything["vectors"][None] - queries[:, None]) ** 2).sum(2), axis=1)[:, :10]
        for collection in (slow, fast):
            found = [{int(hit.id[2:]) for hit in hits} for hits in collection.search_batch(queries, 10)]
            recall = np.mean([len(a & set(b.tolist())) / 10 for a, b in zip(found, exact, strict=True)])
            assert recall >= 0.99, spec


@pytest.mark.one_folder("lets this process's collections clear away early")
def test_waste_is_cleared_away_and_everything_else_stays(monkeypatch, opened, place, documents, index):
    monkeypatch.setattr(upkeep, "_WASTE_ROWS", 50)
    everything = documents(400)
    collection = opened(place, metric="l2", index=index)
    collection.add(**everything)
    collection.delete([f"id{i}" for i in range(0, 400, 5)])  # a fifth
    assert collection.stats()["removed"] == 80
    collection.delete([f"id{i}" for i in range(1, 400, 5)])  # two fifths
    stats = collection.stats()
    assert (stats["removed"], stats["generation"], stats["documents"]) == (0, 1, 240)
    assert stats["vector_bytes"] == 240 * 8 * 4
    kept = [i for i in range(400) if i % 5 > 1]
    for _ in range(2):
        assert [record.id for record in collection] == [f"id{i}" for i in kept]
        np.testing.assert_array_equal(
            collection.vectors([f"id{i}" for i in kept]), everything["vectors"][kept]
        )
        distances = ((everything["vectors"][kept] - everything["vectors"][9]) ** 2).sum(1)
        wanted = [f"id{kept[i]}" for i in np.argsort(distances)[:10]]
        assert ids(collection.search(everything["vectors"][9], 10)) == wanted
        collection.upsert(everything["vectors"][:1], ids=["new"])
        assert ids(collection.search(everything["vectors"][0], 1)) == ["new"]
        collection.delete(["new"])
        if place == ":memory:":
            break
        assert len(list(Path(place).glob("vectors-*"))) == 1
        collection.close()
        collection = opened(place)


@pytest.mark.one_folder("lets this process's collections clear away early")
def test_replacing_makes_waste_too(monkeypatch, opened, place, documents):
    monkeypatch.setattr(upkeep, "_WASTE_ROWS", 10)
    collection = opened(place)
    for seed in range(8):
        collection.upsert(**documents(30, seed=seed))
        assert len(collection) == 30
        np.testing.assert_array_equal(
            collection.vectors(["id29", "id0"]), documents(30, seed=seed)["vectors"][[29, 0]]
        )
    assert collection.stats()["generation"] > 2
    assert collection.stats()["vector_bytes"] <= 60 * 8 * 4
