"""Whatever is done to an index that walks a graph, its graph stays whole; the same steps give the same."""

import numpy as np
import pytest
from core.indexes.forms import METRICS, Form, gaussian
from core.indexes.graphs import GRAPHS, HARD, NARROW, clustered, low_rank, nearest, recall
from core.indexes.test_changes import copy_of

from inlay.kernels import table

DIM = 12
ALL = GRAPHS + NARROW
# Some of these rows are just what two bits a dimension do not tell apart.
pytestmark = pytest.mark.filterwarnings("ignore:two bits a dimension:UserWarning")


@pytest.fixture(params=ALL, ids=str)
def form(request):
    return request.param


@pytest.mark.parametrize("kind", HARD)
def test_every_build_is_whole(form, kind):
    degree = form.untrained(DIM).degree
    for n in {0, 1, 2, degree - 1, degree, degree + 1, degree + 2, 33, 500}:
        index = form.empty(DIM) if form.taught else form.untrained(DIM)
        index.add(HARD[kind](n, DIM))
        assert index.check() == []
        assert len(index) == n
        assert copy_of(index).check() == []
        found = index.search(gaussian(2, DIM), n + 2)[1]
        assert (np.sort(found[:, :n]) == np.arange(n)).all()
        assert (found[:, n:] == -1).all()


@pytest.mark.parametrize(
    ("kind", "n"), [("equal", 1000), ("zeros", 1000), ("copies", 6000), ("far apart", 2000)]
)
def test_many_rows_that_are_hard_on_a_graph(kind, n):
    for form in (ALL[0], ALL[3], ALL[-1]):
        index = form.untrained(DIM, "l2")
        index.add(HARD[kind](n, DIM))
        assert index.check() == []
        rows = HARD[kind](n, DIM)
        distances, ids = index.search(rows[[5, n - 1]], 10, ef=16)
        assert (ids >= 0).all()
        assert all(len(set(line)) == 10 for line in ids.tolist())
        if kind != "far apart" and form.exact:
            np.testing.assert_array_equal(distances, 0)


@pytest.mark.parametrize("kind", ["gaussian", "equal", "copies", "far apart", "growing"])
def test_pieces_removal_and_replacement_leave_it_whole(form, kind):
    rng = np.random.default_rng(0)
    rows = HARD[kind](900, DIM)
    index = form.untrained(DIM)
    index.train(rows)
    done = 0
    for size in (1, 1, 2, 5, 30, 1, 60, 200, 10, 90):
        index.add(rows[done : done + size])
        done += size
        assert index.check() == []
    # Buried rows stay in the graph, until a fifth of all are.
    assert index.remove(rng.permutation(done)[:40]) == 40
    assert index._ids.n_slots == done
    assert index.check() == []
    index.remove(index.ids[rng.random(len(index)) < 0.3])
    assert index._ids.n_slots == len(index)
    assert index.check() == []
    copy = copy_of(index)
    assert copy.check() == []
    index.upsert(rows[400:600], np.arange(300, 500))
    assert index.check() == []
    index.remove(index.ids[::9])
    index.compact()
    assert index._ids.n_slots == len(index)
    assert index.check() == []
    index.add(rows[600:])
    assert index.check() == []
    index = copy_of(index)
    index.add(rows[:200])
    assert index.check() == []


@pytest.mark.parametrize("kind", ["gaussian", "copies", "clustered", "growing"])
def test_rows_added_singly_are_reached_at_once(form, kind, metric):
    rows = HARD[kind](760, DIM)
    index = form.untrained(DIM, metric)
    index.add(rows[:700])
    index.remove(np.arange(0, 700, 7))
    for row in rows[700:]:
        index.add(row[None])
        assert index.check() == []


@pytest.mark.parametrize("spec", ["HNSW8", "HNSW16", "QuIVer16", "SymQG32"])
def test_rows_added_singly_are_found_as_those_added_at_once(spec):
    """1,500 rows of 128 dimensions without any structure; what of the last 500 their own vector finds."""
    rows = gaussian(1500, 128)
    once, singly = (Form(spec).untrained(128) for _ in range(2))
    for index in (once, singly):
        index.train(rows)
        index.add(rows[:1000])
    once.add(rows[1000:])
    for row in rows[1000:]:
        singly.add(row[None])
    missed = [
        int((index.search(rows[1000:], 1, ef=24)[1][:, 0] != np.arange(1000, 1500)).sum())
        for index in (once, singly)
    ]
    assert missed[1] <= missed[0] + 10, missed


