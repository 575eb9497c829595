"""Shards without Ray: what they show, and to whom."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ray", reason="the Ray adapter needs Ray: pip install 'inlay[ray]'")

from inlay import Collection, FormatError
from inlay.adapters.ray import merging, routing
from inlay.adapters.ray.shard import Shard
from inlay.collection import batch, selection
from inlay.collection.watching import TARGET
from tests.adapters.ray.conftest import documents


@pytest.fixture
def shards(tmp_path):
    """Two shards, and the map, of 100 documents."""
    home, map, two = filled(tmp_path / "c", "Flat", batch.check(**documents(100), dim=4))
    yield home, map, two
    for shard in two:
        shard.close()


def filled(home, spec, given):
    """Return two shards with some documents, and their folder and map."""
    home.mkdir()
    dim = given.vectors.shape[1]
    map = routing.Map("default", "l2", spec, dim, True, 1, (0, 1), routing.even((0, 1)), next_shard=2)
    routing.save(map, home)
    two = [Shard(str(home), number, True) for number in (0, 1)]
    buckets = routing.buckets_of(given.ids)
    for number, positions in map.split(given.ids).items():
        part = batch.Batch(
            *(pick(column, positions) for column in (given.vectors, given.ids, given.texts, given.metas))
        )
        two[number].store(part, routing.keys_of(0, positions, buckets[positions]))
    return home, map, two


def pick(column, positions):
    return column[positions] if isinstance(column, np.ndarray) else [column[i] for i in positions]


def found(two, version, k=200):
    parts = [shard.search(version, np.zeros((1, 4), np.float32), k, None, None, {}, False) for shard in two]
    return merging.merged(parts, k, 1, ascending=True).hits(0)


def test_a_document_that_moves_is_seen_once_by_every_map(shards):
    home, map, two = shards
    everything = found(two, 1)
    assert len(everything) == 100
    buckets = np.flatnonzero(map.table == 0)[::2]
    staged = replace(map, version=2, unsettled=(0, 1))
    routing.save(staged, home)
    for shard in two:
        assert shard.adopt() == 2
    documents_taken, keys = two[0].take(buckets)
    assert 10 < len(documents_taken) < 40
    assert (np.diff(keys) > 0).all()
    two[1].receive((documents_taken, keys))
    two[1].receive((documents_taken, keys))  # twice is no harm
    assert found(two, 2) == everything
    assert sum(shard.count(2, None) for shard in two) == 100
    counts = [shard.counts(2, ['"cat"']) for shard in two]
    with pytest.raises(routing.StaleMap):
        two[0].count(1, None)
    owners = map.table
    owners[buckets] = 1
    routing.save(replace(staged, version=3, owners=tuple(owners.tolist())), home)
    two[0].adopt()
    assert found(two, 3) == everything  # the other one reads the map when it is asked by a newer one
    flipped = [shard.counts(3, ['"cat"']) for shard in two]
    assert flipped[0] + flipped[1] == counts[0] + counts[1]
    two[0].drop(buckets)
    routing.save(replace(staged, version=4, owners=tuple(owners.tolist()), unsettled=()), home)
    assert found(two, 4) == everything
    assert found(two, 4, 7) == everything[:7]  # ties are in order, though later rows have earlier keys
    pages = [two[1].page(4, -1)]
    assert (np.diff(pages[0].keys[0]) > 0).all()


def test_what_a_broken_move_left_behind_is_dropped(shards):
    _, _, two = shards
    everything = found(two, 1)
    two[1].receive(two[0].take(np.arange(routing.BUCKETS // 4)))
    two[1].drop_foreign()
    assert found(two, 1) == everything


def test_a_shard_is_a_collection_of_its_own(shards):
    home, _, two = shards
    for number, shard in enumerate(two):
        with Collection.open(routing.shard_folder(home, number), read_only=True) as alone:
            assert len(alone) == shard.count(1, None)
            assert alone.search_text("cat")


def test_documents_written_past_the_shards_are_a_format_error(shards):
    home, _, two = shards
    two[0].close()
    with Collection.open(routing.shard_folder(home, 0)) as alone:
        alone.add(np.ones((1, 4)))
    again = Shard(str(home), 0, True)
    with pytest.raises(FormatError, match="no place in the order"):
        again.search(1, np.zeros((1, 4), np.float32), 5, None, None, {}, False)
    again.close()


def test_a_follower_sees_what_the_writer_commits(shards):
    home, _, two = shards
    follower = Shard(str(home), 0, False)
    before = follower.count(1, None)
    two[0].remove([two[0].names(1, None, None)[0]])
    assert follower.count(1, None) == before - 1
    with pytest.raises(PermissionError):
        follower.clear()
    follower.close()


def test_a_change_that_comes_after_a_later_one_is_not_made(shards):
    _, _, two = shards
    before = two[0].count(1, None)
    name = two[0].names(1, None, None)[0]
    two[0].change((3, 5), "patch", [name], {"x": 1}, False)
    for late in ((3, 4), (2, 9)):
        with pytest.raises(routing.Overtaken):
            two[0].change(late, "remove", [name])
    assert two[0].count(1, None) == before
    two[0].change((3, 5), "remove", [name])  # the same one again
    two[0].change((4, 0), "remove", [name])
    assert two[0].count(1, None) == before - 1


@pytest.mark.parametrize("spec", ["HNSW4,LVQ4", "IVF64,LVQ4"])
def test_two_shards_find_no_less_than_one_collection_where_an_index_is_not_exact(tmp_path, rng, spec):
    rows = rng.normal(size=(1600, 24)).astype(np.float32)
    stored, queries = rows[:1500], rows[1500:]
    names = [f"id{i}" for i in range(len(stored))]
    exact = np.argsort(((queries[:, None] - stored[None]) ** 2).sum(2), axis=1)[:, :10]
    _, _, two = filled(tmp_path / "c", spec, batch.check(stored, names, None, None, 24))
    parts = [shard.search(1, queries, 10, None, None, {}, False) for shard in two]
    merged = merging.merged(parts, 10, len(queries), ascending=True)
    with Collection.open(metric="l2", index=spec) as one:
        one.add(stored, ids=names, progress=False)
        alone = one.search_batch(queries, 10)
    recalls = [
        np.mean([len({hit.id for hit in hits} & {f"id{i}" for i in near}) / 10 for hits, near in both])
        for both in (zip(map(merged.hits, range(100)), exact, strict=True), zip(alone, exact, strict=True))
    ]
    assert recalls[0] >= min(recalls[1], TARGET) - 0.005  # each shard makes the effort that it takes there
    for shard in two:
        shard.close()


def test_questions_and_answers_go_as_bytes(shards):
    _, _, (shard, _) = shards
    tree = selection.judge({"$and": [{"n": {"$gte": 3}}, {"even": {"$in": [True]}}]})
    query = np.zeros((2, 4), np.float32)
    for method, *arguments in (
        ("search", 1, query, 5, tree, ["id4", "id8"], {}, True),
        ("search_words", 1, ["cat"], shard.counts(1, ["cat"]), 5, tree, None, False),
        ("get", 1, ["id4", "nobody"], None, True),
        ("first", 1, tree, 7),
        ("page", 1, -1),
        ("facts", 1),
    ):
        answer = pickle.loads(shard.answer(method, pickle.dumps(tuple(arguments))))
        wanted = getattr(shard, method)(*arguments)
        assert pickle.dumps(answer) == pickle.dumps(pickle.loads(pickle.dumps(wanted)))
