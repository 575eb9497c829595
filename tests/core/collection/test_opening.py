import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from inlay import FormatError
from inlay.collection import Collection
from inlay.collection.database import DATABASE, create
from inlay.collection.records import State


def test_a_new_collection_has_defaults(opened, place):
    collection = opened(place)
    assert (collection.name, collection.metric, collection.index, collection.dim) == (
        "default",
        "cosine",
        "auto",
        None,
    )
    assert collection.path == place
    assert not collection.read_only
    assert len(collection) == 0


def test_what_is_stored_is_what_counts(opened, tmp_path):
    options = {"dim": 3, "metric": "ip", "index": "LVQ8", "collection": "mine"}
    opened(tmp_path / "c", **options).close()
    for again in ({"collection": "mine"}, options):
        with Collection.open(tmp_path / "c", **again) as collection:
            assert (collection.dim, collection.metric, collection.index) == (3, "ip", "LVQ8")


@pytest.mark.parametrize("other", [{"dim": 4}, {"metric": "l2"}, {"index": "Flat"}, {"index": "auto"}])
def test_what_contradicts_is_an_error(opened, tmp_path, other):
    options = {"dim": 3, "metric": "ip", "index": "LVQ8", "collection": "mine"}
    opened(tmp_path / "c", **options).close()
    ((name, value),) = other.items()
    for read_only in (False, True):
        with pytest.raises(
            ValueError, match=f"{name}={value!r} was asked for but .* has {name}={options[name]!r}"
        ):
            Collection.open(tmp_path / "c", **{**options, **other}, read_only=read_only)
    opened(tmp_path / "c", **options)  # the lock was given back


# Several in one folder


@pytest.mark.one_folder("Collection.names knows folders of single collections")
def test_a_folder_holds_any_number_of_collections(opened, tmp_path):
    names = ["default", "notes", "..", ".", "a/b", "ünï c%2Fd", "collections", "*"]
    for i, name in enumerate(names):
        opened(tmp_path / "c", collection=name).add(np.full((1, 3 + i), 1.0), ids=[name])  # all are open
    assert Collection.names(tmp_path / "c") == sorted(names)
    assert os.listdir(tmp_path) == ["c"]
    for i, name in enumerate(names):
        reader = opened(tmp_path / "c", collection=name, read_only=True)
        assert [record.id for record in reader] == [name]
        assert (reader.name, reader.dim, reader.path) == (name, 3 + i, str(tmp_path / "c"))
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "c", collection="other", read_only=True)
    with pytest.raises(BlockingIOError):
        opened(tmp_path / "c", collection="notes")


@pytest.mark.one_folder("Collection.names knows folders of single collections")
def test_others_need_no_default(opened, tmp_path):
    opened(tmp_path / "c", collection="notes").close()
    assert Collection.names(tmp_path / "c") == ["notes"]
    opened(tmp_path / "c").close()
    assert Collection.names(tmp_path / "c") == ["default", "notes"]
    assert Collection.names(tmp_path / "nowhere") == []


@pytest.mark.one_folder("older Inlays made no shards")
def test_a_collection_with_a_name_that_an_older_inlay_made_is_where_it_was(opened, tmp_path):
    create_in = tmp_path / "c"
    create_in.mkdir()
    create(create_in / DATABASE, State("mine", "l2", "auto", 3))
    collection = opened(create_in, collection="mine")
    assert collection.metric == "l2"
    opened(create_in).close()
    assert Collection.names(create_in) == ["default", "mine"]
    assert (create_in / "collections" / "default").is_dir()


def test_a_name_that_no_folder_can_have_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="too long"):
        Collection.open(tmp_path / "c", collection="x" * 201)


def test_a_copy_never_replaces_a_folder_of_several(opened, tmp_path):
    source = opened(tmp_path / "source")
    opened(tmp_path / "c").close()
    opened(tmp_path / "c", collection="notes").close()
    with pytest.raises(FileExistsError, match="further collections"):
        source.copy_to(tmp_path / "c")