def test_the_entries_may_go(form):
    rows = low_rank(700, DIM)
    index = form.filled(rows)
    for turn in range(3):
        entries = index._graph.entries
        gone = index._ids.array[entries]
        assert index.remove(gone) == len(entries)
        assert index.check() == []
        found = index.search(rows, 5, ef=700)[1]
        assert not np.isin(found, gone).any()
        index.compact()
        assert index.check() == []
        assert len(index._graph.entries) > 10
        index.add(rows[: 100 * turn])
        assert index.check() == []


def test_all_may_go_and_others_come(form, metric):
    rows = low_rank(300, DIM)
    index = form.filled(rows, metric)
    for turn in range(2):
        for gone in np.array_split(np.random.default_rng(turn).permutation(index.ids), 4):
            index.remove(gone)
            assert index.check() == []
        assert (len(index), index._ids.n_slots, index.check()) == (0, 0, [])
        assert (index.search(rows[:2], 3)[1] == -1).all()
        ids = index.add(rows)
        assert index.check() == []
        distances, found = index.search(rows[7], 3, ef=300)
        assert found[0, 0] == ids[7] or metric == "ip" or form.taught
        assert np.isfinite(distances).all()


@pytest.mark.parametrize("scale", [1e-30, 1e18, 1e20, 1e37])
def test_inner_products_of_rows_whose_squares_are_beyond_float32(form, scale):
    if form.largest < 10 * scale:
        return
    index = form.untrained(DIM, "ip")
    index.add(scale * low_rank(400, DIM))
    index.remove(range(100))
    assert index.check() == []
    assert not np.isnan(index.search(low_rank(5, DIM, seed=1), 5)[0]).any()


# The same, whatever else


def same_bytes(make):
    """What several ways of making give, as bytes; they are all the same."""
    made = [index.to_bytes() for index in make]
    assert all(one == made[0] for one in made[1:])
    return made[0]


def in_pieces(form, rows, metric):
    index = form.untrained(DIM, metric)
    for first, last in ((0, 700), (700, 703), (703, 1100)):
        index.add(rows[first:last])
    index.remove(np.arange(100, 130))
    index.upsert(rows[:20] + 1, np.arange(1090, 1110))
    index.remove(np.arange(300, 800))
    return index


@pytest.fixture(params=[str(form) for form in GRAPHS])
def steady(request):
    return next(form for form in GRAPHS if str(form) == request.param)


def test_threads_do_not_show_in_the_file(steady, threads):
    rows = low_rank(1100, DIM)
    metric = METRICS[GRAPHS.index(steady) % 3]

    def made():
        for n in (1, 2, 4):
            threads(n)
            yield in_pieces(steady, rows, metric)

    data = same_bytes(made())
    seeded = Form(steady.spec, {**steady.options, "seed": 1})
    assert in_pieces(seeded, rows, metric).to_bytes() != data


@pytest.mark.parametrize("form", [form for form in GRAPHS if str(form) != "HNSW8"], ids=str)
def test_the_cpu_does_not_show_in_the_file(form):
    rows = low_rank(1100, DIM)
    metric = METRICS[GRAPHS.index(form) % 3]
    before = table.level()

    def made():
        for level in table.levels():
            table.set_level(level)
            yield in_pieces(form, rows, metric)

    try:
        same_bytes(made())
    finally:
        table.set_level(before)


def test_added_in_the_same_pieces_and_saved_between_it_is_the_same(steady):
    rows = low_rank(1100, DIM)

    def made():
        yield in_pieces(steady, rows, "l2")
        index = steady.untrained(DIM)
        for first, last in ((0, 700), (700, 703), (703, 1100)):
            index = copy_of(index)
            index.add(rows[first:last])
        index.remove(np.arange(100, 130))
        index = copy_of(index)
        index.upsert(rows[:20] + 1, np.arange(1090, 1110))
        index = copy_of(index)
        index.remove(np.arange(300, 800))
        yield index

    same_bytes(made())


@pytest.mark.parametrize(
    ("spec", "make"), [("HNSW16", clustered), ("HNSW16,LVQ8", low_rank), ("QuIVer16", low_rank)]
)
def test_the_order_of_rows_costs_no_recall(spec, make):
    """2,000 rows of 32 dimensions, low-rank or in 20 clusters, in three orders; all of a beam of 48."""
    rows = make(2250, 32, seed=3)
    queries, rows = rows[::9], np.delete(rows, np.s_[::9], axis=0)
    truth = nearest(rows, queries, 10)
    recalls = []
    for order in (np.arange(2000), np.random.default_rng(0).permutation(2000), np.argsort(rows[:, 0])):
        index = Form(spec).untrained(32)
        index.train(rows)  # what codes are is another matter
        index.add(rows[order])
        assert index.check() == []
        recalls.append(recall(index, queries, np.argsort(order)[truth], ef=48, rerank=48))
    assert max(recalls) - min(recalls) <= 0.01, recalls
    assert min(recalls) >= 0.95, recalls
