import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_rabitq as reference
from inlay.kernels import links
from tests.awkward import DIMS, KINDS, any_row, at_page_end, dims, row, seeds

every_bits = st.integers(1, 8)
kinds = st.sampled_from(sorted(KINDS))
# Grids from far too coarse to far too fine for rows of some kind.
inverses = st.sampled_from([0, 1e-6, 0.3, 1, 7.5, 40, 1e4, 1e30, np.inf]).map(np.float32)


def most_of(bits):
    return 2 ** (bits - 1) - 1


def book(groups, width, seed):
    """Centroids, of which some are the same."""
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([-1, -0.5, 0.3, 0.31, 2], np.float32), (groups, width, 16))


def pair(kind, dim, seed):
    """Two rows; halves of both lie about 1, so that steps are short in some dimensions and long in others."""
    o, c = row(kind, dim, seed), row("gaussian", dim, seed + 1)
    o[: dim // 2] = 1 + 0.01 * c[: dim // 2]
    return o, c


# Every level gives the bits of the definition


@given(o=any_row, seed=seeds)
def test_a_step_and_its_sums_are_the_bits_of_the_definition(level, o, seed):
    c = np.random.default_rng(seed).permutation(o)
    r, square, inner = links.subtract(o, c, level)
    wanted, *sums = reference.subtract(o, c)
    np.testing.assert_array_equal(r, wanted)
    assert (square, inner) == tuple(sums)


@given(kind=kinds, dim=dims | st.integers(1, 70), bits=every_bits, inverse=inverses, seed=seeds)
def test_codes_and_their_sums_are_the_bits_of_the_definition(level, kind, dim, bits, inverse, seed):
    r, c = pair(kind, dim, seed)
    assert links.fit(r, inverse, most_of(bits), level) == reference.fit(r, inverse, most_of(bits))
    found, *sums = links.code(r, c, inverse, most_of(bits), level)
    wanted, *wanted_sums = reference.code(r, c, inverse, most_of(bits))
    np.testing.assert_array_equal(found, wanted)
    assert sums == wanted_sums


@given(
    groups=st.integers(1, 40),
    width=st.integers(1, 16),
    scale=st.sampled_from([0, 0.1, 1, 1e20]).map(np.float32),
    kind=kinds,
    seed=seeds,
)
def test_the_nearest_centroids_are_those_of_the_definition(level, groups, width, scale, kind, seed):
    r, c = pair(kind, groups * width, seed)
    centroids = book(groups, width, seed)
    wanted, *wanted_sums = reference.assign(r, c, centroids, scale)
    found, *sums = links.assign(r, c, centroids, scale, level)
    np.testing.assert_array_equal(found, wanted)
    assert sums == wanted_sums


# What they are for


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", DIMS)
def test_sums_are_what_they_are_called(level, kind, dim):
    o, c = pair(kind, dim, 3)
    r, square, inner = links.subtract(o, c, level)
    exact = reference.wide(r)
    assert square == pytest.approx(exact @ exact, rel=1e-12)
    assert inner == pytest.approx(exact @ reference.wide(c), rel=1e-12, abs=1e-12 * np.abs(exact * c).sum())
    for bits in (1, 4, 8):
        inverse = reference.finest(r, bits)
        u, along, with_centre = links.code(r, c, inverse, most_of(bits), level)
        g = u - (2**bits - 1) / 2
        assert along == pytest.approx(g @ exact, rel=1e-12)
        assert with_centre == pytest.approx(g @ reference.wide(c), rel=1e-12, abs=1e-12 * np.abs(g * c).sum())
        assert links.fit(r, inverse, most_of(bits), level) == pytest.approx((along, g @ g), rel=1e-12)


@given(r=any_row, bits=every_bits, inverse=inverses)
def test_codes_are_on_the_side_of_their_coordinates_and_no_higher_than_bits_go(level, r, bits, inverse):
    u, along, _ = links.code(r, r, inverse, most_of(bits), level)
    assert u.max() < 2**bits
    np.testing.assert_array_equal(u >= 2 ** (bits - 1), r > 0)
    assert along >= 0


def test_one_bit_is_the_sign(level):
    r = np.array([-3, -1e-45, -0.0, 0.0, 1e-45, 2], np.float32)
    u, along, _ = links.code(r, 0 * r, 0, 0, level)
    np.testing.assert_array_equal(u, [0, 0, 0, 0, 1, 1])
    assert along == 2.5


def test_the_last_level_has_no_end(level):
    r = np.array([0.9, 1, 1.9, 2.9, 3, 100, -0.9, -1, -100], np.float32)
    u, along, _ = links.code(r, 0 * r, 1, 3, level)
    np.testing.assert_array_equal(u, [4, 5, 5, 6, 7, 7, 3, 2, 0])
    assert along == pytest.approx(0.45 + 1.5 + 2.85 + 7.25 + 10.5 + 350 + 0.45 + 1.5 + 350)


def test_of_centroids_as_near_the_first_is_taken(level):
    centroids = np.zeros((2, 1, 16), np.float32)
    centroids[0, 0] = np.arange(16) // 4
    centroids[1, 0, 5:7] = 9
    found, *_ = links.assign(np.array([2, 9], np.float32), np.zeros(2, np.float32), centroids, 1, level)
    np.testing.assert_array_equal(found, [8, 5])


@pytest.mark.parametrize("dim", [1, 3, 15, 16, 17, 31, 33, 100])
def test_nothing_is_read_past_the_end(level, dim):
    o, c = (row("gaussian", dim, seed) for seed in (1, 2))
    found = links.subtract(at_page_end(o), at_page_end(c), level)
    np.testing.assert_equal(found, reference.subtract(o, c))
    inverse = np.float32(3)
    assert links.fit(at_page_end(o), inverse, 7, level) == reference.fit(o, inverse, 7)
    found = links.code(at_page_end(o), at_page_end(c), inverse, 7, level)
    np.testing.assert_equal(found, reference.code(o, c, inverse, 7))
    centroids = book(dim, 1, dim)
    found = links.assign(at_page_end(o), at_page_end(c), at_page_end(centroids), 1, level)
    np.testing.assert_equal(found, reference.assign(o, c, centroids, np.float32(1)))


# The door


def test_no_level_named_is_the_level_in_use():
    o, c = row("gaussian", 33, 1), row("gaussian", 33, 2)
    np.testing.assert_equal(links.subtract(o, c), reference.subtract(o, c))
    assert links.fit(o, 2, 3) == reference.fit(o, np.float32(2), 3)


def test_shapes_that_do_not_fit_never_reach_a_kernel():
    x, short = np.zeros(8, np.float32), np.zeros(7, np.float32)
    with pytest.raises(ValueError, match="differ in their number of dimensions"):
        links.subtract(x, short)
    for c, most in ((short, 1), (x, -1), (x, 128)):
        with pytest.raises(ValueError, match="differ in their number of dimensions, or codes"):
            links.code(x, c, 1, most)
    for r, c, shape in (
        (short, x, (2, 4, 16)),
        (x, short, (2, 4, 16)),
        (x, x, (2, 4, 15)),
        (x, x, (3, 4, 16)),
    ):
        with pytest.raises(ValueError, match="whole groups"):
            links.assign(r, c, np.zeros(shape, np.float32), 1)
