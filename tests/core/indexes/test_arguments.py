"""What every index takes from outside, and what it refuses before anything changes."""

import numpy as np
import pytest
from core.indexes.forms import METRICS, gaussian

import inlay
from inlay import IdFilter

DIM = 6


def strided(rows):
    wide = np.full((2 * len(rows), 3 * rows.shape[1]), np.nan, np.float32)
    wide[::2, 1::3] = rows
    return wide[::2, 1::3]


def read_only(rows):
    rows = rows.copy()
    rows.flags.writeable = False
    return rows


def unaligned(rows):
    memory = np.zeros(rows.nbytes + 1, np.uint8)
    view = memory[1:].view(np.float32).reshape(rows.shape)
    view[:] = rows
    assert not view.flags.aligned
    return view


def mapped(rows, folder):
    memory = np.memmap(folder / "rows", np.float32, "w+", shape=rows.shape)
    memory[:] = rows
    return memory


KINDS = {
    "lists": lambda rows: rows.tolist(),
    "a tuple of arrays": tuple,
    "float64": lambda rows: rows.astype(np.float64),
    "float16": lambda rows: rows.astype(np.float16),
    "long double": lambda rows: rows.astype(np.longdouble),
    "int8": lambda rows: rows.astype(np.int8),
    "int64": lambda rows: rows.astype(np.int64),
    "uint16": lambda rows: (rows + 8).astype(np.uint16),
    "strided": strided,
    "backwards": lambda rows: np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1],
    "Fortran order": np.asfortranarray,
    "read-only": read_only,
    "big-endian": lambda rows: rows.astype(">f4"),
    "unaligned": unaligned,
}


@pytest.fixture
def whole() -> np.ndarray:
    """Rows that every dtype holds."""
    return np.random.default_rng(0).integers(-8, 8, (70, DIM)).astype(np.float32)


