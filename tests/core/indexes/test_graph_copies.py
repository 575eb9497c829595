"""Rows that are there many times: found as if they cost nothing, and changed like any other."""

import numpy as np
import pytest
from core.indexes.forms import gaussian
from core.indexes.graphs import GRAPHS

import inlay

DIM, DISTINCT, TIMES = 12, 40, 20
NONE = 0xFFFFFFFF


# One of each kind.
KINDS = tuple({form.spec[:5]: form for form in GRAPHS}.values())


@pytest.fixture(params=KINDS, ids=str)
def form(request):
    return request.param


def made(form, singly=0, metric="l2"):
    """An index of some rows, each many times in any order, and these rows."""
    rows = np.repeat(gaussian(DISTINCT, DIM), TIMES, axis=0)
    rows = rows[np.random.default_rng(3).permutation(len(rows))]
    index = form.untrained(DIM, metric)
    index.add(rows[: len(rows) - singly])
    for row in rows[len(rows) - singly :]:
        index.add(row[None])
    return index, rows


def copies_of(rows, one):
    return set(np.flatnonzero((rows == rows[one]).all(axis=1)).tolist())


def assert_all_found(index, rows, alive, allowed=None):
    """Asked for a row, as many of its copies come first as there are."""
    some = alive if allowed is None else np.intersect1d(alive, allowed)
    queries = np.unique(rows[some], axis=0)
    for query, found in zip(queries, index.search(queries, TIMES, ef=32, allowed=allowed)[1], strict=True):
        same = {int(slot) for slot in some if (rows[slot] == query).all()}
        assert set(found[: len(same)].tolist()) == same
        assert len(set(found[found >= 0].tolist())) == (found >= 0).sum()


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_copies_are_one_vertex(form, metric):
    index, rows = made(form, singly=30, metric=metric)
    assert index.check() == []
    assert len(index._graph.vertices()) == DISTINCT
    if metric != "ip":
        assert_all_found(index, rows, np.arange(len(rows)))


def test_filters_look_at_each_copy(form):
    index, rows = made(form)
    alive = np.arange(len(rows))
    for share in (2, 7):
        assert_all_found(index, rows, alive, allowed=alive[alive % share == 1])
    only = max(copies_of(rows, 0))
    assert index.search(rows[0], 3, allowed=[only])[1].tolist() == [[only, -1, -1]]


def test_a_radius_holds_all_copies(form):
    index, rows = made(form)
    # Of rows that are coarsely coded the distance is that to their code.
    near = index.search(rows[:9], 1)[0].max() if form.taught else 0
    limits, _, ids = index.range_search(rows[:9], 0.01 + near)
    for one in range(9):
        found = set(ids[limits[one] : limits[one + 1]].tolist())
        assert found >= copies_of(rows, one) if form.taught else found == copies_of(rows, one)


def test_copies_outlive_the_first_of_them(form):
    index, rows = made(form)
    firsts = np.unique(rows, axis=0, return_index=True)[1]
    alive = np.setdiff1d(np.arange(len(rows)), firsts)
    index.remove(firsts)
    assert_all_found(index, rows, alive)
    index.compact()
    assert index.check() == []
    assert len(index._graph.vertices()) == DISTINCT
    assert_all_found(index, rows, alive)
    # A fifth and more is swept without being told to.
    index.remove(alive[: len(alive) // 2])
    alive = alive[len(alive) // 2 :]
    assert index.check() == []
    assert_all_found(index, rows, alive)
    index.upsert(rows[alive[:5]] + 9, alive[:5])
    assert_all_found(index, rows, alive[5:])


def test_copies_are_saved(form, tmp_path):
    index, rows = made(form)
    index.save(tmp_path / "copies.inlay")
    loaded = inlay.load(tmp_path / "copies.inlay")
    assert loaded.to_bytes() == index.to_bytes()
    assert_all_found(loaded, rows, np.arange(len(rows)))
    for one in (index, loaded):
        one.add(rows[:50])
        one.remove(range(100, 300))
        one.compact()
    assert loaded.to_bytes() == index.to_bytes()
    assert loaded.check() == []
    index.reset()
    index.add(np.unique(rows, axis=0))
    assert len(index._graph.copies) == 0


def test_a_change_that_fails_leaves_chains_as_they_were(form, monkeypatch):
    index, rows = made(form)
    before = index.to_bytes()

    def fail(*_):
        raise RuntimeError("no")

    for name in ("reconnect", "mend"):
        monkeypatch.setattr(f"inlay.indexes.navigable.{name}", fail)
    with pytest.raises(RuntimeError):
        index.add(rows[:70])
    assert index.to_bytes() == before
    # Nor has the first copy of all made chains.
    index.reset()
    distinct = np.unique(rows, axis=0)
    monkeypatch.undo()
    index.add(distinct)
    before = index.to_bytes()
    for name in ("reconnect", "mend"):
        monkeypatch.setattr(f"inlay.indexes.navigable.{name}", fail)
    with pytest.raises(RuntimeError):
        index.add(rows[:70])
    assert index.to_bytes() == before


def test_chains_that_lie_are_refused(form):
    index, rows = made(form)
    chain = index._graph.copies.rows
    right = chain.copy()
    for wrong in (
        np.zeros_like(right),
        np.full_like(right, len(rows)),
        np.arange(len(rows), dtype=np.uint32),
        np.where(right == NONE, 0, right),
        np.where(right == NONE, NONE - 1, right),
    ):
        chain[:] = wrong
        with pytest.raises(inlay.FormatError, match="copies"):
            type(index).from_bytes(index.to_bytes())
    chain[:] = right
    assert type(index).from_bytes(index.to_bytes()).check() == []
