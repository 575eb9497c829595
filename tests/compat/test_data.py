"""Promises of compat.data: one form for all data, exact answers, recall that is fair to ties."""

import numpy as np
import pytest

from compat import data
from compat.data import DataSet, Source

ROWS, DIM, QUERIES = 300, 12, 25


def source(dtype=np.float32, truth=None):
    made = data.clustered(ROWS, DIM, QUERIES, seed=5)
    return Source("made", (made.base * 20).astype(dtype), (made.queries * 20).astype(dtype), truth)


def brute(base, queries, k, metric):
    base, queries = base.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        base = base / np.linalg.norm(base, axis=1, keepdims=True)
    squared = ((queries[:, None] - base[None]) ** 2).sum(axis=2)
    distances = squared if metric == "l2" else -queries @ base.T
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("metric", data.METRICS)
def test_computed_answers_are_the_nearest_rows(tmp_path, metric):
    found = data.prepare(source(), metric, 7, tmp_path)
    assert data.recall(found, brute(source().base, source().queries, 7, metric), 7) == 1.0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
def test_every_accepted_dtype_becomes_float32_of_the_same_value(tmp_path, dtype):
    given = source(dtype)
    prepared = data.prepare(given, "l2", 5, tmp_path)
    assert prepared.base.dtype == np.float32
    np.testing.assert_array_equal(prepared.base, given.base.astype(np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / "queries.npy"), given.queries.astype(np.float32))


def test_cosine_rows_are_unit_length_and_zero_rows_stay_zero(tmp_path):
    given = source()
    given.base[17] = 0
    base = data.prepare(given, "cosine", 5, tmp_path).base
    lengths = np.linalg.norm(base, axis=1)
    assert lengths[17] == 0
    np.testing.assert_allclose(np.delete(lengths, 17), 1, rtol=1e-6)


def test_given_answers_of_another_metric_are_refused(tmp_path):
    given = source()
    wrong = brute(given.base, given.queries, 10, "ip")
    with pytest.raises(ValueError, match="not its nearest rows by l2"):
        data.prepare(Source("made", given.base, given.queries, wrong), "l2", 10, tmp_path)


def test_given_answers_are_used_as_they_are(tmp_path):
    given = source()
    right = brute(given.base, given.queries, 10, "l2")
    prepared = data.prepare(Source("made", given.base, given.queries, right), "l2", 5, tmp_path)
    np.testing.assert_array_equal(prepared.truth, right)


def test_a_limit_cuts_the_rows_and_finds_new_answers(tmp_path):
    given = source()
    everything = brute(given.base, given.queries, 10, "l2")
    prepared = data.prepare(
        Source("made", given.base, given.queries, everything), "l2", 5, tmp_path, limit=100
    )
    assert len(prepared.base) == 100
    assert prepared.truth.max() < 100


def test_equal_rows_are_interchangeable():
    base = np.zeros((6, 3), np.float32)
    base[3:] = 1
    queries = np.zeros((1, 3), np.float32)
    made = DataSet("ties", "l2", base, queries, np.array([[0, 1]]))
    assert data.recall(made, np.array([[2, 1]]), 2) == 1.0
    assert data.recall(made, np.array([[2, 4]]), 2) == 0.5


def test_an_answer_twice_counts_once_and_a_missing_one_not_at_all():
    base = np.arange(12, dtype=np.float32).reshape(4, 3)
    made = DataSet("few", "l2", base, base[:1], np.array([[0, 1, 2]]))
    assert data.recall(made, np.array([[0, 0, 0]]), 3) == pytest.approx(1 / 3)
    assert data.recall(made, np.array([[-1, 1, -1]]), 3) == pytest.approx(1 / 3)
    assert data.recall(made, np.array([[2, 1, 0]]), 3) == 1.0


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (np.zeros((2, 2), np.int64), r"shape \(1, 2\)"),
        (np.zeros((1, 1), np.int64), r"shape \(1, 2\)"),
        (np.array([[0, 4]]), r"-1 \.\. 3"),
        (np.array([[0, -2]]), r"-1 \.\. 3"),
    ],
)
def test_impossible_answers_are_an_error_not_a_low_recall(found, message):
    base = np.arange(12, dtype=np.float32).reshape(4, 3)
    made = DataSet("few", "l2", base, base[:1], np.array([[0, 1]]))
    with pytest.raises(ValueError, match=message):
        data.recall(made, found, 2)


