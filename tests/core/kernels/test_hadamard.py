import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from inlay.kernels import table
from tests.awkward import KINDS, at_page_end, row, seeds

sizes = st.integers(0, 11).map(lambda power: 2**power)


@given(size=sizes, kind=st.sampled_from(sorted(KINDS)), seed=seeds)
def test_every_level_gives_the_bits_of_the_definition(level, size, kind, seed):
    x = row(kind, size, seed)
    np.testing.assert_array_equal(table.hadamard(x, level), reference.hadamard(x))


@pytest.mark.parametrize("power", range(8))
def test_it_is_the_hadamard_matrix(level, power):
    matrix = np.ones((1, 1), np.float32)
    for _ in range(power):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    found = np.stack([table.hadamard(x, level) for x in np.eye(2**power, dtype=np.float32)])
    np.testing.assert_array_equal(found, matrix)


@given(size=sizes, seed=seeds)
def test_twice_is_n_times_the_input(level, size, seed):
    x = np.random.default_rng(seed).integers(-50, 51, size).astype(np.float32)
    np.testing.assert_array_equal(table.hadamard(table.hadamard(x, level), level), size * x)


@pytest.mark.parametrize("power", range(8))
def test_the_input_is_left_as_it_was_and_nothing_is_read_past_it(level, power):
    given_x = row("gaussian", 2**power)
    x = at_page_end(given_x)
    found = table.hadamard(x, level)
    np.testing.assert_array_equal(found, reference.hadamard(given_x))
    np.testing.assert_array_equal(x, given_x)
