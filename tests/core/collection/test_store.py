"""Records, vectors and index stay in step: among threads, processes and forks, and after what went wrong."""

import gc
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from inlay.collection import Collection
from inlay.collection.store import CHUNK, Store
from inlay.collection.vectors import FileVectors


def ids(hits):
    return [hit.id for hit in hits]


def agrees(collection, vectors, names):
    """Whether a collection holds exactly these documents, in records, vectors and index."""
    order = sorted(names)
    assert sorted(record.id for record in collection) == order
    assert len(collection) == collection.count() == len(order)
    rows = np.array([int(name[2:]) for name in order])
    np.testing.assert_array_equal(collection.vectors(order), vectors[rows])
    for row in rows[:: max(1, len(rows) // 10)]:
        hits = collection.search(vectors[row], len(order) + 5)
        assert hits[0].id == f"id{row}"
        assert sorted(ids(hits)) == order
    return True


# What goes wrong


@pytest.fixture(params=["LVQ8", "HNSW8"])
def filled(request, opened, place, documents):
    collection = opened(place, metric="l2", index=request.param)
    collection.add(**documents(50))
    return collection


def more(documents):
    return {name: value[50:] for name, value in documents(60).items()}


@pytest.mark.one_folder("breaks what shards do in processes of their own")
@pytest.mark.parametrize("method", ["insert", "put", "commit", "remove"])
def test_a_write_that_fails_changes_nothing(monkeypatch, filled, documents, method):
    def fail(*args):
        raise OSError("no space left on device")

    writer = filled._store._database.writer
    with monkeypatch.context() as patch:
        patch.setattr(writer, method, fail)
        with pytest.raises(OSError, match="no space"):
            filled.upsert(**more(documents))
        if method != "insert":
            with pytest.raises(OSError, match="no space"):
                filled.delete(["id3"])
    vectors = documents(60)["vectors"]
    assert agrees(filled, vectors, [f"id{i}" for i in range(50)])
    filled.upsert(**more(documents))
    assert agrees(filled, vectors, [f"id{i}" for i in range(60)])


@pytest.mark.one_folder("breaks what shards do in processes of their own")
def test_vectors_that_cannot_be_written_change_nothing(monkeypatch, opened, documents, tmp_path):
    collection = opened(tmp_path / "c", metric="l2")
    collection.add(**documents(50))
    with monkeypatch.context() as patch:
        patch.setattr("inlay.collection.disk.sync_file", lambda descriptor: os.close(10**6))
        with pytest.raises(OSError, match="Bad file descriptor"):
            collection.add(**more(documents))
    assert agrees(collection, documents(60)["vectors"], [f"id{i}" for i in range(50)])
    collection.add(**more(documents))
    assert agrees(collection, documents(60)["vectors"], [f"id{i}" for i in range(60)])


@pytest.mark.one_folder("breaks what shards do in processes of their own")
@pytest.mark.parametrize("broken", ["add", "remove", "contains"])
def test_an_index_that_could_not_follow_is_brought_up_by_the_next_reader(filled, documents, broken):
    store, changed = filled._store, documents(60, seed=1)

    class Broken:
        def __init__(self, index):
            self.index = index

        def __getattr__(self, name):
            if name == broken:
                raise KeyboardInterrupt
            return getattr(self.index, name)

    whole = store._view
    store._view = replace(whole, index=Broken(whole.index))
    changed["ids"] = [*changed["ids"][:40], *(f"id{i}" for i in range(60, 80))]
    changed["vectors"] += 1
    with pytest.raises(KeyboardInterrupt):
        filled.upsert(**changed)  # it is committed: only the index did not come to follow
    store._view = whole
    vectors = np.zeros((80, 8), np.float32)
    vectors[40:50] = documents(50)["vectors"][40:]
    vectors[:40], vectors[60:] = changed["vectors"][:40], changed["vectors"][40:]
    names = [f"id{i}" for i in range(50)] + [f"id{i}" for i in range(60, 80)]
    assert agrees(filled, vectors, names)
    filled.delete(names[:10])
    assert agrees(filled, vectors, names[10:])


def test_an_interrupted_large_write_keeps_whole_chunks(opened, place, documents):
    collection = opened(place, metric="l2")
    everything = documents(2 * CHUNK + 10, dim=2)

    def stop(done, total):
        assert total == 2 * CHUNK + 10
        if done == 2 * CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collection.add(**everything, progress=stop)
    assert len(collection) == 2 * CHUNK
    assert collection.get(["id0", f"id{2 * CHUNK - 1}", f"id{2 * CHUNK}"])[-1].id == f"id{2 * CHUNK - 1}"
    collection.upsert(**everything, progress=False)
    assert len(collection) == 2 * CHUNK + 10


# Threads


@pytest.mark.parametrize("index", ["auto", "HNSW4,LVQ8"])
def test_readers_always_find_k_while_a_writer_works(opened, place, documents, index):
    collection = opened(place, metric="l2", index=index)
    everything = documents(400, dim=16)
    collection.add(**everything)
    stop = threading.Event()
    counted = []

    def read(seed):
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            query = rng.normal(size=16)
            hits = collection.search(query, 20)
            assert len(set(ids(hits))) == 20
            assert all(hit.text == f"text of {hit.id}" or hit.text.startswith("text ") for hit in hits)
            assert len(collection.search(query, 7, filter={"word": "cat"})) == 7
            assert len(collection.search(query, 5, filter=lambda m: m["word"] == "dog")) == 5
            assert len(collection.get(limit=30)) == 30
            assert len(list(collection)) == 400
            counted.append(1)

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, seed) for seed in range(3)]
        rng = np.random.default_rng(9)
        try:
            for _ in range(40):  # by others of the same word: there are 400 at every moment
                rows = rng.choice(400, 30, replace=False)
                collection.upsert(
                    rng.normal(size=(30, 16)),
                    ids=[f"id{row}" for row in rows],
                    texts=[f"text of id{row}" for row in rows],
                    metadatas=[everything["metadatas"][row] for row in rows],
                )
        finally:
            stop.set()
        for reader in readers:
            reader.result()
    assert len(counted) > 3
    assert len(collection) == 400