def test_the_dimension_may_come_later(opened, tmp_path):
    opened(tmp_path / "c").close()
    collection = opened(tmp_path / "c", dim=5)
    assert collection.dim == 5
    with pytest.raises(ValueError, match="dimensions"):
        collection.add([[1.0]])
    collection.close()
    assert opened(tmp_path / "c", read_only=True).dim == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim must be at least 1"),
        ({"dim": 2.5}, TypeError, "dim must be an integer"),
        ({"metric": "L2"}, ValueError, "metric must be one of l2, ip, cosine"),
        ({"index": "IVF"}, ValueError, "unknown index spec"),
        ({"index": ""}, ValueError, "unknown index spec"),
        ({"collection": ""}, ValueError, "must not be empty"),
        ({"collection": 5}, TypeError, "collection is a int"),
        ({"durability": "none"}, ValueError, "durability must be"),
        ({"path": ""}, ValueError, "path must not be empty"),
        pytest.param(
            {"path": ":memory:", "read_only": True},
            ValueError,
            "begins empty",
            marks=pytest.mark.one_folder("shards are not in memory"),
        ),
    ],
)
def test_options_that_make_no_sense_are_errors_before_a_file_is_made(
    monkeypatch, tmp_path, options, error, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        Collection.open(**{"path": "c", **options})
    assert os.listdir(tmp_path) == []


def test_paths_of_every_kind_are_taken(monkeypatch, opened, tmp_path):
    monkeypatch.chdir(tmp_path)
    strange = "ünï %20 #?&.d"
    for path in (str(tmp_path / "a"), tmp_path / "b", "relative", Path("x") / "y", strange):
        collection = opened(path)
        collection.add([[1.0]], ids=["x"])
        assert os.path.isabs(collection.path)
        collection.close()
        assert [record.id for record in opened(path, read_only=True)] == ["x"]
    assert sorted(os.listdir(tmp_path)) == sorted(["a", "b", "relative", "x", strange])


def test_a_file_is_not_a_collection(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        Collection.open(tmp_path / "file")


def test_a_lower_durability_is_a_choice(opened, documents, tmp_path):
    opened(tmp_path / "c", durability="normal").add(**documents(5))
    assert len(opened(tmp_path / "c", read_only=True)) == 5


# Damaged files


@pytest.fixture
def folder(documents, tmp_path):
    with Collection.open(tmp_path / "c", metric="l2", dim=8) as collection:
        collection.add(**documents(50))
        collection.delete(["id3"])
    return tmp_path / "c"


@pytest.mark.one_folder("damages the files of one collection; those of shards: tests/adapters/ray")
@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / DATABASE).write_bytes(b""),
        lambda folder: (folder / DATABASE).write_bytes(b"garbage" * 10_000),
        lambda folder: (folder / "vectors-0.f32").unlink(),
        lambda folder: (folder / "vectors-0.f32").write_bytes(b"\0" * 49 * 32),
        lambda folder: (folder / "vectors-0.f32").write_bytes(b""),
        lambda folder: execute(folder, "DELETE FROM doc WHERE id = 'id5'"),
        lambda folder: execute(folder, "DELETE FROM gone"),
        lambda folder: execute(folder, "UPDATE gone SET row = 1000"),
        lambda folder: execute(folder, "UPDATE state SET next_row = 1000000000000"),
        lambda folder: execute(folder, "UPDATE state SET next_row = 40"),
        lambda folder: execute(folder, "UPDATE state SET dim = 800"),
        lambda folder: execute(folder, "UPDATE state SET spec = 'Nonsense', snapshot = NULL"),
        lambda folder: execute(folder, "INSERT INTO kept VALUES (x'00')"),
    ],
)
def test_damage_is_a_format_error_and_nothing_is_made_worse(folder, damage, read_only):
    damage(folder)
    before = {
        file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(("-wal", "-shm"))
    }
    with pytest.raises(FormatError):
        Collection.open(folder, read_only=read_only)
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {name: after[name] for name in before if name != DATABASE} == {
        name: data for name, data in before.items() if name != DATABASE
    }
    with pytest.raises(FormatError):  # the lock was given back
        Collection.open(folder)


def execute(folder, sql):
    database = sqlite3.connect(folder / DATABASE)
    database.execute(sql)
    database.commit()
    database.close()


@pytest.mark.one_folder("damages the files of one collection; those of shards: tests/adapters/ray")
def test_vectors_that_are_not_finite_are_a_format_error(folder):
    (folder / "vectors-0.f32").write_bytes(b"\xff" * 50 * 32)
    for file in folder.glob("index-*"):
        file.unlink()
    with pytest.raises(FormatError, match="not finite"):
        Collection.open(folder)


def test_a_folder_without_a_collection_is_not_found_by_a_reader(tmp_path):
    with pytest.raises(FileNotFoundError, match="no collection"):
        Collection.open(tmp_path, read_only=True)
    with pytest.raises(FileNotFoundError, match="no collection"):
        Collection.open(tmp_path / "nowhere", read_only=True)
    assert os.listdir(tmp_path) == []
