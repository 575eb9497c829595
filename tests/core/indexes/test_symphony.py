"""SymphonyQG: how much its walks by estimates find, and that the codes of links follow from the links.

What every graph keeps is tested for this one too in `test_graph_*.py`, what every index keeps in the others.
Recall is of the ten nearest, for 200 queries that are not among the rows; seed 0 unless another is named.
"""

import time
from pathlib import Path

import numpy as np
import pytest
from core.indexes.forms import METRICS, assert_in_order, gaussian, lengths_one, values
from core.indexes.graphs import low_rank, nearest, recall
from core.indexes.test_changes import copy_of
from hypothesis import given, settings
from hypothesis import strategies as st

import inlay
from inlay.codecs.links import LinkCodes
from inlay.indexes.symphony import CODES, VECTORS

NONE = 0xFFFFFFFF


def blobs(n, dim, spread=0.7, seed=0):
    """Rows about 64 centres, standard normal, and so far from them: (n + 200, dim) as rows and queries."""
    rng = np.random.default_rng([seed, dim])
    centres = rng.standard_normal((64, dim))
    rows = centres[rng.integers(0, 64, n + 200)] + spread * rng.standard_normal((n + 200, dim))
    return rows[200:].astype(np.float32), rows[:200].astype(np.float32)


def made(rows, metric="l2", **options):
    index = inlay.SymphonyQGIndex(rows.shape[1], metric, **options)
    index.add(rows)
    return index


@pytest.fixture(scope="module")
def common():
    """5,000 x 128 in 64 blobs of 0.7: rows, queries, their ten nearest, and indexes of them by `vectors`."""
    rows, queries = blobs(5000, 128)
    indexes = {vectors: made(rows, vectors=vectors) for vectors in ("lvq8", "lvq8x4", "lvq8x8", "float32")}
    return rows, queries, nearest(rows, queries, 10), indexes


# How much is found


@pytest.mark.parametrize("vectors", ["lvq8x8", "float32"])
def test_blobs(common, vectors):
    _, queries, truth, indexes = common
    assert recall(indexes[vectors], queries, truth, ef=64) >= 0.98
    assert recall(indexes[vectors], queries, truth, ef=128) >= 0.999


@pytest.mark.parametrize("options", [{"code": "pq4"}, {"code": "rabitq2"}, {"degree": 64}], ids=str)
def test_blobs_by_other_codes(options):
    rows, queries = blobs(5000, 128)
    assert recall(made(rows, **options), queries, nearest(rows, queries, 10), ef=64) >= 0.98


@pytest.mark.parametrize("dim", [1536, 2048])
def test_many_dimensions(dim):
    rows, queries = blobs(2000, dim)
    assert recall(made(rows), queries, nearest(rows, queries, 10), ef=48) >= 0.98


@pytest.mark.parametrize("vectors", ["lvq8x8", "float32"])
def test_more_effort_finds_no_less(common, vectors):
    _, queries, truth, indexes = common
    index = indexes[vectors]
    for rerank in (None, 128):
        effort = {} if rerank is None else {"rerank": rerank}
        found = [recall(index, queries, truth, ef=ef, **effort) for ef in (10, 20, 40, 80, 160, 5000)]
        assert (np.diff(found) >= -0.005).all(), found
        assert found[0] < 0.9, found  # so these are walks


def test_eight_bits_find_nearly_what_all_bits_do(common):
    """One level alone has its ceiling at 0.988 here, whatever the effort; with the second there is none."""
    _, queries, truth, indexes = common
    exact = recall(indexes["float32"], queries, truth, ef=64)
    assert recall(indexes["lvq8"], queries, truth, ef=64) >= exact - 0.015
    assert recall(indexes["lvq8x4"], queries, truth, ef=128) >= exact - 0.003
    assert recall(indexes["lvq8x8"], queries, truth, ef=256) >= (
        recall(indexes["float32"], queries, truth, ef=256) - 0.001
    )