def test_writers_take_turns(opened, place, documents):
    collection = opened(place, metric="l2")
    everything = documents(240, dim=4)

    def write(thread):
        for start in range(thread * 60, thread * 60 + 60, 6):
            collection.add(**{name: value[start : start + 6] for name, value in everything.items()})
            collection.delete([f"id{start}"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert agrees(collection, everything["vectors"], [f"id{i}" for i in range(240) if i % 6])


def test_a_filter_function_may_read_but_not_change_the_collection(filled, documents):
    query = documents(50)["vectors"][0]
    assert ids(filled.search(query, 3, filter=lambda d: filled.get([d.id])[0].id != "id0"))[0] != "id0"
    for act in (
        lambda d: filled.delete([d.id]),
        lambda d: filled.upsert(query[None], ids=["x"]),
        lambda d: filled.clear(),
    ):
        with pytest.raises(RuntimeError, match="holds the lock"):
            filled.search(query, 3, filter=act)
        with pytest.raises(RuntimeError, match="holds the lock"):
            filled.delete(filter=act)
    assert agrees(filled, documents(50)["vectors"], [f"id{i}" for i in range(50)])


# Processes


@pytest.mark.one_folder("who opens shards that run joins them")
def test_a_second_writer_is_refused_and_readers_are_not(opened, documents, tmp_path):
    place = tmp_path / "c"
    writer = opened(place)
    writer.add(**documents(10))
    with pytest.raises(BlockingIOError, match="already open for writing"):
        Collection.open(place)
    script = (
        "import sys; from inlay.collection import Collection\n"
        "try: Collection.open(sys.argv[1])\n"
        "except BlockingIOError: print('refused')\n"
        "print(len(Collection.open(sys.argv[1], read_only=True)))"
    )
    command = [sys.executable, "-c", script, str(place)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\n10\n"
    writer.close()
    assert opened(place).count() == 10


@pytest.mark.one_folder("lets this process's collections clear away early")
def test_a_reader_follows_what_a_writer_commits(monkeypatch, opened, documents, tmp_path):
    monkeypatch.setattr("inlay.collection.upkeep._WASTE_ROWS", 30)
    place = tmp_path / "c"
    writer = opened(place, metric="l2")
    reader = opened(place, read_only=True)
    assert (len(reader), reader.dim, reader.search([1.0, 2.0], 3)) == (0, None, [])
    everything = documents(200)
    writer.add(**{name: value[:100] for name, value in everything.items()})
    assert agrees(reader, everything["vectors"], [f"id{i}" for i in range(100)])
    writer.delete([f"id{i}" for i in range(20)])
    assert agrees(reader, everything["vectors"], [f"id{i}" for i in range(20, 100)])
    writer.upsert(everything["vectors"][20:21], ids=["id20"], texts=["anew"])
    assert [record.text for record in reader.get(["id20"])] == ["anew"]
    assert list(reader)[-1].id == "id20"
    writer.delete([f"id{i}" for i in range(30, 70)])  # leads to a compaction
    assert writer.stats()["generation"] == 1
    assert agrees(reader, everything["vectors"], [f"id{i}" for i in (*range(20, 30), *range(70, 100))])
    writer.add(**{name: value[100:] for name, value in everything.items()})
    assert len(reader) == 140
    writer.clear()
    assert (len(reader), reader.search(everything["vectors"][0], 3)) == (0, [])
    writer.add(**everything)
    assert agrees(reader, everything["vectors"], everything["ids"])


@pytest.mark.one_folder("walks over shards see pages, not one state")
def test_a_reader_keeps_its_state_while_it_walks(opened, documents, tmp_path):
    writer = opened(tmp_path / "c")
    writer.add(**documents(2500, dim=2))
    walk = iter(opened(tmp_path / "c", read_only=True))
    mine = iter(writer)
    assert next(walk).id == next(mine).id == "id0"
    writer.clear()
    writer.add(**documents(3, dim=2))
    assert [record.id for record in walk] == [record.id for record in mine]
    assert len(list(writer)) == 3


@pytest.mark.one_folder("interferes with how this process reads files")
def test_a_compaction_just_before_a_reader_opens_its_files_is_no_error(
    monkeypatch, opened, documents, tmp_path
):
    place = tmp_path / "c"
    writer = opened(place)
    writer.add(**documents(100))
    once = iter([True])
    before = FileVectors.__init__

    def late(self, file, dim, n_slots, *, writable):
        if not writable and next(once, False):
            writer.clear()
            writer.add(**documents(7))
        before(self, file, dim, n_slots, writable=writable)

    monkeypatch.setattr(FileVectors, "__init__", late)
    assert len(opened(place, read_only=True)) == 7


@pytest.mark.one_folder("interferes with how this process reads files")
def test_a_compaction_just_before_a_reader_maps_more_is_no_error(monkeypatch, opened, documents, tmp_path):
    writer = opened(tmp_path / "c")
    everything = documents(40)
    writer.add(**{name: values[:10] for name, values in everything.items()})
    reader = opened(tmp_path / "c", read_only=True)
    assert len(reader.search(everything["vectors"][0], 50)) == 10
    writer.add(**{name: values[10:] for name, values in everything.items()})
    catch_up = Store._catch_up

    def late(store, pinned):
        monkeypatch.setattr(Store, "_catch_up", catch_up)
        monkeypatch.setattr("inlay.collection.upkeep._WASTE_ROWS", 2)
        writer.delete(everything["ids"][:20])
        assert not (tmp_path / "c" / "vectors-0.f32").exists()
        catch_up(store, pinned)

    monkeypatch.setattr(Store, "_catch_up", late)
    assert len(reader.search(everything["vectors"][0], 50)) == 20


def test_several_threads_of_a_reader_follow_together(opened, documents, tmp_path):
    place = tmp_path / "c"
    writer, reader = opened(place, metric="l2"), opened(place, read_only=True)
    writer.add(**documents(300))
    done = threading.Event()

    def read(seed):
        rng = np.random.default_rng(seed)
        while not done.is_set():
            assert len(reader.search(rng.normal(size=8), 20)) == 20
            assert reader.count({"n": {"$gte": 0}}) == 300

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, seed) for seed in range(3)]
        try:
            for seed in range(25):
                writer.upsert(**documents(40, seed=seed))
        finally:
            done.set()
        for future in readers:
            future.result()
    assert len(reader) == 300


def test_a_reader_cannot_change_anything(opened, documents, tmp_path):
    writer = opened(tmp_path / "c")
    writer.add(**documents(3))
    reader = opened(tmp_path / "c", read_only=True)
    for act in (
        lambda: reader.add(**documents(1)),
        lambda: reader.upsert(**documents(1)),
        lambda: reader.delete(["id0"]),
        reader.clear,
        reader.snapshot,
    ):
        with pytest.raises(PermissionError, match="read_only"):
            act()
    assert len(writer) == 3


# Forks


def in_child(act):
    """Return what a forked child prints; it ends without the parent's tidying up."""
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
        pid = os.fork()
    if pid == 0:
        try:
            answer = str(act())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(into, answer.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return answer


@pytest.mark.one_folder("Ray does not survive a fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_reads_the_files_anew_and_cannot_write(opened, documents, tmp_path):
    collection = opened(tmp_path / "c", metric="l2")
    collection.add(**documents(50))
    query = documents(50)["vectors"][4]
    assert in_child(lambda: ids(collection.search(query, 1))) == "['id4']"
    assert in_child(lambda: collection.add(**documents(60))).startswith("PermissionError")
    opened_before = collection._store._database
    assert in_child(lambda: len(collection) and collection._store._database is opened_before) == "False"
    assert in_child(lambda: (len(collection), gc.collect() * 0, len(collection))) == "(50, 0, 50)"
    collection.delete(["id4"])
    assert len(collection) == 49

    def follow():
        assert len(collection) == 49
        collection.close()
        return "closed"

    assert in_child(follow) == "closed"
    collection.add(query[None], ids=["id4"])
    assert ids(collection.search(query, 1)) == ["id4"]
    with pytest.raises(BlockingIOError):  # no child took the lock with it
        Collection.open(tmp_path / "c")


@pytest.mark.one_folder("Ray does not survive a fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_follows_its_parent(opened, documents, tmp_path):
    collection = opened(tmp_path / "c", metric="l2")
    collection.add(**documents(10))
    ready, go = os.pipe()

    def follow():
        before = len(collection)
        os.read(ready, 1)
        return before, len(collection), len(collection.search(documents(20)["vectors"][15], 20))

    def parent():
        collection.add(**{name: value[10:20] for name, value in documents(20).items()})
        os.write(go, b"x")

    timer = threading.Timer(0.3, parent)
    timer.start()
    assert in_child(follow) == "(10, 20, 20)"
    timer.join()


@pytest.mark.one_folder("Ray does not survive a fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_in_the_middle_of_a_write_is_sound(opened, place, documents):
    collection = opened(place, metric="l2")
    everything = documents(CHUNK + 20, dim=2)
    answers = []

    def fork(done, total):
        answers.append(in_child(lambda: len(collection)))

    collection.add(**everything, progress=fork)
    if place == ":memory:":
        assert answers[0].startswith("RuntimeError: this process was forked while")
        assert in_child(lambda: len(collection)) == str(CHUNK + 20)
        assert in_child(lambda: collection.delete(["id0"])) == "1"
    else:
        assert answers[:2] == [str(CHUNK), str(CHUNK + 20)]
    assert len(collection) == CHUNK + 20


# The end


def test_closing_is_final_and_twice_is_no_error(opened, place, documents):
    collection = opened(place)
    collection.add(**documents(5))
    with collection:
        pass
    collection.close()
    for act in (
        lambda: len(collection),
        lambda: collection.add(**documents(1)),
        lambda: collection.get(["id1"]),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            act()


def test_a_forgotten_close_loses_nothing_and_frees_the_lock(documents, tmp_path):
    collection = Collection.open(tmp_path / "c")
    collection.add(**documents(5))
    del collection
    gc.collect()
    with Collection.open(tmp_path / "c") as again:
        assert len(again) == 5


@pytest.mark.one_folder("whoever asks shards that end is told so")
def test_closing_waits_for_those_who_read(opened, place, documents):
    collection = opened(place, metric="l2")
    collection.add(**documents(50))
    inside, go_on = threading.Event(), threading.Event()

    def slow(document):
        inside.set()
        go_on.wait(10)
        return True

    with ThreadPoolExecutor(2) as pool:
        found = pool.submit(collection.search, documents(50)["vectors"][0], 5, filter=slow)
        inside.wait(10)
        closing = pool.submit(collection.close)
        assert not closing.done()
        go_on.set()
        assert len(found.result()) == 5
        closing.result()
    with pytest.raises(RuntimeError, match="closed"):
        len(collection)
