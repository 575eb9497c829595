import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_lorann as reference
from inlay.kernels import lorann, table
from tests.awkward import at_page_end, seeds

lengths = st.sampled_from([0, 1, 4, 7, 31, 32, 63, 64, 65, 192, 512]) | st.integers(0, 80)


def drawn(bits, n, n_queries, length, seed):
    """A call's arguments but the norms, with many of the largest codes and values."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**bits, (n, length), np.uint8)
    codes[rng.random(codes.shape) < 0.2] = 2**bits - 1
    values = rng.integers(-127, 128, (n_queries, length), np.int8)
    values[rng.random(values.shape) < 0.2] = rng.choice([-127, 127])
    scales, firsts = rng.standard_normal((2, n_queries), np.float32)
    steps, row_firsts = rng.standard_normal((2, n)).astype(np.float16)
    return codes, values, scales, firsts, steps, row_firsts


def padded(array, size):
    return np.concatenate([array, np.zeros(size - len(array), array.dtype)])


def scored(bits, codes, values, scales, firsts, steps, row_firsts, norms, level, hold=np.asarray):
    """The kernel's scores, of whole blocks."""
    blocks = table.pack(codes, bits)
    whole = 16 * len(blocks)
    wide = np.zeros((len(values), 32 // bits * blocks.shape[1]), np.int8)
    wide[:, : values.shape[1]] = values
    norms = None if norms is None else hold(padded(norms, whole))
    steps, row_firsts = hold(padded(steps, whole)), hold(padded(row_firsts, whole))
    return lorann.lorann(hold(blocks), wide, scales, firsts, steps, row_firsts, norms, bits, level)


@given(
    bits=st.sampled_from([4, 8]),
    n_queries=st.sampled_from([1, 8]),
    n=st.integers(1, 50) | st.just(300),
    length=lengths.filter(bool),
    with_norms=st.booleans(),
    seed=seeds,
)
def test_scores_are_their_definition_bit_for_bit(level, bits, n_queries, n, length, with_norms, seed):
    arguments = drawn(bits, n, n_queries, length, seed)
    norms = np.random.default_rng(seed).standard_normal(n, np.float32) if with_norms else None
    found = scored(bits, *arguments, norms, level)
    np.testing.assert_array_equal(found[:, :n], reference.scores(*arguments, norms, bits))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("length", [32, 64, 512])
def test_the_largest_codes_and_values_do_not_saturate(level, bits, length):
    for n_queries in (1, 8):
        for sign in (-1, 1):
            _, _, scales, firsts, steps, row_firsts = drawn(bits, 16, n_queries, length, 0)
            codes = np.full((16, length), 2**bits - 1, np.uint8)
            values = np.full((n_queries, length), 127 * sign, np.int8)
            arguments = codes, values, scales, firsts, steps, row_firsts
            found = scored(bits, *arguments, None, level)
            np.testing.assert_array_equal(found, reference.scores(*arguments, None, bits))


@pytest.mark.parametrize("bits", [4, 8])
def test_eight_queries_together_are_eight_queries_alone(level, bits):
    codes, values, scales, firsts, *rows = drawn(bits, 90, 8, 33, 1)
    together = scored(bits, codes, values, scales, firsts, *rows, None, level)
    for q in range(8):
        one = slice(q, q + 1)
        alone = scored(bits, codes, values[one], scales[one], firsts[one], *rows, None, level)
        np.testing.assert_array_equal(together[one], alone)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("n_queries", [1, 8])
def test_nothing_is_read_past_the_last_block(level, bits, n_queries):
    for length in (1, 5, 32, 33):
        arguments = drawn(bits, 35, n_queries, length, length)
        norms = np.ones(35, np.float32)
        found = scored(bits, *arguments, norms, level, hold=at_page_end)
        np.testing.assert_array_equal(found[:, :35], reference.scores(*arguments, norms, bits))