def test_estimates_lead_to_the_nearest_without_their_distances(common):
    """The walk alone, as the last word: 8 bits of each vertex, and one of each link."""
    _, queries, truth, indexes = common
    walked = [recall(indexes[vectors], queries, truth, ef=64, rerank=0) for vectors in indexes]
    assert min(walked) >= 0.97
    assert max(walked) == min(walked)


def test_long_and_short_rows_by_inner_product():
    """5,000 x 128, blobs whose lengths are log-normal, of 0.7."""
    rows, queries = blobs(5000, 128)
    rows *= np.random.default_rng(1).lognormal(0, 0.7, (5000, 1)).astype(np.float32)
    index, truth = made(rows, "ip"), nearest(rows, queries, 10, "ip")
    assert recall(index, queries, truth, ef=64) >= 0.95
    # From 174 on so few rows are not walked to, but looked at one by one.
    assert recall(index, queries, truth, ef=150) >= 0.98


def test_cosine_is_the_inner_product_of_rows_of_length_one():
    rows, queries = blobs(3000, 48)
    cosine, ip = made(rows, "cosine", vectors="float32"), made(lengths_one(rows), "ip", vectors="float32")
    units = lengths_one(queries).astype(np.float32)
    truth = nearest(rows, queries, 10, "cosine")
    for ef in (32, 64):
        assert abs(recall(cosine, queries, truth, ef=ef) - recall(ip, units, truth, ef=ef)) <= 0.01
    everything = {"ef": 3000, "rerank": 3000}
    one, other = cosine.search(queries, 10, **everything), ip.search(units, 10, **everything)
    np.testing.assert_allclose(one[0], other[0], atol=1e-6)
    assert (one[1] == other[1]).mean() > 0.999


def test_tight_clusters():
    """3,000 x 128, 64 blobs of 0.02: the 47 rows of each are told apart by what is known beside the walk."""
    rows, queries = blobs(3000, 128, 0.02)
    truth = nearest(rows, queries, 10)
    index = made(rows, vectors="float32")
    assert index.check() == []
    assert recall(index, queries, truth, ef=64, rerank=64) >= 0.99


def test_more_effort_finds_rows_that_only_a_detour_leads_to():
    """Few topics of many in a row: where estimates leave no doubt, walks of any width would end at 0.98."""
    rng = np.random.default_rng(1)
    shares = np.arange(1, 1001) ** -0.6
    weights = np.zeros((5200, 1000), np.float32)
    for row in weights:
        row[rng.choice(1000, 6, replace=False, p=shares / shares.sum())] = rng.exponential(size=6)
    x = lengths_one(weights @ rng.standard_normal((1000, 256)).astype(np.float32))
    rows, queries = x[200:], x[:200]
    index = made(rows, "ip")
    truth = nearest(rows, queries, 10)
    assert recall(index, queries, truth, ef=64) >= 0.965
    assert recall(index, queries, truth, ef=160) >= 0.988


def test_a_sphere_without_any_structure():
    """5,000 x 64 on a sphere, seed 1: the tenth nearest is hardly nearer than the hundredth."""
    rows = lengths_one(gaussian(5200, 64, seed=1))
    index, truth = made(rows[200:]), nearest(rows[200:], rows[:200], 10)
    found = [recall(index, rows[:200], truth, ef=ef) for ef in (32, 64, 128, 150)]
    assert found == sorted(found)
    assert found[-1] >= 0.8, found


def by_distance(index, rows, queries, **effort):
    """Recall by distances: a row counts that lies no farther than the tenth nearest."""
    ids = index.search(queries, 10, **effort)[1]
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    true = np.square(rows).sum(axis=1) - 2 * queries @ rows.T
    return float((np.take_along_axis(true, ids, 1) <= np.sort(true, axis=1)[:, 9:10] + 1e-4).mean())


def test_a_grid_of_whole_numbers():
    """3,000 x 12 of {0, 1, 2}, seed 1: most distances are those of many rows."""
    rows = np.random.default_rng(1).integers(0, 3, (3200, 12)).astype(np.float32)
    assert by_distance(made(rows[200:], vectors="float32"), rows[200:], rows[:200], ef=64) >= 0.98


