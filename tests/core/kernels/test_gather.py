import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from inlay.kernels import table
from tests.awkward import DIMS, at_page_end, dims, seeds

MAX_DIM = 65_536
CONSTANTS = 16
sizes = dims | st.integers(1, 80)
both_bits = pytest.mark.parametrize("bits", [4, 8])


def drawn(bits, n, dim, seed):
    """Codes and a query with many of their largest values, and constants."""
    rng = np.random.default_rng(seed)
    top = 2**bits - 1
    codes = rng.integers(0, top + 1, (n, dim), np.uint8)
    codes[rng.random(codes.shape) < 0.3] = top
    query = rng.integers(-128, 128, dim, np.int8)
    query[rng.random(dim) < 0.3] = rng.choice([-128, 127])
    return codes, query, rng.standard_normal((n, 3), np.float32)


def size(bits, dim):
    """Bytes of a row: its codes in whole words, and constants."""
    return -(-dim * bits // 32) * 4 + CONSTANTS


@given(
    bits=st.sampled_from([4, 8]),
    n=st.integers(0, 20),
    dim=sizes,
    room=st.sampled_from([0, 4, 64]),
    seed=seeds,
)
def test_rows_lie_as_it_is_written_down(bits, n, dim, room, seed):
    codes, _, constants = drawn(bits, n, dim, seed)
    stride = size(bits, dim) + room
    found = table.lay(codes, constants, bits, stride)
    np.testing.assert_array_equal(found, reference.lay(codes, constants, bits, stride))


@given(
    bits=st.sampled_from([4, 8]),
    n=st.integers(1, 40),
    n_slots=st.sampled_from([0, 1, 3, 4, 5, 31, 33, 64]),
    dim=sizes,
    room=st.sampled_from([0, 4, 20]),
    norms=st.booleans(),
    plain=st.booleans(),
    seed=seeds,
)
def test_scores_are_the_bits_of_the_definition(level, bits, n, n_slots, dim, room, norms, plain, seed):
    codes, query, constants = drawn(bits, n, dim, seed)
    rng = np.random.default_rng(seed)
    slots = rng.integers(0, n, n_slots).astype(np.uint32)
    scale, offset, shift = rng.standard_normal(3, np.float32)
    if plain:
        offset = 0.0
    least = 0.0 if norms else -np.inf
    rows = table.lay(codes, constants, bits, size(bits, dim) + room)
    found = table.near(rows, query, bits, slots, scale, offset, shift, least, norms, level)
    wanted = reference.near(codes, constants, query, scale, offset, shift, least, norms)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted[slots])
    for i in range(n_slots):
        alone = table.near(rows, query, bits, slots[i : i + 1], scale, offset, shift, least, norms, level)
        np.testing.assert_array_equal(alone, found[i : i + 1])


@both_bits
@pytest.mark.parametrize("dim", [*DIMS, MAX_DIM])
def test_the_largest_codes_and_queries_of_either_sign_do_not_saturate(level, bits, dim):
    top = 2**bits - 1
    just_products = np.tile(np.array([1, 0, 0], np.float32), (5, 1))
    rows = table.lay(np.full((5, dim), top, np.uint8), just_products, bits, size(bits, dim))
    slots = np.arange(5, dtype=np.uint32)
    for value in (-128, 127):
        query = np.full(dim, value, np.int8)
        found = table.near(rows, query, bits, slots, 1.0, 0.0, 0.0, -np.inf, False, level)
        np.testing.assert_array_equal(found, np.float32(value * top * dim))


@both_bits
@pytest.mark.parametrize("least", [0.0, -np.inf])
def test_no_number_stays_none_and_is_not_the_best(level, bits, least):
    codes, query, constants = drawn(bits, 9, 45, 1)
    constants[[1, 7], [0, 2]] = np.nan
    rows = table.lay(codes, constants, bits, size(bits, 45))
    found = table.near(rows, query, bits, np.arange(9, dtype=np.uint32), 1.0, 0.0, 0.0, least, True, level)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [1, 7])
    assert (found[~np.isnan(found)] >= least).all()


@both_bits
def test_nothing_is_read_past_the_last_row(level, bits, rng):
    for dim in (*range(1, 40), 63, 64, 65, 127, 128, 129, 250, 384):
        codes, query, constants = drawn(bits, 6, dim, dim)
        rows = at_page_end(table.lay(codes, constants, bits, size(bits, dim)))
        wanted = reference.near(codes, constants, query, 1.0, 0.5, 0.0, 0.0, True)
        for n in (1, 4, 7):
            slots = at_page_end(np.full(n, 5, np.uint32))
            found = table.near(rows, query, bits, slots, 1.0, 0.5, 0.0, 0.0, True, level)
            np.testing.assert_array_equal(found, wanted[5])


@both_bits
def test_what_lies_between_rows_does_not_matter(level, bits):
    codes, query, constants = drawn(bits, 9, 45, 1)
    rows = table.lay(codes, constants, bits, 128)
    slots = np.arange(9, dtype=np.uint32)
    wanted = table.near(rows, query, bits, slots, 0.1, 0.3, 0.2, -np.inf, True, level)
    rows[:, size(bits, 45) :] = 255
    found = table.near(rows, query, bits, slots, 0.1, 0.3, 0.2, -np.inf, True, level)
    np.testing.assert_array_equal(found, wanted)


def test_slots_and_shapes_that_do_not_fit_are_refused():
    codes, query, constants = drawn(8, 3, 9, 0)
    with pytest.raises(ValueError, match="stride is too short"):
        table.lay(codes, constants, 8, 24)
    rows = table.lay(codes, constants, 8, 28)
    for wrong, slots in ((query, [3]), (np.ones(13, np.int8), [0])):
        with pytest.raises(ValueError, match="do not fit the rows"):
            table.near(rows, wrong, 8, np.array(slots, np.uint32), 1.0, 0.5, 0.0, 0.0, True)
