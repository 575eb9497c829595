import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_fastscan as reference
from inlay.kernels import links
from tests.awkward import DIMS, KINDS, any_row, at_page_end, row, seeds

both_sizes = pytest.mark.parametrize("n", [32, 64])
both_widths = pytest.mark.parametrize("width", [4, 6])
numbers_of_planes = st.sampled_from([1, 1, 2, 3, 8])


def entries(n):
    return 16 if n == 32 else 64


def whole(n, groups):
    """As many groups, or as many as blocks of n vectors can have."""
    return groups if n == 32 else -(-groups // 4) * 4


def drawn(n, groups, planes, seed, most=255):
    """Codes (planes, n, groups), their blocks one after the other, and tables (groups, 16 or 64)."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, entries(n), (planes, n, groups), np.uint8)
    return codes, packed(codes), rng.integers(0, most + 1, (groups, entries(n)), np.uint8)


def packed(codes):
    return np.concatenate([np.empty(0, np.uint8), *(links.pack_fastscan(plane) for plane in codes)])


def factors(rng, n):
    """Normal bfloat16 of either sign, of many sizes."""
    values = rng.standard_normal(n) * 2.0 ** rng.integers(-30, 30, n)
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


# Sums


@given(
    n=st.sampled_from([32, 64]),
    groups=st.integers(0, 140) | st.sampled_from([255, 256, 257, 260, 384, 512, 513, 1024]),
    planes=numbers_of_planes,
    most=st.sampled_from([255, 255, 31, 1]),
    seed=seeds,
)
def test_sums_are_the_integers_of_the_definition(level, n, groups, planes, most, seed):
    codes, block, tables = drawn(n, whole(n, groups), planes, seed, most)
    found = links.fastscan(block, tables, planes, level)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, reference.sums(codes, tables))


@both_sizes
@pytest.mark.parametrize("dim", [1024, 1028, 1536, 2048, 4096, 16384])
def test_the_largest_sums_do_not_wrap(level, n, dim):
    groups = whole(n, -(-dim // (4 if n == 32 else 6)))
    for planes in (1, 8):
        codes, block, tables = drawn(n, groups, planes, dim)
        tables[:] = 255
        np.testing.assert_array_equal(
            links.fastscan(block, tables, planes, level), 255 * groups * (2**planes - 1)
        )
        # Only some vectors, and only some groups.
        tables[:] = 0
        tables[:, 3] = 255
        np.testing.assert_array_equal(
            links.fastscan(block, tables, planes, level), reference.sums(codes, tables)
        )


@both_sizes
def test_each_vector_has_its_own_sum(level, n):
    for group in range(8):
        for vector in range(n):
            codes = np.zeros((1, n, 8), np.uint8)
            codes[0, vector, group] = entries(n) - 1
            tables = np.zeros((8, entries(n)), np.uint8)
            tables[group, -1] = 200
            found = links.fastscan(packed(codes), tables, 1, level)
            np.testing.assert_array_equal(found, np.where(np.arange(n) == vector, 200, 0))


@both_sizes
def test_each_code_has_its_own_entry(level, n):
    tables = np.tile(np.arange(100, 100 + entries(n), dtype=np.uint8), (4, 1))
    for code in range(entries(n)):
        for group in range(4):
            codes = np.zeros((1, n, 4), np.uint8)
            codes[0, :, group] = code
            found = links.fastscan(packed(codes), tables, 1, level)
            np.testing.assert_array_equal(found, 400 + code)


@both_sizes
@pytest.mark.parametrize("groups", [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 32, 33, 96, 256, 257, 258])
def test_nothing_is_read_past_the_end_of_blocks_and_tables(level, n, groups):
    codes, block, tables = drawn(n, whole(n, groups), 2, groups)
    found = links.fastscan(at_page_end(block), at_page_end(tables), 2, level)
    np.testing.assert_array_equal(found, reference.sums(codes, tables))


# Blocks


@given(n=st.sampled_from([32, 64]), groups=st.integers(0, 70), seed=seeds)
def test_what_is_packed_is_there(n, groups, seed):
    codes, block, _ = drawn(n, whole(n, groups), 1, seed)
    np.testing.assert_array_equal(reference.unpack(block, n, codes.shape[2]), codes[0])
    np.testing.assert_array_equal(links.pack_fastscan(at_page_end(codes[0])), block)


@both_sizes
@pytest.mark.parametrize("dim", [64, 128, 384, 768, 1024, 1028, 1536, 2048, 4096])
def test_every_dimension_round_trips(n, dim):
    groups = whole(n, -(-dim // (4 if n == 32 else 6)))
    codes, block, _ = drawn(n, groups, 1, dim)
    assert len(block) == groups * (16 if n == 32 else 48)
    np.testing.assert_array_equal(reference.unpack(block, n, groups), codes[0])


def test_a_group_is_laid_out_as_written():
    codes = np.zeros((32, 1), np.uint8)
    codes[:, 0] = np.arange(32) % 16
    low = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]
    np.testing.assert_array_equal(links.pack_fastscan(codes), [17 * v for v in low])
    codes = np.zeros((64, 4), np.uint8)
    codes[1], codes[33] = (1, 2, 3, 0b111001), (63, 62, 61, 0)
    lines = links.pack_fastscan(codes).reshape(3, 64)
    np.testing.assert_array_equal(lines[:, 2], [1 | 1 << 6, 2 | 2 << 6, 3 | 3 << 6])
    np.testing.assert_array_equal(lines[:, 3], [63, 62, 61])


# Tables


@given(y=any_row, width=st.sampled_from([4, 6]), most=st.sampled_from([255, 63, 31, 15, 1]))
def test_tables_are_the_bits_of_the_definition(level, y, width, most):
    tables = links.subset_tables(y, width, level)
    wanted = reference.subset_tables(y, width)
    np.testing.assert_array_equal(tables.view(np.uint32), wanted.view(np.uint32))
    found, step, low = links.quantise_tables(tables, most, level)
    codes, wanted_step, wanted_low = reference.quantise_tables(tables, most)
    np.testing.assert_array_equal(found, codes)
    assert (step, low) == (wanted_step, wanted_low)


@both_widths
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", DIMS)
def test_bytes_of_every_kind_of_row_stand_for_its_sums(level, kind, dim, width):
    y = row(kind, dim)
    tables = links.subset_tables(y, width, level)
    subsets = np.arange(2**width)[:, None] >> np.arange(width) & 1
    padded = np.zeros(len(tables) * width)
    padded[:dim] = y
    exact = padded.reshape(-1, width) @ subsets.T
    size = np.abs(y).astype(np.float64).sum()
    np.testing.assert_allclose(tables, exact, rtol=0, atol=1e-6 * size + 1e-44)
    codes, step, low = links.quantise_tables(tables, 255, level)
    assert np.isfinite(step)
    assert step > 0
    least = tables.min(axis=1).astype(np.float64)
    assert low == pytest.approx(least.sum(), rel=1e-6, abs=1e-6 * size)
    back = least[:, None] + codes * np.float64(step)
    assert np.abs(back - tables).max() <= 0.5001 * step + 1e-6 * size


def test_halves_are_rounded_up_and_the_largest_byte_is_reached(level):
    tables = np.zeros((5, 16), np.float32)
    tables[2, :5] = [-5, -4.5, -4, -3.49, 5]
    tables[4, 0] = 3.5
    found, step, low = links.quantise_tables(tables, 10, level)
    assert (step, low) == (1, -5)
    np.testing.assert_array_equal(found[2, :6], [0, 1, 1, 2, 10, 5])
    assert found[4, 0] == 4
    assert not found[[0, 1, 3]].any()


@both_widths
@pytest.mark.parametrize("y", [np.zeros(48), np.full(48, 1e-39)], ids=["zero", "denormal"])
def test_a_query_of_nothing_has_step_1(level, width, y):
    codes, step, low = links.quantise_tables(
        links.subset_tables(y.astype(np.float32), width, level), 255, level
    )
    assert step == 1
    assert low == 0
    assert not codes.any()


@both_widths
@pytest.mark.parametrize("dim", [1, 3, 4, 5, 7, 8, 15, 17, 23, 24, 25, 48, 100])
def test_nothing_is_read_past_the_end_of_a_query_or_its_tables(level, dim, width):
    y = row("gaussian", dim)
    tables = links.subset_tables(at_page_end(y), width, level)
    np.testing.assert_array_equal(tables, reference.subset_tables(y, width))
    found = links.quantise_tables(at_page_end(tables), 255, level)
    np.testing.assert_equal(found, reference.quantise_tables(tables, 255))


@pytest.mark.parametrize("groups", [0, 1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("size", [16, 64])
def test_any_number_of_tables_is_quantised(level, groups, size, rng):
    tables = rng.standard_normal((groups, size), np.float32) + np.float32(3)
    found, step, low = links.quantise_tables(tables, 31, level)
    if groups == 0:
        assert (len(found), step, low) == (0, 1, 0)
    else:
        np.testing.assert_equal((found, step, low), reference.quantise_tables(tables, 31))


# Estimates


@given(n=st.sampled_from([32, 64]), seed=seeds, scale=st.sampled_from([0, -30, 30]))
def test_estimates_are_the_bits_of_the_definition(level, n, seed, scale):
    rng = np.random.default_rng(seed)
    sums = rng.integers(0, [2**31, 2**16, 100][seed % 3], n).astype(np.uint32)
    adds, rescales = factors(rng, n), factors(rng, n)
    base, step, shift = rng.standard_normal(3).astype(np.float32) * np.float32(2.0**scale)
    wanted = reference.estimates(sums, adds, rescales, base, step, shift)
    for worst in (np.median(wanted), wanted[seed % n], np.inf, -np.inf):
        found, better = links.estimates(sums, adds, rescales, base, step, shift, worst, level)
        np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))
        assert better == sum(1 << i for i in range(n) if wanted[i] < worst)


@both_sizes
def test_what_is_no_number_is_better_than_nothing(level, n):
    sums = np.zeros(n, np.uint32)
    adds = np.tile(np.array([0x7FC0, 0x7F80, 0xFF80, 0], np.uint16), n // 4)  # NaN, inf, -inf, 0
    found, better = links.estimates(sums, adds, np.zeros(n, np.uint16), 0, 1, 0, np.inf, level)
    np.testing.assert_array_equal(found, np.tile([np.nan, np.inf, -np.inf, 0], n // 4))
    assert better == sum(0b1100 << i for i in range(0, n, 4))
    assert links.estimates(sums, adds, adds, 0, 1, 0, np.nan, level)[1] == 0


@both_sizes
def test_nothing_is_read_past_the_end_of_sums_and_factors(level, n, rng):
    sums = at_page_end(rng.integers(0, 1000, n).astype(np.uint32))
    adds, rescales = at_page_end(factors(rng, n)), at_page_end(factors(rng, n))
    found, _ = links.estimates(sums, adds, rescales, 1, 0.5, -3, 0, level)
    np.testing.assert_array_equal(found, reference.estimates(sums, adds, rescales, *np.float32([1, 0.5, -3])))


@both_sizes
@pytest.mark.parametrize("dim", [64, 384, 1000])
def test_tables_sums_and_estimates_together_are_inner_products(level, n, dim, rng):
    width = 4 if n == 32 else 6
    y = rng.standard_normal(dim, np.float32)
    tables = links.subset_tables(y, width, level)
    groups = len(tables)
    bits = np.zeros((n, groups * width), np.uint8)
    bits[:, :dim] = rng.integers(0, 2, (n, dim))
    codes = (bits.reshape(n, groups, width) << np.arange(width)).sum(axis=2).astype(np.uint8)
    bytes_, step, low = links.quantise_tables(tables, 255, level)
    sums = links.fastscan(links.pack_fastscan(codes), bytes_, 1, level)
    adds, rescales = factors(rng, n), factors(rng, n)
    found, _ = links.estimates(sums, adds, rescales, 2, step, low, 0, level)
    add, rescale = reference.widened(adds).astype(np.float64), reference.widened(rescales)
    wanted = add + 2 + rescale * (bits[:, :dim] @ y.astype(np.float64))
    assert (np.abs(found - wanted) <= 1e-4 * (np.abs(add) + 2) + np.abs(rescale) * step * groups / 2).all()


# The door


def test_no_level_named_is_the_level_in_use():
    codes, block, tables = drawn(32, 5, 2, 0)
    np.testing.assert_array_equal(links.fastscan(block, tables, 2), reference.sums(codes, tables))
    y = np.arange(7, dtype=np.float32)
    np.testing.assert_array_equal(links.subset_tables(y, 4), reference.subset_tables(y, 4))


def test_shapes_that_do_not_fit_never_reach_a_kernel():
    _, block, tables = drawn(32, 8, 1, 0)
    for bad in (
        (block[:-1], tables, 1),
        (block, tables[:-1], 1),
        (block, tables, 2),
        (block, tables[:, :8], 1),
    ):
        with pytest.raises(ValueError, match="do not fit each other"):
            links.fastscan(bad[0], np.ascontiguousarray(bad[1]), bad[2])
    with pytest.raises(ValueError, match="do not fit each other"):
        links.fastscan(np.zeros(48 * 6, np.uint8), np.zeros((6, 64), np.uint8), 1)
    for shape in ((31, 4), (64, 6)):
        with pytest.raises(ValueError, match="whole fours of groups"):
            links.pack_fastscan(np.zeros(shape, np.uint8))
    for tables, most in ((np.zeros((3, 8)), 255), (np.zeros((3, 16)), 0), (np.zeros((3, 16)), 256)):
        with pytest.raises(ValueError, match="16, 64 or 256 entries"):
            links.quantise_tables(tables.astype(np.float32), most)
    with pytest.raises(ValueError, match="4 or 6"):
        links.subset_tables(np.zeros(8, np.float32), 5)
    factor = np.zeros(32, np.uint16)
    for n, adds in ((31, factor[:31]), (32, factor[:31])):
        with pytest.raises(ValueError, match="32 or 64 sums"):
            links.estimates(np.zeros(n, np.uint32), adds, factor[:n], 0, 1, 0, 0)
