"""IVF as an index: its codes and options, what it reads, and that it always finds enough."""

import numpy as np
import pytest
from core.indexes.forms import METRICS, assert_in_order, gaussian, held

import inlay
from inlay import FormatError, IVFIndex
from inlay.indexes import ivf, listed

DIM = 16
CODES = ("Flat", "LVQ4", "LVQ8", "LVQ4x8", "PQ8x4fs", "RVQ3x4")
ROWS = gaussian(3000, DIM) + np.repeat(2 * gaussian(30, DIM, seed=9), 100, axis=0)
QUERIES = ROWS[::300] + gaussian(10, DIM, seed=1) / 4
EVERY = {"nprobe": 1 << 20, "rerank": 1 << 20}


@pytest.fixture(scope="module")
def made():
    """Indexes by (code, metric, by_residual), each made once; not to be changed."""
    known = {}

    def make(code="LVQ8", metric="l2", by_residual=None):
        key = code, metric, by_residual
        if key not in known:
            known[key] = IVFIndex(DIM, metric, n_lists=30, code=code, by_residual=by_residual)
            known[key].add(ROWS)
        return known[key]

    return make


def exact(metric, k=10, allowed=None):
    flat = inlay.FlatIndex(DIM, metric)
    flat.add(ROWS)
    return flat.search(QUERIES, k, allowed=allowed)[1]


def share(true, found):
    return np.mean([np.isin(one, other).mean() for one, other in zip(true, found, strict=True)])


# Options


def test_a_spec_stands_for_lists_and_code():
    index = inlay.from_spec("IVF64,LVQ4x8", DIM, "ip")
    assert (index.n_lists, index.code, index.by_residual, index.spec) == (64, "LVQ4x8", True, "IVF64,LVQ4x8")
    assert inlay.from_spec("IVF64,LVQ8", DIM, by_residual=True).by_residual
    assert not IVFIndex(DIM).by_residual
    for wrong in ("IVF0,LVQ8", "IVF64", "IVF64,", "IVF64,LVQ5", "IVF64,HNSW8", "IVFx,Flat"):
        with pytest.raises(ValueError, match="unknown index spec"):
            inlay.from_spec(wrong, DIM)


def test_the_number_of_lists_may_be_left_to_training():
    index = inlay.from_spec("IVF,LVQ8", DIM)
    assert (index.spec, index.n_lists) == ("IVF,LVQ8", None)
    index.add(ROWS[:900])
    assert index.spec == "IVF120,LVQ8"
    assert IVFIndex.from_bytes(index.to_bytes()).n_lists == 120


def test_options_without_meaning_are_refused():
    with pytest.raises(ValueError, match="unknown code"):
        IVFIndex(DIM, code="LVQ3")
    with pytest.raises(ValueError, match="by_residual"):
        IVFIndex(DIM, code="Flat", by_residual=True)
    with pytest.raises(TypeError, match="by_residual"):
        IVFIndex(DIM, by_residual="yes")
    with pytest.raises(ValueError, match="vectors"):
        IVFIndex(DIM, vectors="float64")
    with pytest.raises(ValueError, match="n_lists"):
        IVFIndex(DIM, n_lists=0)


# What is found


@pytest.mark.parametrize("metric", METRICS)
def test_all_lists_of_plain_rows_are_an_exact_search(made, metric):
    flat = inlay.FlatIndex(DIM, metric)
    flat.add(ROWS)
    for one, other in zip(
        flat.search(QUERIES, 20), made("Flat", metric).search(QUERIES, 20, **EVERY), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("by_residual", [False, True])
@pytest.mark.parametrize("code", CODES[1:])
def test_distances_are_those_to_the_rows_that_are_held(made, code, metric, by_residual):
    index = made(code, metric, by_residual)
    distances, ids = index.search(QUERIES, 10, **EVERY)
    rows = held(index)
    queries = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True) if metric == "cosine" else QUERIES
    apart = np.square(queries[:, None] - rows[ids]).sum(axis=2)
    expected = apart if metric == "l2" else np.einsum("qd,qkd->qk", queries, rows[ids])
    # One level of LVQ estimates the distances of rows instead; norms of stages have a byte.
    near = {"LVQ4": 0.1, "LVQ8": 0.01}.get(code, 0.03 if by_residual and metric == "l2" else 1e-4)
    np.testing.assert_allclose(distances, expected, atol=near * np.abs(expected).max())
    floor = {"LVQ4": 0.75, "PQ8x4fs": 0.3, "RVQ3x4": 0.15}.get(code, 0.9)
    assert share(exact(metric), ids) >= floor


