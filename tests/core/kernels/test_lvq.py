import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from inlay.kernels import table
from tests.awkward import DIMS, KINDS, any_row, at_page_end, dims, row, seeds

bits = st.sampled_from([4, 8])
FORMS = ((4, 4), (4, 8), (8, 8))
TOP = {4: 15, 8: 255}


def same_bits(found, wanted):
    """Equal as bit patterns, but for the sign of a zero."""
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))
    assert np.asarray(found).dtype == np.asarray(wanted).dtype


def squared_error(r, grid, n_bits, level):
    codes, _, _ = table.quantise(r, *grid, n_bits, level)
    rhat = table.expand(codes, None, *grid, 1, np.zeros_like(r), level)
    return np.square(r.astype(np.float64) - rhat).sum()


# Every level gives the bits of the definition


@given(r=any_row, n_bits=bits, fitted=st.booleans())
def test_the_grid_of_any_row_is_its_definition(level, r, n_bits, fitted):
    wanted = reference.multi_start(r, n_bits) if fitted else reference.min_max(r, n_bits)
    same_bits(table.grid(r, n_bits, fitted, level), wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", DIMS)
def test_grids_codes_and_residuals_of_every_kind_are_their_definitions(level, dim, kind):
    r = row(kind, dim)
    for n_bits in (4, 8):
        for fitted in (False, True):
            grid = table.grid(r, n_bits, fitted, level)
            same_bits(grid, reference.multi_start(r, n_bits) if fitted else reference.min_max(r, n_bits))
            for found, wanted in zip(
                table.quantise(r, *grid, n_bits, level), reference.quantise(r, *grid, n_bits), strict=True
            ):
                same_bits(found, wanted)
            codes, _, _ = table.quantise(r, *grid, n_bits, level)
            for bits2 in (4, 8):
                found = table.residual(r, codes, *grid, bits2, level)
                same_bits(found, reference.residual(r, codes, *grid, bits2))


@given(r=any_row, n_bits=bits, low=st.floats(-10, 10, width=32), step=st.floats(2.0**-10, 10, width=32))
def test_codes_of_a_row_that_leaves_the_grid_are_clamped_to_it(level, r, n_bits, low, step):
    codes, square, product = table.quantise(r, low, step, n_bits, level)
    wanted = reference.quantise(r, np.float32(low), np.float32(step), n_bits)
    for found, right in zip((codes, square, product), wanted, strict=True):
        same_bits(found, right)
    assert (codes[r <= low] == 0).all()
    assert (codes[r > low + TOP[n_bits] * step * 1.001] == TOP[n_bits]).all()


@given(form=st.sampled_from(FORMS), dim=dims | st.integers(1, 40), two_levels=st.booleans(), seed=seeds)
def test_expanding_is_its_definition(level, form, dim, two_levels, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, TOP[form[0]] + 1, dim, np.uint8)
    half2 = 2 ** (form[1] - 1)
    codes2 = rng.integers(-half2, half2, dim, np.int8) if two_levels else None
    low, step, mean = np.float32(rng.normal()), np.float32(rng.random()), rng.standard_normal(dim, np.float32)
    scale2 = 2 ** form[1] if two_levels else 1
    found = table.expand(codes, codes2, low, step, scale2, mean, level)
    same_bits(found, reference.expand(codes, codes2, low, step, scale2, mean))


@given(dim=dims | st.integers(0, 40), seed=seeds)
def test_nibbles_come_back_with_their_signs(level, dim, seed):
    codes2 = np.random.default_rng(seed).integers(-8, 8, dim, np.int8)
    packed = reference.pack_nibbles(codes2)
    assert len(packed) == (dim + 1) // 2
    np.testing.assert_array_equal(table.unpack_nibbles(packed, dim, level), codes2)
    np.testing.assert_array_equal(reference.unpack_nibbles(packed, dim), codes2)


@given(query=any_row)
def test_the_int8_values_of_any_query_are_their_definition(level, query):
    scale, values = table.quantise_query(query, level)
    wanted_scale, wanted = reference.quantise_query(query)
    same_bits(scale, wanted_scale)
    same_bits(values, wanted)
    assert np.abs(values.astype(int)).max() <= 127


@given(
    n=st.integers(1, 40) | st.just(257),
    with_norms=st.booleans(),
    with_selectors=st.booleans(),
    seed=seeds,
)
def test_estimates_are_their_definition(level, n, with_norms, with_selectors, seed):
    rng = np.random.default_rng(seed)
    products = rng.integers(-(2**31), 2**31 - 1, n, np.int32)
    steps, lows, norms = rng.standard_normal((3, n), np.float32)
    selectors = rng.integers(0, 256, n, np.uint8)
    offsets = rng.standard_normal(256, np.float32)
    scale, total = (float(value) for value in rng.standard_normal(2, np.float32))
    given_rows = (norms if with_norms else None, selectors if with_selectors else None)
    found = table.estimate(products, steps, lows, *given_rows, scale, total, offsets, level)
    same_bits(found, reference.estimate(products, steps, lows, *given_rows, scale, total, offsets))


# What the definitions are good for


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", DIMS)
def test_no_coordinate_is_off_by_more_than_half_a_step_of_its_last_level(level, dim, kind):
    r = row(kind, dim)
    # A few roundings of values as large as the row's largest.
    slack = 4 * np.abs(r).max() * 2.0**-24
    for n_bits in (4, 8):
        low, step = table.grid(r, n_bits, False, level)
        codes, _, _ = table.quantise(r, low, step, n_bits, level)
        zeros = np.zeros_like(r)
        one_level = table.expand(codes, None, low, step, 1, zeros, level)
        assert np.abs(r.astype(np.float64) - one_level).max() <= step / 2 * (1 + 1e-5) + slack
        for bits2 in (4, 8):
            levels = 2**bits2
            codes2 = table.residual(r, codes, low, step, bits2, level)
            step2 = step / np.float32(levels)
            both = table.expand(codes, codes2, low, step2, levels, zeros, level)
            error = np.abs(r.astype(np.float64) - both)
            # A residual of half a step has no code of its own: one step of the second level is lost there.
            inner = codes2 < levels // 2 - 1
            assert error.max() <= step2 * (1 + 1e-5) + slack
            assert (error[inner] <= step2 / 2 * (1 + 1e-5) + slack).all()


@given(r=any_row, n_bits=bits)
def test_fitted_bounds_are_never_worse_than_min_max(level, r, n_bits):
    fitted, plain = (table.grid(r, n_bits, multi_start, level) for multi_start in (True, False))
    error = squared_error(r, plain, n_bits, level)
    # Both errors are compared as float32 sums when the grid is chosen.
    assert squared_error(r, fitted, n_bits, level) <= error * (1 + 1e-5) + len(r) * 2.0**-149


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_bounds_are_never_worse_for_any_of_many_rows(level, kind):
    for seed in range(50):
        r = row(kind, 128, seed)
        fitted, plain = (squared_error(r, table.grid(r, 4, way, level), 4, level) for way in (True, False))
        assert fitted <= plain * (1 + 1e-5) + 128 * 2.0**-149


def test_fitted_bounds_pay_for_gaussian_rows_at_4_bits(level):
    errors = np.zeros(2)
    for seed in range(20):
        r = row("gaussian", 512, seed)
        errors += [squared_error(r, table.grid(r, 4, way, level), 4, level) for way in (True, False)]
    assert errors[0] < 0.85 * errors[1]


@pytest.mark.parametrize("n_bits", [4, 8])
@pytest.mark.parametrize("value", [0.0, 3.25, -1e6, 1e-42])
def test_a_constant_row_is_given_back_exactly(level, n_bits, value):
    r = np.full(37, value, np.float32)
    for fitted in (False, True):
        low, step = table.grid(r, n_bits, fitted, level)
        codes, _, _ = table.quantise(r, low, step, n_bits, level)
        assert step == 1
        assert not codes.any()
        same_bits(table.expand(codes, None, low, step, 1, np.zeros_like(r), level), r)


def test_the_grid_of_an_all_negative_row_ends_at_its_largest_value(level):
    r = np.linspace(-9, -2, 50, dtype=np.float32)
    low, step = table.grid(r, 8, False, level)
    assert low == -9
    assert low + 255 * step == pytest.approx(-2, abs=1e-5)


@pytest.mark.parametrize("n_bits", [4, 8])
def test_a_range_beyond_float32_has_a_finite_step(level, n_bits):
    r = np.array([3e38, -3e38, 0], np.float32)
    low, step = table.grid(r, n_bits, False, level)
    assert low == np.float32(-3e38)
    assert np.isfinite(step)
    assert float(step) * TOP[n_bits] == pytest.approx(6e38, rel=1e-6)


def test_the_int8_query_uses_its_whole_range_and_rounds_to_nearest(level, rng):
    query = rng.standard_normal(500, np.float32)
    scale, values = table.quantise_query(query, level)
    assert np.abs(values).max() == 127
    assert np.abs(scale * values.astype(np.float64) - query).max() <= scale / 2 * (1 + 1e-5)
    same_bits(table.quantise_query(-np.abs(query), level)[1].min(), np.int8(-127))


@pytest.mark.parametrize("value", [0.0, 1e-40])
def test_a_query_of_next_to_nothing_has_scale_1_and_values_0(level, value):
    scale, values = table.quantise_query(np.full(9, value, np.float32), level)
    assert scale == 1
    assert not values.any()


@pytest.mark.parametrize("dim", [1, 7, 15, 16, 17, 31, 33, 100])
def test_nothing_is_read_past_the_end_of_any_input(level, dim, rng):
    r = at_page_end(row("gaussian", dim))
    for n_bits in (4, 8):
        grid = table.grid(r, n_bits, True, level)
        same_bits(grid, reference.multi_start(r, n_bits))
        codes = at_page_end(table.quantise(r, *grid, n_bits, level)[0])
        codes2 = at_page_end(table.residual(r, codes, *grid, 8, level))
        same_bits(codes2, reference.residual(r, codes, *grid, 8))
        found = table.expand(codes, codes2, *grid, 256, r, level)
        same_bits(found, reference.expand(codes, codes2, *grid, 256, r))
    nibbles = at_page_end(rng.integers(0, 256, (dim + 1) // 2, np.uint8))
    same_bits(table.unpack_nibbles(nibbles, dim, level), reference.unpack_nibbles(nibbles, dim))
    same_bits(table.quantise_query(r, level)[1], reference.quantise_query(r)[1])
    products = at_page_end(rng.integers(-1000, 1000, dim, np.int32))
    selectors = at_page_end(rng.integers(0, 3, dim, np.uint8))
    offsets = at_page_end(np.array([1, 2, 3], np.float32))
    found = table.estimate(products, r, r, r, selectors, 0.5, 0.25, offsets, level)
    same_bits(found, reference.estimate(products, r, r, r, selectors, 0.5, 0.25, offsets))


# An example that was worked by hand

MEAN = np.array([0.4, -0.1, 0.9, 0.1, -0.2, 0.05, 1, 0.35], np.float32)
X = np.array([0.9, -0.3, 1.4, 0.1, -0.7, 0.55, 2, -0.25], np.float32)
QUERY = np.array([1, 0.2, 0.8, -0.1, -0.4, 0.6, 1.5, 0], np.float32)
R = X - MEAN
CENTRED = QUERY - MEAN

STEP = {4: 0.1066666667, 8: 0.0062745098}
CODES = {4: [10, 4, 10, 6, 1, 10, 15, 0], 8: [175, 64, 175, 96, 16, 175, 255, 0]}
STEP2 = {4: 4.1666667e-4, 8: 2.4509804e-5}
CODES2 = [80, -64, 80, -96, -16, 80, 0, 0]
RHO = {4: 1.02505695, 8: 1.00143998}


@pytest.mark.parametrize("n_bits", [4, 8])
def test_worked_example_grid_codes_and_residuals(level, n_bits):
    np.testing.assert_allclose(R, [0.5, -0.2, 0.5, 0, -0.5, 0.5, 1, -0.6], atol=1e-7)
    low, step = table.grid(R, n_bits, False, level)
    assert low == pytest.approx(-0.6, abs=1e-7)
    assert step == pytest.approx(STEP[n_bits], rel=1e-6)
    codes, square, product = table.quantise(R, low, step, n_bits, level)
    np.testing.assert_array_equal(codes, CODES[n_bits])
    assert square == pytest.approx(2.4, rel=1e-6)
    assert square / product == pytest.approx(RHO[n_bits], rel=1e-6)
    codes2 = table.residual(R, codes, low, step, 8, level)
    np.testing.assert_array_equal(codes2, CODES2)
    assert step / 256 == pytest.approx(STEP2[n_bits], rel=1e-6)
    whole = table.expand(codes, codes2, low, step / 256, 256, MEAN, level)
    np.testing.assert_allclose(whole, X, atol=2e-7)


def test_worked_example_reconstruction_of_4_bits(level):
    low, step = table.grid(R, 4, False, level)
    rhat = table.expand(np.array(CODES[4], np.uint8), None, low, step, 1, np.zeros(8, np.float32), level)
    wanted = [0.4666667, -0.1733333, 0.4666667, 0.04, -0.4933333, 0.4666667, 1, -0.6]
    np.testing.assert_allclose(rhat, wanted, atol=2e-7)
    assert np.abs(R - rhat).max() / step == pytest.approx(0.375, rel=1e-5)
    assert np.square(rhat).sum() == pytest.approx(2.288356, rel=1e-6)


def test_worked_example_int8_query_and_its_estimates(level):
    scale, values = table.quantise_query(CENTRED, level)
    assert scale == pytest.approx(0.0047244094, rel=1e-6)
    np.testing.assert_array_equal(values, [127, 64, -21, -42, -42, 116, 106, -74])
    for n_bits, dot, estimated, exact in ((4, 3772, 1.237543, 1.238667), (8, 65272, 1.271574, 1.272863)):
        codes = np.array(CODES[n_bits], np.uint8)
        products = table.dots(table.pack(codes[None], n_bits), values[None], n_bits, level)[0, :1]
        assert products == dot
        steps, lows = np.array([[STEP[n_bits]], [-0.6]], np.float32)
        total = scale * values.sum()
        zeros = np.zeros(1, np.float32)
        found = table.estimate(products, steps, lows, None, None, scale, total, zeros, level)
        assert found == pytest.approx(estimated, rel=2e-6)
        assert steps * (CENTRED @ codes) + lows * CENTRED.sum() == pytest.approx(exact, rel=2e-6)


@pytest.mark.parametrize(
    ("n_bits", "l2", "corrected", "ip"),
    [(4, 1.0260222, 1.0755923, 5.4786667), (8, 1.0623922, 1.0656087, 5.5552157)],
)
def test_worked_example_distances(level, n_bits, l2, corrected, ip):
    low, step = table.grid(R, n_bits, False, level)
    codes, square, product = table.quantise(R, low, step, n_bits, level)
    decoded = table.expand(codes, None, low, step, 1, MEAN, level)
    assert table.scores(QUERY[None], decoded[None], "l2", level) == pytest.approx(l2, rel=2e-6)
    assert table.scores(QUERY[None], decoded[None], "ip", level) == pytest.approx(-ip, rel=2e-6)
    # With a float query in place of its int8 values: scale 1 and the product as it is.
    along = step * (CENTRED @ codes) + low * CENTRED.sum()
    assert square + CENTRED @ CENTRED - 2 * square / product * along == pytest.approx(corrected, rel=2e-6)
    codes2 = table.residual(R, codes, low, step, 8, level)
    both = table.expand(codes, codes2, low, step / 256, 256, MEAN, level)
    for metric, exact in (("l2", 1.065), ("ip", -5.56)):
        assert table.scores(QUERY[None], both[None], metric, level) == pytest.approx(exact, rel=2e-6)
        assert table.scores(QUERY[None], X[None], metric, level) == pytest.approx(exact, rel=2e-6)


def test_worked_example_by_parts(level):
    def product(a, b):
        return -table.scores(a[None], b[None], "ip", level)[0, 0]

    codes = table.quantise(R, *table.grid(R, 4, False, level), 4, level)[0].astype(np.float32)
    ones = np.ones(8, np.float32)
    assert product(CENTRED, CENTRED) == pytest.approx(1.215, rel=1e-6)
    assert product(CENTRED, codes) == pytest.approx(17.8, rel=1e-6)
    assert product(CENTRED, ones) == pytest.approx(1.1, rel=1e-6)
    assert product(QUERY, MEAN) == pytest.approx(2.7, rel=1e-6)
    assert product(QUERY, codes) == pytest.approx(46.3, rel=1e-6)
    assert product(QUERY, ones) == pytest.approx(3.6, rel=1e-6)