def test_copies_cost_little_and_are_found(threads):
    """300 distinct rows, 20 times each, and 6,000 once; the bound is many times what it is."""
    threads(1)
    few, queries = blobs(300, 64)
    rows = np.tile(few, (20, 1))
    spent = []
    for all_rows in (blobs(6000, 64)[0], rows):
        times = []
        for _ in range(2):
            started = time.thread_time()
            index = made(all_rows)
            times.append(time.thread_time() - started)
        spent.append(min(times))
    assert spent[1] < 3 * spent[0]
    assert index.check() == []
    assert by_distance(index, rows, queries, ef=64) >= 0.99


def test_rows_that_are_all_equal():
    index = made(np.full((2000, 48), 0.3, np.float32))
    assert index.check() == []
    for ef in (10, 64, 2000):
        distances, ids = index.search(np.full(48, 0.3), 10, ef=ef)
        assert len(set(ids[0].tolist())) == 10
        np.testing.assert_allclose(distances, 0, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 7, 63, 64, 65])
def test_few_dimensions_and_odd_ones(dim):
    """2,000 rows in blobs; several bits a dimension where there are few."""
    rows, queries = blobs(2000, dim)
    index = made(rows)
    assert by_distance(index, rows, queries, ef=64, rerank=64) >= 0.98
    assert index.check() == []


# Results


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_true(metric):
    rows, queries = blobs(2500, 40)
    index = made(rows, metric, vectors="float32")
    for k in (1, 10, 32, 33, 100, 2500):
        for ef in (k, 80):
            distances, ids = index.search(queries[:20], k, ef=ef, rerank=ef)
            assert_in_order(distances, ids, metric, k)
            assert ((ids >= 0) & (ids < 2500)).all()
            true = np.take_along_axis(values(queries[:20], rows, metric), ids, 1)
            np.testing.assert_allclose(distances, true, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vectors", VECTORS)
def test_with_a_beam_of_all_rows_the_nearest_that_are_known_come_back(vectors):
    rows, queries = blobs(500, 40)
    index = made(rows, vectors=vectors)
    distances, ids = index.search(queries, 10, ef=500, rerank=500)
    if vectors == "float32":
        np.testing.assert_array_equal(ids, nearest(rows, queries, 10))
    if vectors != "lvq8":
        best = np.sort(values(queries, index.reconstruct(index.ids), "l2"), axis=1)[:, :10]
        np.testing.assert_allclose(distances, best, rtol=1e-4, atol=1e-4)


def test_modes_are_efforts_by_name(common):
    _, queries, truth, indexes = common
    index = indexes["float32"]
    for mode, same in [("fastscan", {"rerank": 0}), ("rerank", {})]:
        for found, wanted in zip(
            index.search(queries, 10, mode=mode), index.search(queries, 10, **same), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(index.search(queries, 10, mode="flat_exact")[1], truth)
    with pytest.raises(ValueError, match="mode must be one of fastscan, rerank, flat_exact, not 'exact'"):
        index.search(queries, 10, mode="exact")


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 33, 64, 65])
@pytest.mark.parametrize("options", [{}, {"degree": 64}, {"code": "pq4"}, {"code": "rabitq8"}], ids=str)
def test_few_rows(n, options):
    rows, queries = blobs(65, 20)
    index = made(rows[:n], vectors="float32", **options)
    assert index.check() == []
    distances, ids = index.search(queries, 70)
    np.testing.assert_array_equal(ids[:, :n], nearest(rows[:n], queries, n))
    assert (ids[:, n:] == -1).all()
    assert np.isinf(distances[:, n:]).all()


def test_every_place_of_a_vertex_is_taken():
    """A pass of estimates costs the same for fewer links. Rows that came at once, or one by one later."""
    rows, _ = blobs(1200, 24)
    for options in ({}, {"degree": 64}):
        index = made(rows[:1100], **options)
        for row in rows[1100:]:
            index.add(row[None])
        assert (index._graph.table.rows < 1200).all()
        assert index.check() == []  # nobody is linked to twice, or to itself


