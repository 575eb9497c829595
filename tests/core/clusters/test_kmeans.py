import itertools
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import inlay
from inlay.clusters import assign, kmeans


def blobs(n, dim, n_blobs, *, spread=0.1, seed=0):
    """Rows around `n_blobs` points, every blob with the same number of rows (give or take one)."""
    rng = np.random.default_rng(seed)
    middles = 3 * rng.standard_normal((n_blobs, dim))
    return (middles[np.arange(n) % n_blobs] + spread * rng.standard_normal((n, dim))).astype("f4")


def all_distances(rows, centres):
    """Squared distances of all rows to all centres, by their definition."""
    return np.square(rows[:, None].astype("f8") - centres.astype("f8")).sum(axis=2)


def objective(rows, centres):
    return all_distances(rows, centres).min(axis=1).sum()


# Whole numbers make many rows equal and many centres equally near.
whole_rows = hnp.arrays("f4", st.tuples(st.integers(1, 30), st.integers(1, 5)), elements=st.integers(-3, 3))
real_rows = hnp.arrays(
    "f4", st.tuples(st.integers(1, 30), st.integers(1, 20)), elements=st.floats(-1e3, 1e3, width=32)
)


@given(rows=whole_rows | real_rows, data=st.data())
def test_assign_equals_its_definition_and_prefers_the_lower_index(rows, data):
    elements = st.integers(-3, 3) | st.floats(-1e3, 1e3, width=32)
    n_centres = data.draw(st.integers(1, 8))
    centres = data.draw(hnp.arrays("f4", (n_centres, rows.shape[1]), elements=elements))
    labels, distances = assign(rows, centres)
    exact = all_distances(rows, centres)
    assert labels.dtype == np.int32
    assert distances.dtype == np.float32
    assert labels.shape == distances.shape == (len(rows),)
    # Sums in another order differ in the last bits of a float64: only a true tie is decided by the index.
    chosen = exact[np.arange(len(rows)), labels]
    np.testing.assert_allclose(chosen, exact.min(axis=1), rtol=1e-12, atol=0)
    np.testing.assert_allclose(distances, chosen, rtol=1e-5, atol=1e-30)
    if np.array_equal(rows, np.rint(rows)) and np.array_equal(centres, np.rint(centres)):
        np.testing.assert_array_equal(labels, exact.argmin(axis=1))


@pytest.mark.parametrize("n_centres", [2, 65, 300])
def test_among_equal_centres_the_first_is_taken_wherever_they_stand(n_centres):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((500, 100), "f4")
    centres = np.repeat(rng.standard_normal((1, 100), "f4"), n_centres, axis=0)
    assert not assign(rows, centres)[0].any()
    # Mirrored around the origin: all rows lie in the plane between the two, so each tie is exact.
    rows[:, 0] = 0
    centres[:] = 50
    centres[-2:] = 0
    centres[-2:, 0] = 1, -1
    assert (assign(rows, centres)[0] == n_centres - 2).all()


@pytest.mark.parametrize("shift", [0, 100, 1e4])
def test_labels_and_distances_are_exact_far_from_the_origin(shift):
    rng = np.random.default_rng(4)
    rows = (shift + rng.standard_normal((400, 64))).astype("f4")
    centres = (shift + rng.standard_normal((50, 64))).astype("f4")
    labels, distances = assign(rows, centres)
    exact = all_distances(rows, centres)
    np.testing.assert_array_equal(labels, exact.argmin(axis=1))
    np.testing.assert_allclose(distances, exact.min(axis=1), rtol=1e-5)


def test_one_far_centre_does_not_blur_the_others():
    rows = blobs(300, 32, 20, spread=0.5)
    centres = np.concatenate([kmeans(rows, 20, seed=0), np.full((1, 32), 1e6, "f4")])
    np.testing.assert_array_equal(assign(rows, centres)[0], all_distances(rows, centres).argmin(axis=1))


@pytest.mark.parametrize("scale", [1e-22, 1e-30])
def test_rows_too_small_for_their_squares_are_told_apart(scale):
    rng = np.random.default_rng(7)
    rows = (scale * rng.standard_normal((300, 8))).astype("f4")
    centres = (scale * rng.standard_normal((20, 8))).astype("f4")
    np.testing.assert_array_equal(assign(rows, centres)[0], all_distances(rows, centres).argmin(axis=1))