@pytest.mark.parametrize("kind", [*KINDS, "memory map"])
def test_rows_and_queries_of_any_kind_are_taken_as_float32(form, whole, kind, tmp_path):
    given = mapped(whole, tmp_path) if kind == "memory map" else KINDS[kind](whole)
    plain = np.array(given, np.float32)
    for metric in METRICS:
        index, expected = form.untrained(DIM, metric), form.untrained(DIM, metric)
        index.train(given)
        index.add(given[:50])
        index.upsert(given[50:], range(40, 60))
        expected.train(plain)
        expected.add(plain[:50])
        expected.upsert(plain[50:], range(40, 60))
        assert index.to_bytes() == expected.to_bytes()
        for one, other in zip(index.search(given, 4), expected.search(plain, 4), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(index.range_search(given, 3), expected.range_search(plain, 3), strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(given, plain)


def test_what_was_given_is_copied(form, metric, whole):
    index = form.filled(whole, metric)
    before = index.to_bytes()
    whole[:] = 0
    assert index.to_bytes() == before
    ids = np.arange(100, 170)
    index.add(whole, ids)
    before = index.to_bytes()
    ids[:] = 0
    assert index.to_bytes() == before
    index.search(whole, 3)[1][:] = 0
    index.ids[:] = 0
    assert index.to_bytes() == before


BAD_ROWS = {
    "bool": (np.ones((2, DIM), bool), TypeError, "real numbers, not bool"),
    "complex": (np.ones((2, DIM), complex), TypeError, "real numbers, not complex128"),
    "text": (np.full((2, DIM), "1"), TypeError, "real numbers"),
    "bytes": (b"123456", TypeError, "real numbers"),
    "objects": (np.full((2, DIM), None), TypeError, "real numbers"),
    "dates": (np.zeros((2, DIM), "M8[s]"), TypeError, "real numbers"),
    "nothing": (None, TypeError, "real numbers"),
    "ragged": ([[1.0] * DIM, [1.0]], ValueError, "do not form an array"),
    "a number": (1.0, ValueError, "dimensions"),
    "three dimensions": (np.ones((2, 1, DIM)), ValueError, "must have two dimensions"),
    "too few dimensions": (np.ones((2, DIM - 1)), ValueError, "have 5 dimensions but the index has 6"),
    "too many dimensions": (np.ones((2, DIM + 1)), ValueError, "have 7 dimensions but the index has 6"),
    "no dimensions": (np.ones((2, 0)), ValueError, "have 0 dimensions but the index has 6"),
}


def spoiled(value, at, n=400):
    rows = np.ones((n, DIM))
    rows[at, at % DIM] = value
    return rows


# The last one is finite, but not as float32.
NOT_FINITE = {"NaN": np.nan, "infinite": np.inf, "minus infinite": -np.inf, "beyond float32": 1e39}
for name, value in NOT_FINITE.items():
    for at in (0, 1, 77, 399):
        BAD_ROWS[f"{name} in row {at}"] = (spoiled(value, at), ValueError, f"row {at} of .* NaN or infinite")


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_are_refused_before_anything_changes(form, kind):
    rows, error, message = BAD_ROWS[kind]
    index = form.filled(gaussian(20, DIM))
    empty = form.untrained(DIM)
    before, nothing = index.to_bytes(), empty.to_bytes()
    for call in (
        lambda: empty.train(rows),
        lambda: empty.add(rows),
        lambda: index.add(rows),
        lambda: index.upsert(rows, [100, 101]),
        lambda: index.search(rows, 3),
        lambda: index.range_search(rows, 3.0),
        lambda: index.search_and_reconstruct(rows, 3),
    ):
        with pytest.raises(error, match=message):
            call()
    assert (index.to_bytes(), empty.to_bytes()) == (before, nothing)


def test_a_single_row_is_not_a_batch_of_rows(form):
    index = form.empty(DIM)
    for call in (index.add, index.train, lambda row: index.upsert(row, [1])):
        with pytest.raises(ValueError, match=r"must have two dimensions \(n, 6\), not shape \(6,\)"):
            call(np.ones(DIM))
    assert len(index) == 0


@pytest.mark.parametrize("k", [0, -1, np.int8(-3), -(2**70), 2**70])
def test_k_out_of_range_is_refused(form, k):
    index = form.filled(gaussian(20, DIM))
    for call in (index.search, index.search_and_reconstruct):
        with pytest.raises(ValueError, match="k must be at "):
            call(np.ones(DIM), k)


@pytest.mark.parametrize("k", [2.0, "3", None, True, np.bool_(True), [2], np.float32(2)])
def test_k_of_another_type_is_refused(form, k):
    index = form.filled(gaussian(20, DIM))
    for call in (index.search, index.search_and_reconstruct):
        with pytest.raises(TypeError, match="k must be an integer"):
            call(np.ones(DIM), k)


def test_numpy_integers_count_as_integers(form):
    index = inlay.from_spec(form.spec, np.int32(DIM), seed=np.uint8(3), **form.options)
    assert (type(index.dim), type(index.seed)) == (int, int)
    index.add(gaussian(20, DIM))
    for k in (np.int64(3), np.uint8(3), np.array(3)):
        assert index.search(np.ones(DIM), k)[1].shape == (1, 3)
    assert np.int16(3) in index


def test_unknown_effort_is_refused(form):
    index = form.filled(gaussian(20, DIM))
    known = ", ".join(type(index).EFFORT) or "it has none"
    for call in (index.search, index.search_and_reconstruct):
        with pytest.raises(TypeError, match=rf"has no effort 'patience'; .*{known}"):
            call(np.ones(DIM), 3, patience=4)
    for name in type(index).EFFORT:
        for wrong, error in ((-1, ValueError), (1.5, TypeError), ("1", TypeError), (True, TypeError)):
            with pytest.raises(error, match=name):
                index.search(np.ones(DIM), 3, **{name: wrong})
            with pytest.raises(error, match=name):
                setattr(index, name, wrong)
        # More than there are is all there are.
        most = index.search(np.ones(DIM), 3, **{name: 2**62})
        np.testing.assert_array_equal(most, index.search(np.ones(DIM), 3, **{name: 1000}))


def test_effort_is_an_attribute_and_an_argument(form):
    index = form.filled(gaussian(200, DIM))
    query = gaussian(5, DIM, seed=1)
    for name in type(index).EFFORT:
        for value in (0, 7, None, np.int16(60)):
            by_argument = index.search(query, 9, **{name: value})
            setattr(index, name, value)
            assert getattr(index, name) == value
            np.testing.assert_array_equal(index.search(query, 9), by_argument)


def test_unknown_attributes_are_refused(form):
    index = form.empty(DIM)
    for name in ("nprobes", "patience", "Rerank"):
        with pytest.raises(AttributeError):
            setattr(index, name, 3)
    # How much effort linking takes may change from one batch to the next.
    fixed = set(type(index).OPTIONS) - {"ef_construction"}
    for name in ("dim", "metric", "seed", "ids", "spec", "nbytes", "is_trained", *sorted(fixed)):
        with pytest.raises(AttributeError):
            setattr(index, name, 3)


def test_bad_constructor_arguments_are_refused(form):
    def make(dim=DIM, metric="l2", **options):
        return inlay.from_spec(form.spec, dim, metric, **{**form.options, **options})

    for dim in (0, -4, 2**70):
        with pytest.raises(ValueError, match="dim must be"):
            make(dim)
    for dim in (4.0, "4", None, True):
        with pytest.raises(TypeError, match="dim must be"):
            make(dim)
    for metric in ("L2", "euclidean", "", None, 3, ["l2"]):
        with pytest.raises(ValueError, match="metric must be one of l2, ip, cosine"):
            make(metric=metric)
    for seed, error in ((-1, ValueError), (0.5, TypeError), (None, TypeError), ("0", TypeError)):
        with pytest.raises(error, match="seed must be"):
            make(seed=seed)
    with pytest.raises(TypeError, match="patience"):
        make(patience=3)


# Ids

BAD_IDS = {
    "known": ([100, 7], ValueError, "id 7 is in the index already"),
    "twice": ([100, 100], ValueError, "id 100 is given twice"),
    "too few": ([100], ValueError, "2 rows were given with 1 ids"),
    "too many": ([100, 101, 102], ValueError, "2 rows were given with 3 ids"),
    "minus one": ([100, -1], ValueError, "id -1 stands for a missing result"),
    "two dimensions": ([[100], [101]], ValueError, "one dimension"),
    "a number": (100, ValueError, "one dimension"),
    "fractions": ([100.5, 101], TypeError, "integers"),
    "not a number": ([100, np.nan], TypeError, "integers"),
    "text": (["100", "101"], TypeError, "integers"),
    "bool": ([True, False], TypeError, "integers"),
    "none": ([None, None], TypeError, "integers"),
    "too large": (np.array([2**63, 5], np.uint64), ValueError, "64 bits"),
    "too large for exact floats": ([1e300, 5], ValueError, "not exact"),
}


@pytest.mark.parametrize("kind", BAD_IDS)
@pytest.mark.parametrize("stored", [False, True])
def test_bad_ids_are_refused_before_anything_changes(form, kind, stored):
    given, error, message = BAD_IDS[kind]
    index = form.filled(gaussian(20, DIM), ids=range(19, -1, -1) if stored else None)
    before = index.to_bytes()
    with pytest.raises(error, match=message):
        index.add(gaussian(2, DIM, seed=1), given)
    if kind != "known":
        with pytest.raises(error, match=message):
            index.upsert(gaussian(2, DIM, seed=1), given)
    if error is TypeError and kind != "bool":
        for call in (index.remove, index.contains, index.reconstruct, IdFilter):
            with pytest.raises(TypeError, match=message):
                call(given)
        with pytest.raises(TypeError, match=message):
            index.search(np.ones(DIM), 3, allowed=given)
    assert index.to_bytes() == before


@pytest.mark.parametrize(
    "ids",
    [
        [3, 1, 2],
        (3, 1, 2),
        np.array([3, 1, 2], np.uint8),
        np.array([3.0, 1.0, 2.0]),
        np.array([3, 1, 2], ">i4"),
    ],
    ids=lambda ids: f"{type(ids).__name__} {getattr(ids, 'dtype', '')}",
)
def test_ids_of_any_whole_kind_are_taken_as_int64(form, ids):
    index = form.empty(DIM)
    chosen = index.add(gaussian(3, DIM), ids)
    assert (chosen.dtype, chosen.tolist(), index.ids.tolist()) == (np.int64, [3, 1, 2], [3, 1, 2])
    assert index.contains(ids).all()
    assert index.search(np.ones(DIM), 3, allowed=ids)[1].min() == 1
    assert index.upsert(gaussian(3, DIM), ids).tolist() == [3, 1, 2]
    assert index.remove(ids) == 3


def test_the_largest_and_smallest_ids_are_ids_like_others(form):
    extremes = [2**63 - 1, -(2**63), 0, -2]
    for ids in (extremes, [2**63 - 1], [-(2**63)], [2**63 - 2, 2**63 - 1], [-3, -2]):
        index = form.empty(DIM)
        index.add(gaussian(len(ids), DIM), ids)
        for opened in (index, type(index).from_bytes(index.to_bytes())):
            assert opened.ids.tolist() == ids
            assert opened.contains([*ids, 5]).tolist() == [True] * len(ids) + [False]
            found = opened.search(np.ones(DIM), 9)[1][0].tolist()
            assert sorted(found[: len(ids)]) == sorted(ids)
            assert found[len(ids) :] == [-1] * (9 - len(ids))
            limits, _, found = opened.range_search(np.ones(DIM), 1e9, allowed=ids)
            assert (limits[-1], sorted(found.tolist())) == (len(ids), sorted(ids))
        if 2**63 - 1 in ids:
            assert index.add(np.empty((0, DIM))).tolist() == []
            with pytest.raises(ValueError, match="no ids left"):
                index.add(gaussian(1, DIM))
            index.add(gaussian(1, DIM), [17])
        else:
            assert index.add(gaussian(1, DIM)).tolist() == [0]


def test_bad_filters_are_refused(form):
    index = form.filled(gaussian(20, DIM))
    for allowed, error in (
        (np.ones(19, bool), ValueError),
        (np.ones(21, bool), ValueError),
        (np.ones((20, 1), bool), ValueError),
        (True, ValueError),
        ([[1, 2]], ValueError),
        (3, ValueError),
        ([1.5], TypeError),
        (["1"], TypeError),
    ):
        with pytest.raises(error, match=r"mask|ids"):
            index.search(np.ones(DIM), 3, allowed=allowed)
        with pytest.raises(error, match=r"mask|ids"):
            index.range_search(np.ones(DIM), 3.0, allowed=allowed)
        with pytest.raises(error, match=r"mask|ids"):
            index.remove(allowed)
    assert len(index) == 20


def test_a_radius_is_a_number(form):
    index = form.filled(gaussian(20, DIM))
    for radius, error in ((np.nan, ValueError), ("3", TypeError), (None, TypeError), ([1.0, 2.0], TypeError)):
        with pytest.raises(error, match="radius must be"):
            index.range_search(np.ones(DIM), radius)
    for radius in (3, np.float64(3), np.int8(3), 3.0):
        limits = index.range_search(np.ones(DIM), radius)[0]
        assert limits.tolist() == index.range_search(np.ones(DIM), 3.0)[0].tolist()


@pytest.mark.parametrize("progress", [3, "yes", [1]])
def test_progress_of_another_type_is_refused_before_anything_changes(form, progress):
    index = form.untrained(DIM)
    before = index.to_bytes()
    with pytest.raises(TypeError, match="progress must be"):
        index.add(gaussian(20, DIM), progress=progress)
    assert index.to_bytes() == before