def test_some_rows_added_later_are_found_as_well(common):
    rows, queries, truth, indexes = common
    index = made(rows[:4000])
    for part in np.array_split(rows[4000:4900], 7):
        index.add(part)
    for row in rows[4900:]:
        index.add(row[None])
    for ef in (24, 64):
        once = recall(indexes["lvq8x8"], queries, truth, ef=ef)
        assert recall(index, queries, truth, ef=ef) >= once - 0.01


def test_removed_rows_are_never_returned(common):
    rows, queries, truth, _ = common
    index = made(rows)
    gone = np.unique(truth[:, :5])[:900]  # fewer than are swept
    index.remove(gone)
    assert index._ids.n_slots == 5000
    kept = np.setdiff1d(np.arange(5000), gone)
    left = kept[nearest(rows[kept], queries, 10)]
    for _ in range(2):
        for k, ef in ((1, 16), (10, 64), (100, 100)):
            ids = index.search(queries, k, ef=ef)[1]
            assert np.isin(ids, kept).all()
        assert recall(index, queries, left, ef=64) >= 0.98
        index.compact()


# Options


def test_options_that_are_refused():
    for options, said in (
        ({"degree": 40}, "degree must be a multiple of 32, not 40"),
        ({"degree": 31}, "degree must be a multiple of 32, not 31"),
        ({"degree": 544}, "degree must be between 2 and 512"),
        ({"degree": 0}, "degree must be"),
        ({"code": "x"}, "code must be None or one of rabitq1, .*, pq4, not 'x'"),
        ({"code": "rabitq9"}, "code must be None or one of"),
        ({"code": 1}, "code must be None or one of"),
        ({"vectors": "y"}, "vectors must be None or one of lvq8, lvq8x4, lvq8x8, float16, float32, not 'y'"),
        ({"ef_construction": 0}, "ef_construction must be"),
    ):
        with pytest.raises(ValueError, match=said):
            inlay.SymphonyQGIndex(20, **options)
    for spec in ("SymQG", "SymQG032", "SymQG32,LVQ8", "SymQG33"):
        with pytest.raises(ValueError, match=r"SymQG|multiple"):
            inlay.from_spec(spec, 20)


def test_a_code_has_64_bits_or_as_many_as_there_can_be():
    codes = {dim: inlay.SymphonyQGIndex(dim).code for dim in (1, 7, 8, 16, 31, 32, 42, 43, 64, 65, 128, 4096)}
    assert codes == {
        1: "rabitq8", 7: "rabitq8", 8: "rabitq8", 16: "rabitq4", 31: "rabitq2", 32: "rabitq2", 42: "rabitq2",
        43: "rabitq1", 64: "rabitq1", 65: "rabitq1", 128: "rabitq1", 4096: "rabitq1",
    }  # fmt: skip
    index = inlay.SymphonyQGIndex(64, degree=96)
    assert (index.spec, index.code, index.vectors, index.degree) == ("SymQG96", "rabitq1", "lvq8x8", 96)


@pytest.mark.parametrize("code", [code for code in CODES if code != "rabitq1"])
def test_more_bits_take_more_bytes_and_estimate_no_worse(code):
    """2,000 rows of 64 dimensions, a beam so narrow that estimates decide."""
    rows, queries = blobs(2000, 64)
    truth = nearest(rows, queries, 10)
    one, more = made(rows), made(rows, code=code)
    found = [recall(index, queries, truth, ef=14) for index in (one, more)]
    planes = 1 if code == "pq4" else int(code[-1])
    assert found[1] >= found[0] + (0.05 if planes >= 3 else -0.02), found
    np.testing.assert_allclose((more.nbytes_hot - one.nbytes_hot) / 2000, 4 * 64 * (planes - 1), atol=80)


# Centroids of "pq4" are learned from links, once there are enough


def test_centroids_are_learned_once_and_kept():
    rows = low_rank(900, 24)
    index = made(rows[:20], code="pq4")

    def book():
        return index._coder.centroids.tobytes()

    assert not index._coder.is_learned
    first = book()
    index.add(rows[20:30])
    assert (index._coder.is_learned, book()) == (False, first)
    index.add(rows[30:300])
    assert index._coder.is_learned
    learned = book()
    assert learned != first
    assert_codes_follow(index)
    copy = copy_of(index)
    assert copy._coder.centroids.tobytes() == learned
    for one in (index, copy):
        one.add(rows[300:600])
        one.remove(range(200))
        one.reset()
        one.add(rows[600:])
        assert one._coder.centroids.tobytes() == learned
    assert index.to_bytes() == copy.to_bytes()


