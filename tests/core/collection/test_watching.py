"""Recall is measured as it is, and effort is raised until it suffices."""

import logging

import numpy as np
import pytest

from inlay.collection import choice, watching
from inlay.collection.database import Database

N, DIM = 1500, 32
LOSSY = ("PQ4x4fs", "RVQ2x4", "IVF256,LVQ4", "HNSW2,LVQ4", "QuIVer4")


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(3).normal(size=(N + 200, DIM)).astype(np.float32)


@pytest.fixture(autouse=True)
def weak(monkeypatch):
    """Make a search see less by itself, as it does among many more documents."""
    monkeypatch.setattr(choice, "_EF", 12)
    monkeypatch.setattr(choice, "_LISTS", 64)


def recall(collection, vectors, queries):
    exact = np.argsort(-(vectors @ queries.T / np.linalg.norm(vectors, axis=1)[:, None]), axis=0)[:10].T
    found = [[int(hit.id) for hit in hits] for hits in collection.search_batch(queries, 10)]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact.tolist(), strict=True)])


@pytest.mark.parametrize("index", LOSSY)
def test_effort_is_raised_until_the_recall_is_what_was_asked_for(opened, vectors, index):
    stored, queries = vectors[:N], vectors[N:]
    named = {"ids": [str(i) for i in range(N)], "progress": False}
    careless, careful = opened(index=index, recall=0), opened(index=index, recall=0.95)
    careless.add(stored, **named)
    careful.add(stored, **named)
    before, after = careless.stats(), careful.stats()
    assert before["effort_level"] == 0
    assert after["recall"] >= 0.95
    assert after["effort_level"] > 0
    assert before["recall"] < 0.95
    # Strangers find less than the rows themselves, but the figures mean something for them, too.
    assert recall(careful, stored, queries) >= 0.85
    assert recall(careless, stored, queries) < recall(careful, stored, queries) - 0.02
    assert recall(careless, stored, queries) == pytest.approx(before["recall"], abs=0.12)


def test_an_exact_index_needs_no_watch(opened, vectors):
    collection = opened()
    collection.add(vectors, progress=False)
    assert collection.stats()["recall"] is None
    assert collection.stats()["effort_level"] == 0


def test_what_was_seen_stays_with_the_collection(opened, vectors, tmp_path):
    writer = opened(tmp_path, index="PQ4x4fs", recall=0.9)
    reader = opened(tmp_path, read_only=True)
    writer.add(vectors[:N], progress=False)
    seen = writer.stats()
    assert seen["effort_level"] > 0
    writer.add(vectors[N : N + 1], progress=False)
    for other in (reader, opened(tmp_path, read_only=True)):
        assert {name: other.stats()[name] for name in ("recall", "effort_level")} == {
            name: seen[name] for name in ("recall", "effort_level")
        }
    writer.close()
    again = opened(tmp_path)
    assert again.stats()["effort_level"] == seen["effort_level"]


@pytest.mark.one_folder("patches what shards do in processes of their own")
def test_recall_is_measured_when_much_is_new_and_not_before(opened, vectors, monkeypatch):
    measured = []
    monkeypatch.setattr(watching, "_NEW_ROWS", 100)
    monkeypatch.setattr(
        watching,
        "watched",
        lambda view, target, real=watching.watched: measured.append(1) or real(view, target),
    )
    collection = opened(index="LVQ8")
    collection.add(vectors[:400], progress=False)
    assert len(measured) == 1
    collection.add(vectors[400:790], progress=False)
    assert len(measured) == 1
    collection.add(vectors[790:800], progress=False)
    assert len(measured) == 2
    collection.search(vectors[0])
    collection.delete([collection.get(limit=1)[0].id])
    assert len(measured) == 2


def test_equal_documents_are_as_good_as_each_other(opened):
    collection = opened(index="LVQ8")
    collection.add(np.ones((300, 8)), progress=False)
    assert collection.stats()["recall"] == 1
    one = opened(index="LVQ8")
    one.add(np.ones((1, 8)))
    assert one.stats()["recall"] is None


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_every_metric_is_measured(opened, vectors, metric):
    collection = opened(index="LVQ8", metric=metric)
    collection.add(vectors[:600], progress=False)
    assert collection.stats()["recall"] > 0.99


@pytest.mark.one_folder("patches what shards do in processes of their own")
def test_a_target_out_of_reach_is_said(opened, vectors, caplog, monkeypatch):
    monkeypatch.setattr(watching, "MAX_LEVEL", 1)
    with caplog.at_level(logging.WARNING, "inlay"):
        collection = opened(index="RVQ2x4", recall=1)
        collection.add(vectors[:N], progress=False)
    assert "less than recall=1" in caplog.text
    assert collection.stats()["effort_level"] == 1


def test_effort_that_is_given_goes_before(opened, vectors):
    collection = opened(index="IVF64,LVQ8", recall=1)
    collection.add(vectors[:N], progress=False)
    assert collection.stats()["effort_level"] > 0
    assert len(collection.search(vectors[0], 10, nprobe=1)) == 10


@pytest.mark.parametrize(
    ("recall", "error"), [(1.5, ValueError), (-1, ValueError), ("0.9", TypeError), (True, TypeError)]
)
def test_what_is_no_share_is_refused(opened, recall, error):
    with pytest.raises(error, match="recall must be"):
        opened(recall=recall)


@pytest.mark.one_folder("looks into the database")
@pytest.mark.parametrize("lie", ["level = 6", "level = -1", "recall = 2", "row = 'x'", "level = 1.5"])
def test_what_cannot_have_been_seen_is_a_format_error(opened, vectors, tmp_path, lie):
    writer = opened(tmp_path, index="LVQ8")
    writer.add(vectors[:50])
    writer.close()
    database = Database(tmp_path / "inlay.sqlite")
    database.writer.ask(f"UPDATE watch SET {lie}")
    with pytest.raises(Exception, match="cannot be true"):
        database.writer.watch()
    database.close()
