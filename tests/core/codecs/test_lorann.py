import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_lorann as reference
from inlay.codecs import lorann
from inlay.codecs.lorann_encode import decode, encode
from inlay.codecs.lorann_fit import apart, coefficients, projection, reduced_rank
from inlay.codecs.lorann_scorer import LorannScorer
from tests.awkward import seeds

sizes = st.sampled_from([1, 2, 7, 31, 33, 64])


def drawn(m, size, seed=0, decay=0.5):
    """Rows (m, size) whose coordinates fall off, turned at random."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((size, size)))[0]
    return rng.standard_normal((m, size)) * np.arange(1, size + 1) ** -decay @ turn


# The model


@given(m=sizes, size=sizes, rank=st.integers(1, 40), own=st.booleans(), seed=seeds)
def test_the_model_is_the_best_of_its_rank(m, size, rank, own, seed):
    rows, queries = drawn(m, size, seed), drawn(3 * size, size, seed + 1, 0.0)
    queries = rows if own else queries
    moments = None if own else queries.T @ queries
    left = reduced_rank(rows, moments, rank)
    assert left.shape == (size, rank)
    right = coefficients(left, rows, moments)[0].T
    found = reference.loss(rows, queries, left, right)
    scale = np.linalg.norm(queries @ rows.T)
    assert found <= reference.least_loss(rows, queries, rank) + 1e-3 * scale
    assert found <= reference.loss(rows, queries, *reference.reduced_rank(rows, queries, rank)) + 1e-3 * scale
    # Fitted to other queries it is no worse than the singular value decomposition of the rows.
    assert found <= reference.loss(rows, queries, *reference.reduced_rank(rows, rows, rank)) + 1e-3 * scale


@pytest.mark.parametrize("m", [20, 200])
def test_with_full_rank_scores_are_exact(m):
    rows, query = drawn(m, 40), drawn(1, 40, 7)[0]
    left = reduced_rank(rows, None, 40)
    values, _ = coefficients(left, rows, None)
    np.testing.assert_allclose(values @ (left.T @ query), rows @ query, rtol=1e-4, atol=1e-6)


def test_rows_as_their_own_queries_give_their_singular_vectors():
    rows = drawn(100, 30)
    left = np.linalg.qr(reduced_rank(rows, None, 8))[0]
    wanted = np.linalg.svd(rows, full_matrices=False)[2][:8].T
    cosines = np.linalg.svd(left.T @ wanted, compute_uv=False)
    assert np.arccos(np.minimum(cosines, 1)).max() < 1e-3


def test_another_order_of_rows_is_another_order_of_coefficients():
    rows = drawn(50, 20)
    order = np.random.default_rng(0).permutation(50)
    left, again = reduced_rank(rows, None, 6), reduced_rank(rows[order], None, 6)
    np.testing.assert_allclose(np.abs(left), np.abs(again), atol=1e-9)
    np.testing.assert_allclose(
        np.abs(coefficients(left, rows, None)[0][order]), np.abs(coefficients(again, rows[order], None)[0]),
        atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("m", "size"), [(1, 5), (20, 40), (200, 40), (64, 7)])
def test_rows_that_come_later_get_what_they_would_have_got(m, size, own):
    rows, queries = drawn(m, size, m, 1.0), drawn(2 * size, size, m + 1)
    moments = None if own else queries.T @ queries
    rank = max(1, min(m, size) // 2)
    left = reduced_rank(rows, moments, rank)
    fitted = reference.reduced_rank(rows, rows if own else queries, rank)[1].T
    found = coefficients(left, rows, moments)[0] / np.sqrt(m)
    # The same rows of V, but for the signs of its columns.
    signs = np.sign((found * fitted).sum(axis=0))
    np.testing.assert_allclose(found * signs, fitted, atol=1e-3)


def test_a_projection_keeps_most_and_spreads_it():
    rows = drawn(500, 64, decay=1.0) + 3
    basis = projection(rows.astype(np.float32), 24, 0)
    np.testing.assert_allclose(basis.T @ basis, np.eye(24), atol=1e-5)
    kept = np.linalg.svd(rows, compute_uv=False)[:24]
    points = rows @ basis
    assert np.square(points).sum() == pytest.approx(np.square(kept).sum(), rel=1e-4)
    sizes_of = np.square(points).mean(axis=0)
    assert sizes_of[0] > 10 * sizes_of[1:].max()
    assert sizes_of[1:].max() < 10 * sizes_of[1:].mean()


def test_a_rotation_leaves_the_first_coordinate():
    for size in (1, 2, 9):
        turn = apart(size, np.random.default_rng(0))
        np.testing.assert_allclose(turn @ turn.T, np.eye(size), atol=1e-12)
        assert turn[0, 0] == 1


# Codes


@given(m=st.integers(0, 20), length=st.integers(0, 40), bits=st.sampled_from([4, 8]), seed=seeds)
def test_codes_are_never_worse_than_rounding(m, length, bits, seed):
    vectors, root = drawn(m, 1 + length, seed), drawn(60, 1 + length, seed + 1)
    metric = root.T @ root
    firsts, steps, codes = encode(vectors, metric, bits)
    assert codes.dtype == np.uint8
    assert codes.max(initial=0) < 2**bits
    found = decode(firsts, steps, codes, bits)
    alone = decode(*encode(vectors, None, bits), bits)
    for vector, kept, plain in zip(vectors, found, alone, strict=True):
        error, wanted = ((vector - other) @ metric @ (vector - other) for other in (kept, plain))
        size = vector @ metric @ vector
        # float16 constants round by 1 in 2,048.
        assert np.sqrt(error) <= np.sqrt(wanted) * 1.02 + 1e-3 * np.sqrt(size)


@pytest.mark.parametrize(("bits", "least"), [(8, 0.999), (4, 0.98)])
def test_scores_of_codes_follow_those_of_numbers(bits, least):
    rows, queries = drawn(300, 64, decay=0.3), drawn(50, 64, 5, decay=0.3)
    model = reduced_rank(rows, None, 33) @ apart(33, np.random.default_rng(0))
    models = lorann.Models(64, 32, bits)
    models.resize(1)
    left = models.put(0, model)
    np.testing.assert_array_equal(models.get(0), left)
    values, metric = coefficients(left, rows, None)
    kept = decode(*encode(values, metric, bits), bits)
    exact = queries @ model @ coefficients(model, rows, None)[0].T
    found = queries @ left @ kept.T
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > least


@given(m=st.integers(1, 9), length=st.integers(1, 40), seed=seeds)
def test_eight_bits_alone_are_rounding(m, length, seed):
    vectors = drawn(m, 1 + length, seed)
    found = decode(*encode(vectors, None, 8), 8)
    for vector, kept in zip(vectors, found, strict=True):
        np.testing.assert_allclose(
            kept[1:], reference.rounded(vector[1:], 8), atol=0.02 * np.abs(vector).max()
        )


@pytest.mark.parametrize("kind", ["zeros", "tiny", "huge", "one number"])
@pytest.mark.parametrize("bits", [4, 8])
def test_vectors_of_any_size_have_codes(bits, kind):
    vectors = {
        "zeros": np.zeros((2, 9)),
        "tiny": np.full((2, 9), 1e-40),
        "huge": np.full((2, 9), 1e30),
        "one number": np.eye(9)[3:5],
    }[kind]
    found = decode(*encode(vectors, np.eye(9), bits), bits)
    assert np.isfinite(found).all()
    if kind == "one number":
        np.testing.assert_allclose(found, vectors, atol=1e-3)


@given(n=st.integers(0, 40), length=st.integers(0, 70), bits=st.sampled_from([4, 8]), seed=seeds)
def test_codes_come_back_from_their_blocks(n, length, bits, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, (n, length), np.uint8)
    blocks = lorann.packed(codes, bits)
    np.testing.assert_array_equal(lorann.unpacked(blocks, n, length, bits), codes)


# Centres


def scorer_of(queries, directions, centres, squared_l2):
    """Queries ready to choose among lists; with models that hold nothing."""
    size = len(directions)
    models, codes = lorann.Models(size, 0, 4), lorann.LorannCodes(0, 4, squared_l2)
    models.resize(len(centres))
    return LorannScorer(squared_l2, queries, lorann.Coarse(directions, centres, squared_l2), models, codes, 1)


def scores_of(queries, directions, centres, squared_l2):
    points = queries @ directions.T
    products = points @ centres.T
    return np.square(centres).sum(axis=1) - 2 * products if squared_l2 else -products


@given(
    n_queries=st.sampled_from([1, 2, 7, 8, 9, 23]),
    dim=st.sampled_from([1, 3, 40, 65]),
    n_lists=st.integers(1, 40),
    squared_l2=st.booleans(),
    seed=seeds,
)
def test_the_nearest_centres_are_chosen(n_queries, dim, n_lists, squared_l2, seed):
    rng = np.random.default_rng(seed)
    size = max(1, dim // 2)
    directions = np.linalg.qr(rng.standard_normal((dim, size)))[0].T.astype(np.float32)
    queries = rng.standard_normal((n_queries, dim)).astype(np.float32)
    centres = rng.standard_normal((n_lists, size)).astype(np.float32)
    wanted = min(5, n_lists)
    found = scorer_of(queries, directions, centres, squared_l2).nearest_lists(wanted, 1)
    scores = scores_of(queries, directions, centres, squared_l2)
    chosen = np.take_along_axis(scores, found, axis=1)
    assert (np.sort(found, axis=1)[:, 1:] != np.sort(found, axis=1)[:, :-1]).all()
    # Queries, directions, t and centres are each rounded by a part in 127 of their largest number at most.
    slack = 0.15 * np.linalg.norm(queries, axis=1) * np.linalg.norm(centres, axis=1).max()
    assert (np.sort(chosen, axis=1) <= np.sort(scores, axis=1)[:, :wanted] + slack[:, None]).all()
    for i, query in enumerate(queries):
        alone = scorer_of(query[None], directions, centres, squared_l2).nearest_lists(wanted, 1)
        np.testing.assert_array_equal(found[i], alone[0])


@pytest.mark.parametrize("squared_l2", [False, True])
def test_what_all_centres_have_in_common_hides_none_of_them(squared_l2):
    rng = np.random.default_rng(0)
    directions, centres = np.eye(32, dtype=np.float32), rng.standard_normal((50, 32)).astype(np.float32)
    queries = centres + np.float32(0.1) * rng.standard_normal((50, 32)).astype(np.float32)
    centres[:, 0] += 1000
    queries[:, 0] += 1000
    if not squared_l2:
        centres /= np.linalg.norm(centres[:, 1:], axis=1, keepdims=True)
        centres[:, 0] = 1000
    found = scorer_of(queries, directions, centres, squared_l2).nearest_lists(1, 1)[:, 0]
    exact = scores_of(np.float64(queries), directions, np.float64(centres), squared_l2).argmin(axis=1)
    assert (found == exact).mean() >= 0.9
