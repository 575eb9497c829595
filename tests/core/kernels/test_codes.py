import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from inlay.kernels import table
from tests.awkward import DIMS, at_page_end, dims, seeds

MAX_DIM = 65_536
sizes = dims | st.integers(1, 80)


def drawn(bits, n, n_queries, dim, seed):
    """Codes and queries with many of their largest values."""
    rng = np.random.default_rng(seed)
    top = 2**bits - 1
    codes = rng.integers(0, top + 1, (n, dim), np.uint8)
    codes[rng.random(codes.shape) < 0.3] = top
    queries = rng.integers(-127, 128, (n_queries, dim), np.int8)
    queries[rng.random(queries.shape) < 0.3] = rng.choice([-127, 127])
    return codes, queries


@given(bits=st.sampled_from([4, 8]), n=st.integers(0, 50), dim=sizes, seed=seeds)
def test_packing_is_the_layout_as_written_down_and_unpacking_undoes_it(bits, n, dim, seed):
    codes, _ = drawn(bits, n, 1, dim, seed)
    blocks = table.pack(codes, bits)
    np.testing.assert_array_equal(blocks, reference.pack(codes, bits))
    np.testing.assert_array_equal(table.unpack(blocks, bits, n, dim), codes)


@given(
    bits=st.sampled_from([4, 8]),
    n_queries=st.sampled_from([1, 8]),
    n=st.integers(1, 50),
    dim=sizes,
    seed=seeds,
)
def test_integer_products_are_exact(level, bits, n_queries, n, dim, seed):
    codes, queries = drawn(bits, n, n_queries, dim, seed)
    found = table.dots(table.pack(codes, bits), queries, bits, level)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found[:, :n], reference.dots(codes, queries))
    np.testing.assert_array_equal(found[:, n:], 0)


@pytest.mark.parametrize("n_queries", [1, 8])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dim", [*DIMS, MAX_DIM])
def test_the_largest_codes_and_queries_of_either_sign_do_not_saturate(level, bits, n_queries, dim):
    top = 2**bits - 1
    blocks = table.pack(np.full((16, dim), top, np.uint8), bits)
    for sign in (-1, 1):
        queries = np.full((n_queries, dim), 127 * sign, np.int8)
        np.testing.assert_array_equal(table.dots(blocks, queries, bits, level), 127 * sign * top * dim)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dim", DIMS)
def test_eight_queries_together_are_eight_queries_alone(level, bits, dim):
    codes, queries = drawn(bits, 37, 8, dim, dim)
    blocks = table.pack(codes, bits)
    together = table.dots(blocks, queries, bits, level)
    for q in range(8):
        np.testing.assert_array_equal(together[q], table.dots(blocks, queries[q : q + 1], bits, level)[0])


@pytest.mark.parametrize("n_queries", [1, 8])
@pytest.mark.parametrize("bits", [4, 8])
def test_nothing_is_read_past_the_last_block(level, bits, n_queries):
    for dim in (1, 4, 5, 8, 9, 16, 17, 31, 33, 100):
        codes, queries = drawn(bits, 35, n_queries, dim, dim)
        blocks = at_page_end(table.pack(codes, bits))
        found = table.dots(blocks, queries, bits, level)
        np.testing.assert_array_equal(found[:, :35], reference.dots(codes, queries))
        np.testing.assert_array_equal(table.unpack(blocks, bits, 35, dim), codes)