@pytest.mark.parametrize("code", CODES)
def test_an_answer_depends_neither_on_the_batch_nor_on_threads(made, code, threads):
    index = made(code)
    queries = np.concatenate([QUERIES, ROWS[:300]])  # more than look together
    whole = index.search(queries, 7, nprobe=5)
    for n in (1, 2):
        threads(n)
        for part in (slice(0, 1), slice(3, 6), slice(290, 300), slice(None)):
            for one, other in zip(index.search(queries[part], 7, nprobe=5), whole, strict=True):
                np.testing.assert_array_equal(one, other[part])


def test_one_query_is_spread_over_threads_without_a_trace(threads):
    index = IVFIndex(4, n_lists=3, code="Flat")
    index.add(np.rint(gaussian(40_000, 4)))  # many ties
    answers = []
    for n in (1, 2, 3):
        threads(n)
        answers.append(index.search([0, 0, 0, 1], 50, nprobe=3)[1])
    np.testing.assert_array_equal(answers[1:], answers[:1] * 2)


@pytest.mark.parametrize("metric", METRICS)
def test_more_lists_find_more(made, metric):
    true = exact(metric)
    shares = [share(true, made("LVQ8", metric).search(QUERIES, 10, nprobe=n)[1]) for n in (1, 2, 4, 8, 30)]
    assert shares == sorted(shares)
    assert shares[0] >= 0.4
    assert shares[-1] >= 0.97


def test_rows_kept_beside_the_codes_have_the_last_word():
    index = inlay.from_spec("IVF30,RVQ3x4", DIM, "cosine", vectors="float32")
    index.add(ROWS)
    ids = index.search(QUERIES, 5, **EVERY)[1]
    np.testing.assert_array_equal(ids, exact("cosine", 5))
    assert index.nbytes_cold >= ROWS.nbytes
    np.testing.assert_allclose(index.search(ROWS[:1], 1, rerank=50)[0], 1, rtol=1e-5)


# Enough results


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("rows", [1, 40, 900, 1500, 2990])
def test_a_filter_never_costs_results(made, code, rows, monkeypatch):
    monkeypatch.setattr(ivf, "DIRECT", 1000)
    allowed = np.zeros(len(ROWS), bool)
    allowed[np.random.default_rng(rows).permutation(len(ROWS))[:rows]] = True
    for k in (1, 30, 1200):
        distances, ids = made(code).search(QUERIES, k, allowed=allowed, nprobe=1)
        assert_in_order(distances, ids, "l2", min(k, rows))
        assert allowed[ids[ids >= 0]].all()


def test_a_filter_of_rows_that_lie_far_away_reads_on(made, monkeypatch):
    monkeypatch.setattr(ivf, "DIRECT", 10)
    # 1,100 rows, none of which are in the lists nearest to the queries.
    near = made("LVQ8").search(QUERIES[:1], 1900, nprobe=30)[1][0]
    allowed = np.setdiff1d(np.arange(3000), near)
    distances, ids = made("LVQ8").search(QUERIES[:1], 10, allowed=allowed, nprobe=1)
    assert_in_order(distances, ids, "l2", 10)
    assert np.isin(ids, allowed).all()


def test_filtered_searches_find_as_much_as_others(made, monkeypatch):
    monkeypatch.setattr(ivf, "DIRECT", 10)
    rng = np.random.default_rng(0)
    for part in (0.5, 0.1, 0.02):
        allowed = rng.random(len(ROWS)) < part
        true = exact("l2", 10, allowed)
        whole = share(exact("l2"), made("LVQ8").search(QUERIES, 10, nprobe=4)[1])
        assert share(true, made("LVQ8").search(QUERIES, 10, allowed=allowed, nprobe=4)[1]) >= whole - 0.05


def test_lists_without_rows_and_rows_without_end():
    index = IVFIndex(DIM, n_lists=50)
    index.train(ROWS)
    index.add(ROWS[:7])
    for k in (1, 7, 20):
        assert_in_order(*index.search(QUERIES, k, nprobe=1), "l2", min(k, 7))
    index.add(np.repeat(ROWS[:1], 500, axis=0))  # a list of equal rows: ties by id
    np.testing.assert_array_equal(index.search(ROWS[:1], 5, nprobe=1)[1], [[0, 7, 8, 9, 10]])


def test_fewer_rows_than_lists_train_nonetheless():
    index = IVFIndex(DIM, n_lists=50)
    index.add(ROWS[:9])
    assert (index.search(ROWS[:9], 1)[1][:, 0] == np.arange(9)).all()


# Where rows lie


