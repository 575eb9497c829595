""" "auto" goes from exact to scan to graph, as the size and the data suit; a spec that was given stays."""

import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from inlay.collection import Collection, choice, view
from inlay.collection.records import State

DIM = 32
SCAN, WALK = 200, 400  # documents from which on codes are scanned, and a graph walked
GRAPH = "QuIVer32"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let collections outgrow their index early."""
    monkeypatch.setattr(choice, "_EXACT", SCAN * DIM)
    monkeypatch.setattr(choice, "_SCANNED", WALK * DIM)


@pytest.fixture
def everything(documents):
    """Documents in few dimensions of many, as embeddings are."""
    rng = np.random.default_rng(7)
    given = documents(1000, DIM)
    given["vectors"] = (rng.normal(size=(1000, 6)) @ rng.normal(size=(6, DIM))).astype(np.float32)
    return given


def part(given, start, end):
    return {name: value[start:end] for name, value in given.items()}


def found(collection, given, row, k=10, **options):
    return [int(hit.id[2:]) for hit in collection.search(given["vectors"][row], k, **options)]


def nearest(given, row, among, k=10):
    distances = ((given["vectors"][among].astype(float) - given["vectors"][row]) ** 2).sum(axis=1)
    return [int(among[i]) for i in np.argsort(distances, kind="stable")[:k]]


def answers(collection, given, n):
    return all(found(collection, given, row) == nearest(given, row, np.arange(n)) for row in range(0, n, 37))


# Sizes


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_auto_goes_from_exact_to_scan_to_graph(opened, place, everything):
    collection = opened(place, metric="l2")
    for start, end, index in (
        (0, SCAN - 1, "Flat"),
        (SCAN - 1, SCAN, "LVQ8"),
        (SCAN, WALK - 1, "LVQ8"),
        (WALK - 1, WALK, GRAPH),
        (WALK, 700, GRAPH),
    ):
        collection.add(**part(everything, start, end))
        assert collection.index == index
        assert answers(collection, everything, end)
        if place != ":memory:":
            collection.close()
            collection = opened(place)
            assert collection.index == index
            assert answers(collection, everything, end)
    collection.delete([f"id{row}" for row in range(100, 700)])
    assert collection.index == GRAPH
    assert answers(collection, everything, 100)


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_one_call_may_lead_from_exact_to_a_graph(opened, place, everything):
    collection = opened(place, metric="l2")
    collection.add(**everything)
    assert collection.index == GRAPH
    assert answers(collection, everything, 1000)


def test_an_emptied_collection_begins_again(opened, place, everything):
    collection = opened(place, metric="l2")
    collection.add(**everything)
    collection.clear()
    assert collection.index == "Flat"
    collection.add(**part(everything, 0, 10))
    assert answers(collection, everything, 10)


def test_auto_stays_exact_for_narrow_vectors(opened, documents):
    collection = opened(dim=15)
    collection.add(**documents(1000, dim=15))
    assert collection.index == "Flat"


@pytest.mark.parametrize(
    "spec", ["Flat", "LVQ4", "LVQ4x8", "LVQ8", "HNSW8", "HNSW8,LVQ4x8", "QuIVer8", "SymQG32"]
)
def test_a_spec_that_was_asked_for_is_kept_to(opened, tmp_path, everything, spec):
    collection = opened(tmp_path / "c", index=spec)
    assert collection.index == spec
    collection.add(**everything)
    assert collection.index == spec
    collection.close()
    assert opened(tmp_path / "c", index=spec).index == spec


# Which graph, if any


def share_is(monkeypatch, shares):
    """Let graphs be found as good as is said, for (spec, on a sample)."""
    looked = []

    def share(graph, scan, ids, rows, ef):
        looked.append((graph.spec, scan.spec == "Flat"))
        return shares[looked[-1]]

    monkeypatch.setattr(choice, "_share_found", share)
    return looked


QUIVER, LVQ = choice.GRAPHS


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
@pytest.mark.parametrize(
    ("index", "shares"),
    [
        (QUIVER, {(QUIVER, True): 0.99, (QUIVER, False): 0.98}),
        (LVQ, {(QUIVER, True): 0.98, (LVQ, True): 0.99, (LVQ, False): 0.98}),
        (LVQ, {(QUIVER, True): 0.99, (QUIVER, False): 0.97, (LVQ, True): 0.99, (LVQ, False): 0.98}),
        ("LVQ8", {(QUIVER, True): 0.98, (LVQ, True): 0.98}),
        ("LVQ8", {(QUIVER, True): 0.98, (LVQ, True): 0.99, (LVQ, False): 0.97}),
    ],
)
def test_the_first_graph_that_suits_is_taken(monkeypatch, opened, everything, caplog, index, shares):
    looked = share_is(monkeypatch, shares)
    collection = opened(metric="l2")
    with caplog.at_level(logging.INFO, "inlay"):
        collection.add(**everything)
    assert looked == list(shares)
    assert collection.index == index
    assert answers(collection, everything, 1000)
    for (spec, _), share in shares.items():
        assert f"{spec} finds {share:.1%}".replace("%", " %") in caplog.text


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_where_no_graph_suits_it_is_looked_for_again_when_there_is_twice_as_much(
    monkeypatch, opened, place, everything
):
    looked = share_is(monkeypatch, {(QUIVER, True): 0.5, (LVQ, True): 0.5})
    collection = opened(place, metric="l2")
    collection.add(**part(everything, 0, 450))
    assert len(looked) == 2
    for end in (500, 799):
        if place != ":memory:":
            collection.close()
            collection = opened(place)
        collection.upsert(**part(everything, 0, end))
        assert (collection.index, len(looked)) == ("LVQ8", 2)
    share_is(monkeypatch, {(QUIVER, True): 1.0, (QUIVER, False): 1.0})
    collection.add(**part(everything, 799, 800))
    assert collection.index == GRAPH


def clusters(n, dim, n_clusters, spread):
    rng = np.random.default_rng(1)
    middles = rng.normal(size=(n_clusters, dim))[rng.integers(0, n_clusters, n)]
    return (middles + spread * rng.normal(size=(n, dim))).astype(np.float32)


def promising(rows):
    state = State("default", "l2", "auto", rows.shape[1])
    return [graph.spec for graph in choice.promising(state, rows)]


def test_a_sample_tells_what_no_graph_suits_and_what_two_bits_do_not(everything):
    assert promising(everything["vectors"]) == [QUIVER, LVQ]
    assert promising(clusters(3000, 64, 12, 0.05)) == [LVQ]
    assert promising(clusters(3000, 384, 1, 1.0)) == []  # no row is near any other


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_a_graph_that_a_sample_flatters_does_not_take_over(monkeypatch, opened, caplog):
    monkeypatch.setattr(choice, "_TRIAL", 400)  # 20 rows of each cluster: two bits find the right cluster
    rows = clusters(8000, 64, 20, 0.1)  # 400 of each: and not the nearest of it
    assert promising(rows[choice.trial_sample(np.arange(8000))]) == [QUIVER, LVQ]
    monkeypatch.setattr(choice, "_SCANNED", 8000 * 64)
    collection = opened(metric="l2")
    with caplog.at_level(logging.INFO, "inlay"):
        collection.add(rows, ids=[f"id{row}" for row in range(8000)])
    assert collection.index == LVQ
    given = {"vectors": rows}
    wanted = [nearest(given, row, np.arange(8000)) for row in range(0, 8000, 400)]
    hits = [found(collection, given, row) for row in range(0, 8000, 400)]
    assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(hits, wanted, strict=True)]) >= 0.98


# What a graph does not change


@pytest.mark.parametrize("spec", ["HNSW8,LVQ8", "QuIVer8", "SymQG32"])
def test_with_effort_a_graph_answers_as_brute_force_after_changes_and_with_filters(
    opened, place, everything, spec
):
    collection = opened(place, metric="l2", index=spec)
    collection.add(**part(everything, 0, 900))
    rng = np.random.default_rng(3)
    live = set(range(900))
    for _ in range(3):
        gone = rng.choice(sorted(live), 60, replace=False)  # too few of them for the graph to be led around
        collection.delete([f"id{row}" for row in gone])
        live -= {*gone.tolist()}
        changed = rng.choice(sorted(live), 20, replace=False)
        everything["vectors"][changed] += rng.normal(size=(20, DIM)).astype(np.float32)
        new = np.union1d(changed, rng.choice(1000, 20, replace=False))
        collection.upsert(**{name: [value[row] for row in new] for name, value in everything.items()})
        live |= {*new.tolist()}
        among = np.array(sorted(live))
        order = [int(record.id[2:]) for record in collection]
        assert sorted(order) == among.tolist()
        for row in rng.choice(1000, 10, replace=False):
            for filter, matching in (
                (None, among),
                ({"n": {"$gte": 100}}, among[among >= 100]),
                ({"word": {"$in": ["cat", "dog"]}}, among[np.isin(among % 5, [2, 3])]),
            ):
                assert found(collection, everything, row, filter=filter, ef=120) == nearest(
                    everything, row, matching
                )
        if place != ":memory:":
            collection.close()
            collection = opened(place)


def test_an_effort_is_for_the_index_that_knows_it(opened, everything):
    collection = opened(metric="l2")
    for end in (SCAN - 1, WALK - 1, 1000):
        collection.upsert(**part(everything, 0, end))
        for effort in ({"ef": 64}, {"rerank": 100}, {"ef": 300, "rerank": 0}):
            assert found(collection, everything, 5, **effort) == nearest(everything, 5, np.arange(end))
    with pytest.raises(ValueError, match="ef"):
        collection.search(everything["vectors"][0], 3, ef=-1)
    with pytest.raises(TypeError, match="no effort probes; it knows ef, rerank"):
        collection.search(everything["vectors"][0], 3, probes=3)


@pytest.mark.one_folder("looks at the index itself")
def test_a_graph_is_searched_wider_than_it_would_be_by_itself(opened, everything):
    collection = opened(index="HNSW8")
    collection.add(**everything)
    index = collection._store._view.index
    assert choice.effort(index, 40, {}) == {"ef": 160}
    assert choice.effort(index, 400, {}) == {"ef": 800}
    assert choice.effort(index, 40, {"ef": 50, "rerank": 3}) == {"ef": 50, "rerank": 3}


# While others work, and after what went wrong


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_searches_go_on_while_a_collection_grows(opened, place, everything):
    collection = opened(place, metric="l2")
    collection.add(**part(everything, 0, 50))
    stop = threading.Event()

    def read(row):
        n = 0
        while not stop.is_set():
            hits = found(collection, everything, row, 20)
            assert len(set(hits)) == 20
            assert hits[0] == row
            n += 1
        return n

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, row) for row in (0, 7, 49)]
        try:
            for start in range(50, 600, 50):
                collection.add(**part(everything, start, start + 50))
                collection.upsert(**part(everything, start - 50, start))
        finally:
            stop.set()
        assert all(reader.result() for reader in readers)
    assert collection.index == GRAPH


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_a_reader_takes_over_what_the_writer_has_built(opened, everything, tmp_path):
    writer = opened(tmp_path / "c", metric="l2")
    reader = opened(tmp_path / "c", read_only=True)
    for end, index in ((100, "Flat"), (300, "LVQ8"), (500, GRAPH)):
        writer.upsert(**part(everything, 0, end))
        assert len(reader) == end
        writer.upsert(**part(everything, 0, 1))  # what the reader sees next comes after the index was saved
        assert answers(reader, everything, end)
        assert reader.index == index


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_an_interrupted_growth_is_made_up_for_by_the_next_change(monkeypatch, opened, place, everything):
    collection = opened(place, metric="l2")
    bring = view.bring

    def broken(view, index, rows):
        if index.spec == GRAPH:
            raise KeyboardInterrupt
        bring(view, index, rows)

    with monkeypatch.context() as patch:
        patch.setattr(view, "bring", broken)
        with pytest.raises(KeyboardInterrupt):
            collection.add(**part(everything, 0, 500))
    assert (len(collection), collection.index) == (500, "LVQ8")
    assert answers(collection, everything, 500)
    collection.delete(["id499"])
    assert collection.index == GRAPH
    assert answers(collection, everything, 499)


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_what_was_due_is_done_when_it_is_opened_for_writing(monkeypatch, opened, everything, tmp_path):
    place = tmp_path / "c"
    with monkeypatch.context() as patch:
        patch.setattr(choice, "_EXACT", 10**9)
        with Collection.open(place, metric="l2") as collection:
            collection.add(**part(everything, 0, 700))
            assert collection.index == "Flat"
    reader = opened(place, read_only=True)
    assert reader.index == "Flat"
    collection = opened(place)
    assert collection.index == GRAPH
    assert answers(collection, everything, 700)
    collection.upsert(**part(everything, 0, 1))
    assert reader.search(everything["vectors"][0], 1)[0].id == "id0"
    assert reader.index == GRAPH


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_without_its_file_a_graph_is_built_by_a_writer_and_scanned_for_by_readers(
    opened, everything, tmp_path
):
    with Collection.open(tmp_path / "c", metric="l2") as collection:
        collection.add(**part(everything, 0, 700))
        assert collection.index == GRAPH
    (saved,) = (tmp_path / "c").glob("index-*.inlay")
    saved.unlink()
    reader = opened(tmp_path / "c", read_only=True)
    assert reader.index == "LVQ8"
    assert answers(reader, everything, 700)
    assert opened(tmp_path / "c").index == GRAPH
    assert len(list((tmp_path / "c").glob("index-*.inlay"))) == 1


@pytest.mark.one_folder("lets this process's collections outgrow their index early")
def test_what_came_after_the_file_is_added_to_the_graph_in_it(monkeypatch, opened, everything, tmp_path):
    collection = opened(tmp_path / "c", metric="l2")
    collection.add(**part(everything, 0, 500))  # a graph, and saved at once
    collection.add(**part(everything, 500, 1000))
    collection.delete([f"id{row}" for row in range(0, 1000, 7)])
    shutil.copytree(
        tmp_path / "c", tmp_path / "copied", ignore=shutil.ignore_patterns("writer*")
    )  # as a crash would leave it
    monkeypatch.setattr(choice, "sample", None)
    monkeypatch.setattr(choice, "promising", None)  # nothing is trained
    again = opened(tmp_path / "copied")
    live = np.array([row for row in range(1000) if row % 7])
    assert again.index == GRAPH
    for row in range(0, 1000, 50):
        assert found(again, everything, row) == nearest(everything, row, live)
        assert found(again, everything, row, 20) == found(collection, everything, row, 20)
