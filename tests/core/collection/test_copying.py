import os

import numpy as np
import pytest

from inlay.collection import Collection, store


@pytest.fixture
def original(opened, place, documents):
    collection = opened(place, metric="l2", index="LVQ8")
    collection.add(**documents(60))
    collection.delete(["id3", "id4"])
    return collection


def check(copy, documents):
    everything = documents(60)
    assert (copy.name, copy.metric, copy.index, copy.dim, len(copy)) == ("default", "l2", "LVQ8", 8, 58)
    assert [record.id for record in copy] == [f"id{i}" for i in range(60) if i not in (3, 4)]
    np.testing.assert_array_equal(copy.vectors(["id9"]), everything["vectors"][9:10])
    assert [hit.text for hit in copy.search(everything["vectors"][9], 1)] == [everything["texts"][9]]


def test_a_copy_holds_everything_and_is_a_collection_of_its_own(original, opened, documents, tmp_path):
    original.copy_to(tmp_path / "deep" / "copy")
    assert os.listdir(tmp_path / "deep") == ["copy"]
    original.delete(["id9"])
    copy = opened(tmp_path / "deep" / "copy")
    check(copy, documents)
    copy.clear()
    assert len(original) == 57


@pytest.mark.one_folder("breaks what shards do in processes of their own")
def test_a_copy_opens_without_building_an_index(original, monkeypatch, opened, documents, tmp_path):
    original.copy_to(tmp_path / "copy")
    monkeypatch.setattr("inlay.collection.choice.new_index", lambda state, n: original._store._view.index)
    monkeypatch.setattr("inlay.collection.choice.sample", None)
    check(opened(tmp_path / "copy"), documents)


@pytest.mark.one_folder("shards that run are not replaced")
def test_an_earlier_copy_is_replaced_under_its_readers(original, opened, documents, tmp_path):
    with Collection.open(tmp_path / "copy", metric="l2") as earlier:
        earlier.add([[1.0, 2.0]], ids=["old"])
    (tmp_path / "empty").mkdir()
    original.copy_to(tmp_path / "empty")
    reader = opened(tmp_path / "copy", read_only=True)
    original.copy_to(tmp_path / "copy")
    assert [hit.id for hit in reader.search([1, 2], 3)] == ["old"]
    for name in ("copy", "empty"):
        check(opened(tmp_path / name), documents)
    assert not [name for name in os.listdir(tmp_path) if "tmp" in name]


def test_a_copy_of_an_empty_collection_is_empty(opened, place, tmp_path):
    opened(place).copy_to(tmp_path / "copy")
    copy = opened(tmp_path / "copy")
    assert (len(copy), copy.dim) == (0, None)
    copy.add([[1.0]])


def test_what_is_not_a_collection_is_never_replaced(original, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("folder", "file"):
        with pytest.raises(FileExistsError, match="not a collection"):
            original.copy_to(tmp_path / name)
    assert (tmp_path / "folder" / "mine.txt").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_collection_that_somebody_writes_to_is_not_replaced(original, opened, tmp_path):
    other = opened(tmp_path / "other")
    other.add([[1.0]], ids=["x"])
    with pytest.raises(BlockingIOError):
        original.copy_to(tmp_path / "other")
    if original.path != ":memory:":
        with pytest.raises(BlockingIOError):
            original.copy_to(original.path)
    assert [record.id for record in other] == ["x"]


@pytest.mark.one_folder("breaks what shards do in processes of their own")
def test_a_copy_that_fails_leaves_what_was_there(original, monkeypatch, opened, tmp_path):
    with Collection.open(tmp_path / "copy") as earlier:
        earlier.add([[1.0]], ids=["old"])

    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(store.upkeep, "save_snapshot", fail)
    with pytest.raises(OSError, match="no space"):
        original.copy_to(tmp_path / "copy")
    assert [record.id for record in opened(tmp_path / "copy")] == ["old"]
    assert not [name for name in os.listdir(tmp_path) if "tmp" in name]