def test_rows_added_one_by_one_are_found_before_and_after_compact():
    index = IVFIndex(DIM, n_lists=20, code="LVQ4x8")
    index.train(ROWS)
    for first in range(0, 400, 7):
        index.add(ROWS[first : first + 7])
    before = index.search(QUERIES, 10, **EVERY)
    index.compact()
    for one, other in zip(before, index.search(QUERIES, 10, **EVERY), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_rows_and_seed_make_the_same_file(threads):
    files = set()
    for n in (1, 2):
        threads(n)
        index = IVFIndex(DIM, n_lists=25, code="LVQ4x4", seed=3)
        index.add(ROWS[:2000])
        index.add(ROWS[2000:])
        files.add(index.to_bytes())
    assert len(files) == 1


def test_bytes_are_those_of_codes_and_little_more():
    index = IVFIndex(DIM, n_lists=30, code="LVQ8")
    index.add(ROWS)
    a_row = DIM + 4 * 4 + 8  # step, low, norm, rho; slot and place
    centres = 30 * (5 * DIM + 60)
    assert index.nbytes <= 3000 * a_row + 30 * 16 * (DIM + 20) + centres + 4000


# The coarse quantiser


def test_a_graph_finds_the_lists_when_there_are_many(monkeypatch, tmp_path):
    scanned = IVFIndex(DIM, "ip", n_lists=300, seed=1)
    scanned.add(ROWS)
    monkeypatch.setattr(listed, "GRAPH_LISTS", 200)
    walked = IVFIndex(DIM, "ip", n_lists=300, seed=1)
    walked.add(ROWS)
    assert isinstance(walked._coarse, inlay.GraphIndex)
    one, other = (index.search(QUERIES, 10, nprobe=40)[1] for index in (scanned, walked))
    assert share(one, other) > 0.97
    walked.save(tmp_path / "walked")
    again = inlay.load(tmp_path / "walked")
    np.testing.assert_array_equal(again.search(QUERIES, 10, nprobe=40)[1], other)
    assert again.to_bytes() == walked.to_bytes()


def test_a_file_with_other_centres_is_refused(made):
    header, sections = inlay.file.read(made().to_bytes())
    other = inlay.LVQIndex(DIM, bits=8, residual_bits=0)
    other.add(ROWS[:29])
    for coarse in (other.to_bytes(), inlay.FlatIndex(DIM).to_bytes(), b"", b"nonsense"):
        wrong = {**sections, "coarse": np.frombuffer(coarse, np.uint8)}
        with pytest.raises(FormatError, match="coarse"):
            IVFIndex.from_bytes(inlay.file.to_bytes(header, wrong))
    with pytest.raises(FormatError, match="centres"):
        IVFIndex.from_bytes(inlay.file.to_bytes(header, {**sections, "centres": sections["centres"][:5]}))


def test_centres_that_are_no_numbers_lead_nowhere(made):
    header, sections = inlay.file.read(made().to_bytes())
    coarse_header, coarse = inlay.file.read(sections["coarse"].tobytes())
    for name, some in {**coarse}.items():
        if some.dtype == np.float32:
            coarse[name] = np.full(some.shape, 3e38 if name in ("centre", "means") else np.nan, np.float32)
    data = np.frombuffer(inlay.file.to_bytes(coarse_header, dict(coarse)), np.uint8)
    index = IVFIndex.from_bytes(inlay.file.to_bytes(header, {**sections, "coarse": data}))
    for queries in (QUERIES[:1], QUERIES):
        assert index.search(queries, 5, nprobe=3)[1].shape == (len(queries), 5)


def test_given_centres_are_taken_as_they_are():
    rows = gaussian(300, 8)
    index = inlay.IVFIndex(8, n_lists=5, code="Flat")
    index.train(rows, centres=rows[:5])
    index.add(rows)
    true = np.argsort(((rows[:9, None] - rows) ** 2).sum(2), axis=1)[:, :3]
    np.testing.assert_array_equal(index.search(rows[:9], 3, nprobe=5)[1], true)
    near = ((rows[:, None] - rows[:5]) ** 2).sum(2).argmin(axis=1)
    lists = index.encode(rows)[:, :4].copy().view("<u4")[:, 0]
    np.testing.assert_array_equal(lists, near)
    for wrong in (rows[:4], rows[:0]):
        with pytest.raises(ValueError, match="centres"):
            inlay.IVFIndex(8, n_lists=5).train(rows, centres=wrong)
    open_number = inlay.IVFIndex(8)
    open_number.train(rows, centres=rows[:7])
    assert open_number.n_lists == 7