def test_bad_data_is_named(tmp_path):
    given = source()
    holed = given.base.copy()
    holed[42, 3] = np.nan
    with pytest.raises(ValueError, match="row 42 of base"):
        data.prepare(Source("made", holed, given.queries), "l2", 5, tmp_path)
    with pytest.raises(ValueError, match="were both made by one model"):
        data.prepare(Source("made", given.base, given.queries[:, :-1]), "l2", 5, tmp_path)
    with pytest.raises(TypeError, match="complex128"):
        data.prepare(Source("made", given.base.astype(complex), given.queries), "l2", 5, tmp_path)
    with pytest.raises(ValueError, match="only 300 rows"):
        data.prepare(given, "l2", 301, tmp_path)
    with pytest.raises(ValueError, match="at least"):
        data.prepare(Source("made", given.base, given.queries, np.zeros((QUERIES, 2))), "l2", 5, tmp_path)


def test_the_three_ways_to_give_files_read_the_same_data(tmp_path):
    given = source()
    right = brute(given.base, given.queries, 10, "l2")
    parts = {"base": given.base, "query": given.queries, "gt": right}
    for part, array in parts.items():
        np.save(tmp_path / f"set_{part}.npy", array)
    np.savez(tmp_path / "packed.npz", **parts)
    ways = [
        data.from_files(*(tmp_path / f"set_{part}.npy" for part in parts)),
        data.from_files(tmp_path / "packed.npz", None, None),
        data.from_folder(tmp_path, "set"),
        data.from_folder(tmp_path, "packed"),
    ]
    for way in ways:
        np.testing.assert_array_equal(way.base, given.base)
        np.testing.assert_array_equal(way.queries, given.queries)
        np.testing.assert_array_equal(way.truth, right)


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"neither nobody\.npz or \.hdf5 nor nobody_base\.npy"):
        data.from_folder(tmp_path, "nobody")
    np.savez(tmp_path / "half.npz", base=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="'base' and 'query'"):
        data.from_files(tmp_path / "half.npz", None, None)
    with pytest.raises(ValueError, match="brings its own queries"):
        data.from_files(tmp_path / "half.npz", tmp_path / "other.npy", None)
    np.save(tmp_path / "rows.npy", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="--queries"):
        data.from_files(tmp_path / "rows.npy", None, None)


@pytest.mark.parametrize("make", [data.clustered, data.outliers])
def test_made_up_data_is_the_same_every_time(make):
    one, two, other = make(200, 24, 10, 3), make(200, 24, 10, 3), make(200, 24, 10, 4)
    np.testing.assert_array_equal(one.base, two.base)
    assert one.base.shape == (200, 24)
    assert one.queries.shape == (10, 24)
    assert not np.array_equal(one.base, other.base)


def test_a_fingerprint_tells_data_and_metric_apart(tmp_path):
    given = source()
    prepared = data.prepare(given, "l2", 5, tmp_path)
    changed = prepared.base.copy()
    changed[250, 3] += 1
    others = [
        DataSet("made", "ip", prepared.base, prepared.queries, prepared.truth),
        DataSet("made", "l2", changed, prepared.queries, prepared.truth),
    ]
    again = DataSet("renamed", "l2", np.array(prepared.base), prepared.queries, prepared.truth)
    assert again.fingerprint() == prepared.fingerprint()
    assert prepared.fingerprint() not in {other.fingerprint() for other in others}


def hdf5(path, distance, **arrays):
    h5py = pytest.importorskip("h5py", reason="it reads such files")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        if distance is not None:
            file.attrs["distance"] = distance
    return path


@pytest.mark.parametrize(
    ("distance", "metric"), [("euclidean", "l2"), ("angular", "cosine"), ("dot", "ip"), (None, None)]
)
def test_a_file_of_ann_benchmarks_says_its_metric_and_answers(tmp_path, distance, metric):
    made = data.clustered(300, 8, 10, seed=1)
    unit = made.base / np.linalg.norm(made.base, axis=1, keepdims=True)
    units = made.queries / np.linalg.norm(made.queries, axis=1, keepdims=True)
    rows, queries = (unit, units) if metric == "cosine" else (made.base, made.queries)
    truth = data.exact(rows, queries, 10, metric or "l2").astype(np.int32)
    path = hdf5(tmp_path / "set.hdf5", distance, train=made.base, test=made.queries, neighbors=truth)
    for found in (data.from_files(path, None, None), data.from_folder(tmp_path, "set")):
        assert (found.name, found.metric) == ("set", metric)
        prepared = data.prepare(found, metric or "l2", 10, tmp_path)
        np.testing.assert_array_equal(prepared.truth, truth)
        np.testing.assert_allclose(prepared.base, rows, rtol=1e-6)


def test_a_file_of_another_layout_or_distance_is_refused(tmp_path):
    rows = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match="needs 'train' and 'test'"):
        data.from_files(hdf5(tmp_path / "a.hdf5", None, train=rows), None, None)
    with pytest.raises(ValueError, match="distance 'jaccard'"):
        data.from_files(hdf5(tmp_path / "b.hdf5", "jaccard", train=rows, test=rows), None, None)
    with pytest.raises(ValueError, match="its own queries"):
        data.from_files(tmp_path / "b.hdf5", tmp_path / "q.npy", None)
