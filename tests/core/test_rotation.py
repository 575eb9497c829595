import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from inlay.rotation import ROUNDS_FOLDED, ROUNDS_WHOLE, HadamardRotation
from tests.awkward import DIMS, KINDS, row, rows, seeds

some_dims = st.integers(1, 140) | st.sampled_from([256, 300, 768])


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 6, *DIMS])
def test_rotating_and_rotating_back_give_the_bits_of_the_definition_at_every_level(level, dim):
    rotation = HadamardRotation(dim, 7)
    x = np.stack([row(kind, dim) for kind in KINDS])
    np.testing.assert_array_equal(rotation.apply(x), np.stack([reference.rotate(r, 7) for r in x]))
    np.testing.assert_array_equal(rotation.invert(x), np.stack([reference.rotate_back(r, 7) for r in x]))


@given(dim=some_dims, rotation_seed=st.integers(0, 2**64), seed=seeds)
def test_every_seed_is_the_rotation_of_its_definition(dim, rotation_seed, seed):
    x = row("gaussian", dim, seed)
    found = HadamardRotation(dim, rotation_seed).apply(x[None])[0]
    np.testing.assert_array_equal(found, reference.rotate(x, rotation_seed))


@given(dim=some_dims, kind=st.sampled_from(sorted(KINDS)), seed=seeds)
def test_rotating_back_undoes_it(dim, kind, seed):
    rotation = HadamardRotation(dim, seed)
    x = rows(kind, 3, dim, seed)
    size = np.abs(x).max(axis=1, keepdims=True)
    for back in (rotation.invert(rotation.apply(x)), rotation.apply(rotation.invert(x))):
        # Of 1e-5 of the row's largest value, and of what denormals lose in a sum of dim of them.
        assert (np.abs(back - x) <= 1e-5 * size + dim * 2.0**-149).all()


@pytest.mark.parametrize("dim", DIMS)
def test_it_is_orthogonal(dim):
    which = np.random.default_rng(0).permutation(dim)[:200]
    columns = HadamardRotation(dim, 3).apply(np.eye(dim, dtype=np.float32)[which]).astype(np.float64)
    np.testing.assert_allclose(columns @ columns.T, np.eye(len(which)), atol=1e-6)


@pytest.mark.parametrize(
    "dim",
    [1, 2, 3, 31, 63, 64, 65, 96, 100, 127, 128, 300, 384, 768, 960, 1000, 1024, 1025, 1536, 2048, 4096],
)
def test_lengths_distances_and_inner_products_stay(dim, rng):
    x = rng.standard_normal((20, dim), np.float32)
    turned = HadamardRotation(dim, 11).apply(x).astype(np.float64)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(turned @ turned.T, exact @ exact.T, atol=1e-5 * dim)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(exact, axis=1), rtol=1e-5)


@pytest.mark.parametrize("dim", [dim for dim in DIMS if dim >= 64])
def test_a_spike_is_spread_over_all_coordinates(dim):
    spikes = np.eye(dim, dtype=np.float32)
    largest, fourth = [], []
    for seed in range(3):
        turned = HadamardRotation(dim, seed).apply(spikes)
        largest.append(np.abs(turned).max())
        fourth.append(np.mean(turned.astype(np.float64) ** 4) * dim**2)
    if dim & (dim - 1) == 0:
        # As of Gaussian coordinates: 3 dim^2 of them stay below 5.3 / sqrt(dim), their fourth moment is 3.
        assert max(largest) < 5.5 / dim**0.5
        assert np.mean(fourth) < 3.2
    else:
        # The fold mixes two windows less well than one window mixes itself; at one dimension more than a
        # power of two it undoes the last step of the transform.
        assert max(largest) < (6 if dim < 200 else 9.5) / dim**0.5
        assert np.mean(fourth) < (3.1 if dim < 1000 else 3.5)


def test_outlier_dimensions_no_longer_stand_out(rng):
    x = rng.standard_normal((200, 512), np.float32)
    x[:, :4] *= 12
    turned = HadamardRotation(512, 0).apply(x)
    variances = turned.var(axis=0)
    assert x.var(axis=0).max() > 50 * np.median(x.var(axis=0))
    assert variances.max() < 4 * np.median(variances)


def test_one_dimension_is_at_most_a_change_of_sign():
    found = {float(HadamardRotation(1, seed).apply([[2.0]])[0, 0]) for seed in range(20)}
    assert found == {-2.0, 2.0}


def test_the_same_seed_is_the_same_rotation_and_another_is_another(rng):
    x = rng.standard_normal((2, 100), np.float32)
    first, again, other = (HadamardRotation(100, seed).apply(x) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_results_do_not_depend_on_the_number_of_threads_or_the_batch(threads, rng):
    x = rng.standard_normal((1000, 96), np.float32)
    rotation = HadamardRotation(96, 1)
    results = []
    for n in (1, 2, 3, 8):
        threads(n)
        results.append((rotation.apply(x), rotation.invert(x)))
    for apply, invert in results[1:]:
        np.testing.assert_array_equal(apply, results[0][0])
        np.testing.assert_array_equal(invert, results[0][1])
    np.testing.assert_array_equal(rotation.apply(x[17:18]), results[0][0][17:18])


def test_rows_of_any_layout_are_taken_and_left_as_they_were(rng):
    x = rng.standard_normal((6, 10), np.float32)
    before = x.copy()
    rotation = HadamardRotation(10, 1)
    wanted = rotation.apply(x)
    np.testing.assert_array_equal(x, before)
    for other in (np.asfortranarray(x), x.astype(np.float64), x.tolist()):
        np.testing.assert_array_equal(rotation.apply(other), wanted)
    assert rotation.apply(np.empty((0, 10), np.float32)).shape == (0, 10)


def test_the_stored_constants_are_what_files_were_written_with():
    assert (ROUNDS_WHOLE, ROUNDS_FOLDED) == (3, 6)
    whole, folded = (HadamardRotation(dim, 42).apply(np.ones((1, dim), np.float32))[0] for dim in (4, 6))
    np.testing.assert_allclose(whole, reference.rotate(np.ones(4, np.float32), 42))
    np.testing.assert_allclose(folded, reference.rotate(np.ones(6, np.float32), 42))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_rows_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"rows must have shape \(n, 3\), not "):
        HadamardRotation(3, 0).apply(np.ones(shape, np.float32))


def test_no_dimensions_are_refused():
    with pytest.raises(ValueError, match="dim must be at least 1, not 0"):
        HadamardRotation(0, 0)