@pytest.mark.parametrize("block", [1, 2, 7, 64, 10_000])
def test_the_block_size_changes_no_result(block):
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((1500, 48), "f4")
    centres = rng.standard_normal((33, 48), "f4")
    whole = assign(rows, centres)
    for found, expected in zip(assign(rows, centres, block=block), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_middle_between_two_centres_is_decided_alike_in_every_block():
    rng = np.random.default_rng(6)
    centres = rng.standard_normal((40, 96), "f4")
    pairs = rng.integers(40, size=(600, 2))
    rows = (centres[pairs[:, 0]] + centres[pairs[:, 1]]) / 2
    expected = assign(rows, centres)[0]
    for block in (1, 3, 100):
        np.testing.assert_array_equal(assign(rows, centres, block=block)[0], expected)


def test_no_rows_have_no_labels():
    labels, distances = assign(np.empty((0, 3), "f4"), np.ones((2, 3), "f4"))
    assert len(labels) == len(distances) == 0


def test_memory_is_bounded_by_the_block_and_not_by_the_rows():
    rows = np.zeros((1 << 17, 32), "f4")
    centres = np.random.default_rng(0).standard_normal((256, 32), "f4")
    tracemalloc.start()
    assign(rows, centres)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < rows.nbytes / 2  # all scores at once would take eight times the rows


# kmeans


@settings(deadline=None)
@given(rows=whole_rows | real_rows, n_clusters=st.integers(1, 12), seed=st.integers(0, 99))
def test_more_iterations_never_make_it_worse(rows, n_clusters, seed):
    steps = [objective(rows, kmeans(rows, n_clusters, seed=seed, iterations=i)) for i in (1, 2, 3, 5, 20)]
    slack = 1e-6 * (1 + np.square(rows.astype("f8")).sum())  # centres are rounded to float32
    assert all(later <= earlier + slack for earlier, later in itertools.pairwise(steps))


@settings(deadline=None)
@given(rows=whole_rows, n_clusters=st.integers(1, 40), seed=st.integers(0, 99))
def test_as_many_centres_as_asked_all_different_while_the_rows_are(rows, n_clusters, seed):
    centres = kmeans(rows, n_clusters, seed=seed)
    assert centres.shape == (n_clusters, rows.shape[1])
    assert centres.dtype == np.float32
    assert np.isfinite(centres).all()
    n_different = len(np.unique(rows, axis=0))
    if n_clusters >= n_different:
        assert objective(rows, centres) == 0
        assert set(map(bytes, centres)) == set(map(bytes, rows + 0))
    else:
        assert len(np.unique(assign(rows, centres)[0])) == n_clusters


@given(rows=real_rows, seed=st.integers(0, 99))
def test_the_centre_of_one_cluster_is_the_mean(rows, seed):
    expected = rows.mean(axis=0, dtype="f8").astype("f4")
    np.testing.assert_array_equal(kmeans(rows, 1, seed=seed)[0], expected)


def test_each_centre_is_the_mean_of_its_rows_once_it_stops():
    rows = blobs(2000, 8, 30, spread=1)
    centres = kmeans(rows, 30, seed=1, iterations=500)
    labels, _ = assign(rows, centres)
    for cluster in range(30):
        np.testing.assert_array_equal(
            centres[cluster], rows[labels == cluster].mean(axis=0, dtype="f8").astype("f4")
        )


def test_separate_blobs_are_found():
    rows = blobs(3000, 16, 12, spread=0.05)
    labels, distances = assign(rows, kmeans(rows, 12, seed=0, iterations=50))
    assert len({(blob, label) for blob, label in zip(np.arange(3000) % 12, labels, strict=True)}) == 12
    assert distances.max() < 16 * (6 * 0.05) ** 2


def test_the_same_seed_gives_the_same_centres_and_another_seed_others():
    rows = blobs(3000, 24, 40, spread=2)
    first = kmeans(rows, 40, seed=7)
    np.testing.assert_array_equal(first, kmeans(rows, 40, seed=7))
    assert not np.array_equal(first, kmeans(rows, 40, seed=8))


def test_the_number_of_blas_threads_changes_nothing():
    script = (
        "import sys, numpy as np\n"
        "from inlay.clusters import kmeans\n"
        "rows = np.random.default_rng(1).standard_normal((4000, 200), 'f4')\n"
        "sys.stdout.buffer.write(kmeans(rows, 150, seed=1, iterations=4).tobytes())\n"
    )
    results = set()
    for n in ("1", "2"):
        limits = {"OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n, "MKL_NUM_THREADS": n}
        command = [sys.executable, "-c", script]
        results.add(subprocess.run(command, env=os.environ | limits, check=True, capture_output=True).stdout)
    assert len(results) == 1
    assert len(results.pop()) == 150 * 200 * 4


def test_a_rare_far_group_that_seeding_did_not_sample_still_gets_its_centres():
    # All but four of 20,000 rows are equal: so are, most likely, the seeds, and empty clusters are refilled.
    rows = np.zeros((20_000, 4), "f4")
    rows[[5, 500, 5_000, 19_999]] = 10 * np.eye(4, dtype="f4")
    centres = kmeans(rows, 5, seed=0, iterations=20)
    assert objective(rows, centres) == 0


def test_constant_rows_give_that_row_as_every_centre():
    rows = np.full((5000, 6), 1 / 3, "f4")
    np.testing.assert_array_equal(kmeans(rows, 4, seed=0), rows[:4])


def test_one_dimension_is_split_like_any_other():
    rows = np.concatenate([np.linspace(0, 1, 100), np.linspace(10, 11, 100)]).astype("f4")[:, None]
    np.testing.assert_allclose(np.sort(kmeans(rows, 2, seed=0), axis=0), [[0.5], [10.5]], atol=1e-6)


@pytest.mark.parametrize("dtype", ["f2", "f8", "u1", ">f4"])
def test_other_dtypes_are_clustered_as_float32(dtype):
    rows = np.rint(blobs(500, 8, 5, spread=1) * 4 + 100).astype(dtype)
    expected = kmeans(rows.astype("f4"), 5, seed=0)
    np.testing.assert_array_equal(kmeans(rows, 5, seed=0), expected)
    for found, wanted in zip(assign(rows, expected), assign(rows.astype("f4"), expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_rows_are_left_as_they_were():
    rows = blobs(200, 4, 3)
    before = rows.copy()
    rows.flags.writeable = False
    centres = kmeans(rows, 200, seed=0)
    assert centres.flags.writeable
    np.testing.assert_array_equal(rows, before)


def test_progress_counts_iterations_to_the_end():
    calls = []
    kmeans(blobs(300, 4, 3), 3, seed=0, iterations=9, progress=lambda *call: calls.append(call))
    assert calls[0] == (1, 9)
    assert calls[-1] == (9, 9)


@pytest.mark.parametrize(
    ("shape", "n_clusters", "iterations"),
    [((5,), 2, 3), ((0, 4), 2, 3), ((5, 0), 2, 3), ((5, 4), 0, 3), ((5, 4), 2, 0)],
)
def test_arguments_without_meaning_are_refused(shape, n_clusters, iterations):
    with pytest.raises(ValueError, match="must"):
        kmeans(np.zeros(shape, "f4"), n_clusters, seed=0, iterations=iterations)


def test_rows_and_centres_that_do_not_fit_are_refused():
    rows = np.zeros((5, 4), "f4")
    with pytest.raises(ValueError, match="4 dimensions but centres have 3"):
        assign(rows, np.zeros((2, 3), "f4"))
    with pytest.raises(ValueError, match="centres"):
        assign(rows, np.zeros((0, 4), "f4"))
    with pytest.raises(ValueError, match="block"):
        assign(rows, rows, block=0)


# Spherical


def directions(rows):
    lengths = np.linalg.norm(rows.astype("f8"), axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros(rows.shape), where=lengths > 0)


@given(rows=whole_rows | real_rows, data=st.data())
def test_spherical_assignment_takes_the_largest_product(rows, data):
    n_centres = data.draw(st.integers(1, 8))
    elements = st.integers(-3, 3) | st.floats(-1e3, 1e3, width=32)
    centres = data.draw(hnp.arrays("f4", (n_centres, rows.shape[1]), elements=elements))
    labels, costs = assign(rows, centres, spherical=True)
    products = rows.astype("f8") @ centres.astype("f8").T
    chosen = products[np.arange(len(rows)), labels]
    near = 1e-12 * np.abs(rows).max(initial=0) * np.abs(centres).max() * rows.shape[1]
    np.testing.assert_allclose(chosen, products.max(axis=1), rtol=1e-12, atol=near)
    lengths = np.linalg.norm(rows.astype("f8"), axis=1)
    np.testing.assert_allclose(
        costs, np.maximum(lengths - chosen, 0), rtol=1e-5, atol=1e-6 * (1 + np.abs(chosen).max())
    )
    if np.array_equal(rows, np.rint(rows)) and np.array_equal(centres, np.rint(centres)):
        np.testing.assert_array_equal(labels, products.argmax(axis=1))


def test_spherical_centres_are_the_directions_of_their_rows():
    rows = blobs(1500, 8, 12, spread=1)
    rows[::50] = 0
    centres = kmeans(rows, 12, seed=1, iterations=200, spherical=True)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-6)
    labels, _ = assign(rows, centres, spherical=True)
    for cluster in range(12):
        total = rows[labels == cluster].sum(axis=0, dtype="f8")
        np.testing.assert_allclose(centres[cluster], total / np.linalg.norm(total), atol=1e-6)


# The public class


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_a_fit_predicts_what_assign_says(metric):
    rows = blobs(900, 6, 7, spread=1)
    clusters = inlay.KMeans(7, metric, seed=3).fit(rows.tolist())
    used = directions(rows).astype("f4") if metric == "cosine" else rows
    labels, costs = assign(used, clusters.centres, spherical=metric != "l2")
    np.testing.assert_array_equal(clusters.predict(rows), labels)
    assert clusters.predict(rows).dtype == np.int32
    assert costs.sum(dtype="f8") <= clusters.inertia * (1 + 1e-6)
    np.testing.assert_array_equal(inlay.KMeans(7, metric, seed=3).fit(rows).centres, clusters.centres)
    assert repr(clusters) == f"KMeans(7, '{metric}')"


def test_fit_looks_at_so_many_rows_a_cluster():
    rows = blobs(4000, 4, 3, spread=1)
    few = inlay.KMeans(3, rows_a_cluster=50, iterations=30).fit(rows)
    assert few.inertia < inlay.KMeans(3, iterations=30, rows_a_cluster=10_000).fit(rows).inertia / 10
    np.testing.assert_allclose(np.sort(few.centres, axis=0), np.sort(blob_means(rows, 3), axis=0), atol=1)


def blob_means(rows, n_blobs):
    return np.stack([rows[i::n_blobs].mean(axis=0) for i in range(n_blobs)])


def test_seeds_drawn_together_cost_little(monkeypatch):
    rows = blobs(2000, 8, 60, spread=1)
    one_by_one = inlay.KMeans(60).fit(rows).inertia
    monkeypatch.setattr(sys.modules["inlay.clusters.kmeans"], "_SEED_ROUNDS", 20)
    assert inlay.KMeans(60).fit(rows).inertia < 1.05 * one_by_one


def test_km_refuses_what_has_no_meaning():
    with pytest.raises(ValueError, match="metric"):
        inlay.KMeans(3, "l1")
    with pytest.raises(ValueError, match="n_clusters"):
        inlay.KMeans(0)
    with pytest.raises(RuntimeError, match="fit"):
        inlay.KMeans(3).predict([[1.0]])
    clusters = inlay.KMeans(2)
    for wrong in (np.zeros((0, 3)), np.zeros((3, 0)), [[1.0, np.nan]], np.zeros(3)):
        with pytest.raises(ValueError, match=r"row|shape"):
            clusters.fit(wrong)
    clusters.fit(np.eye(3))
    with pytest.raises(ValueError, match="dimensions"):
        clusters.predict(np.eye(2))


def test_weights_count_rows_as_often():
    rows = np.random.default_rng(3).standard_normal((200, 4)).astype(np.float32)
    weights = np.random.default_rng(4).integers(1, 4, 200).astype(np.float32)
    costs: list[float] = []
    weighted = kmeans(rows, 5, seed=0, start=rows[:5], weights=weights, costs=costs)
    repeated = kmeans(np.repeat(rows, weights.astype(int), axis=0), 5, seed=0, start=rows[:5])
    np.testing.assert_allclose(weighted, repeated, atol=1e-5)
    nearest = np.square(rows[:, None].astype(np.float64) - rows[None, :5]).sum(2).min(axis=1)
    assert costs[0] == pytest.approx((nearest * weights).sum(), rel=1e-5)
    assert (np.diff(costs) <= 1e-6 * costs[0]).all()