def test_copies_of_a_row_teach_no_centroids():
    """500 copies, which later rows are to be found beside."""
    index = made(np.full((500, 24), 0.5, np.float32), code="pq4")
    assert not index._coder.is_learned
    rows = gaussian(1000, 24)
    index.add(rows)
    assert index._coder.is_learned
    found = index.search(rows[::10], 1, ef=48)[1][:, 0]
    assert (found == np.arange(500, 1500, 10)).mean() >= 0.8


# The codes of links follow from the links


def fresh_codes(index):
    links = LinkCodes(index._coder, index.degree)
    links.resize(len(index._graph))
    codec, codes = index._parts[0]
    links.encode_links(index._coder, codes, codec.frame, codec.squared_l2, index._graph.table.rows, None, 1)
    return links.tables["link_codes"].rows


def assert_codes_follow(index):
    held = index._links.tables["link_codes"].rows
    assert len(held) == len(index._graph)
    np.testing.assert_array_equal(held, fresh_codes(index))


OPTIONS = (
    {},
    {"code": "rabitq3"},
    {"degree": 64},
    {"code": "pq4", "vectors": "float32"},
    {"vectors": "lvq8"},
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 90)),
        st.tuples(st.just("upsert"), st.integers(1, 30)),
        st.tuples(st.just("remove"), st.integers(1, 60)),
        st.tuples(st.just("compact"), st.just(0)),
        st.tuples(st.just("copy"), st.just(0)),
        st.tuples(st.just("stopped"), st.integers(1, 50)),
    ),
    min_size=1,
    max_size=8,
)


class Stop(Exception):
    pass


def stop(done, total):
    raise Stop


@given(st.sampled_from(OPTIONS), st.sampled_from(METRICS), st.integers(0, 150), CHANGES)
@settings(max_examples=30)
def test_codes_of_links_follow_from_the_links(options, metric, n, changes):
    rng = np.random.default_rng(0)
    rows = low_rank(1200, 9)
    done = n
    index = made(rows[:n], metric, **options)
    for change, many in changes:
        some = rows[done : done + many]
        if change == "add":
            index.add(some)
        elif change == "upsert":
            index.upsert(some, rng.permutation(200)[:many])
        elif change == "remove":
            index.remove(rng.permutation(index.ids)[:many])
        elif change == "compact":
            index.compact()
        elif change == "copy":
            index = copy_of(index)
        else:
            with pytest.raises(Stop):
                index.add(some, progress=stop)
        done += many
        assert_codes_follow(index)
        assert index.check() == []


def test_links_are_coded_as_they_were_in_the_golden_files():
    """Whose rows are too few for a walk that would read the codes. Better ones may come with new files."""
    files = list((Path(__file__).parents[2] / "formats").glob("v*/symqg*"))
    assert len(files) >= 4
    for path in files:
        assert_codes_follow(inlay.load(path))


@pytest.mark.parametrize("after", [False, True])
def test_what_fails_while_links_are_coded_leaves_no_trace(after, monkeypatch):
    rows = low_rank(2000, 12)
    index = made(rows[:600], code="pq4")
    index.remove(np.arange(0, 600, 11))
    before = index.to_bytes()
    real, calls = inlay.SymphonyQGIndex._encode, []

    def broken(self, *arguments):
        calls.append(arguments)
        if after or len(calls) > 1:
            real(self, *arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(inlay.SymphonyQGIndex, "_encode", broken)
    for change in (
        lambda: index.add(rows[600:900]),
        lambda: index.upsert(rows[600:900], range(100, 400)),
        index.compact,
    ):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            change()
        assert index.to_bytes() == before
        assert_codes_follow(index)
    monkeypatch.undo()
    index.compact()
    assert index._ids.n_slots == len(index)
    assert_codes_follow(index)
    assert index.check() == []
