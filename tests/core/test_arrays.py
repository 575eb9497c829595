import decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inlay.arrays import as_count, as_ids, as_number, as_rows, normalised
from tests.awkward import KINDS, rows

shapes = st.tuples(st.integers(0, 6), st.integers(1, 6))
finite = hnp.arrays(np.float64, shapes, elements=st.floats(-3e38, 3e38))


# as_rows


@given(values=finite, fortran=st.booleans())
def test_rows_of_any_layout_become_contiguous_float32(values, fortran):
    given_rows = np.asfortranarray(values) if fortran else values
    for array in (given_rows, given_rows[::-1], given_rows.tolist() if len(values) else values):
        found = as_rows(array, values.shape[1])
        assert type(found) is np.ndarray
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, np.asarray(array, np.float32))


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", "g", "i1", "u1", "i2", "i4", "u4", "i8", "u8"])
def test_every_real_dtype_is_taken(dtype):
    values = np.array([[1, 2], [3, 4]], dtype)
    found = as_rows(values, 2)
    assert found.dtype == np.float32
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, [[1, 2], [3, 4]])


def test_float32_rows_are_passed_on_without_a_copy():
    values = np.ones((3, 4), np.float32)
    values.flags.writeable = False
    assert as_rows(values, 4) is values


def test_rows_that_are_not_in_order_in_memory_are_copied(rng):
    values = rng.standard_normal((6, 8), np.float32)
    for view, dim in ((values.T, 6), (values[:, ::2], 4), (values[::-1], 8), (values[:, 1:], 7)):
        found = as_rows(view, dim)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, view)


def test_a_subclass_becomes_a_plain_array():
    with pytest.warns(PendingDeprecationWarning):
        values = np.matrix([[1.0, 2.0]], np.float32)
    assert type(as_rows(values, 2)) is np.ndarray


def test_no_rows_are_rows():
    for nothing in ([], (), np.empty((0, 3)), np.empty(0), np.empty((0, 3), np.float32)):
        assert as_rows(nothing, 3).shape == (0, 3)


def test_one_row_alone_is_taken_where_asked_for_only():
    assert as_rows([1, 2, 3], 3, "queries", True).shape == (1, 3)
    assert as_rows(np.ones(3, np.float32), 3, one_row=True).shape == (1, 3)
    with pytest.raises(ValueError, match=r"rows must have two dimensions \(n, 3\), not shape \(3,\)"):
        as_rows([1, 2, 3], 3)


@pytest.mark.parametrize("shape", [(2, 3, 1), (1, 1, 3), (1, 3, 3, 3)])
def test_other_shapes_are_refused_with_the_shape_given(shape):
    with pytest.raises(ValueError, match="vectors must have two dimensions") as error:
        as_rows(np.ones(shape), 3, "vectors", True)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("values", [np.ones((2, 4)), np.ones((0, 4)), np.ones(4), np.ones((2, 0))])
def test_another_number_of_dimensions_is_refused_with_both_numbers(values):
    with pytest.raises(ValueError, match=rf"queries have {values.shape[-1]} dimensions but the index has 3"):
        as_rows(values, 3, "queries", True)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf, 1e39, -1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [5, 2000])
def test_what_is_not_finite_in_float32_is_refused_with_its_row(value, dtype, n):
    with np.errstate(over="ignore"):
        values = np.ones((n, 70)).astype(dtype)
        values[n - 2, 69] = value
        values[n - 1, 0] = value
    with pytest.raises(ValueError, match=f"row {n - 2} of rows holds a NaN or infinite value"):
        as_rows(values, 70)


@pytest.mark.parametrize("value", [3.4028234e38, -3.4028234e38, 1e-45, -1e-300, 0.0, -0.0])
def test_the_ends_of_float32_are_taken(value):
    np.testing.assert_array_equal(as_rows([[value]], 1), np.float32(value))


@pytest.mark.parametrize(
    "values",
    [
        [["a", "b"]],
        [[1 + 2j, 0]],
        [[True, False]],
        [[None, 1.0]],
        [[decimal.Decimal(1), 2]],
        [["2024-01-01", "2024-01-02"]],
        np.array([["2024-01-01", "2024-01-02"]], "M8[D]"),
    ],
)
def test_anything_but_real_numbers_is_a_type_error(values):
    with pytest.raises(TypeError, match="rows must be real numbers, not "):
        as_rows(values, 2)


def test_ragged_lists_are_refused():
    with pytest.raises(ValueError, match="rows do not form an array"):
        as_rows([[1, 2], [3]], 2)


# normalised


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 7, 128, 1000])
def test_normalised_rows_have_length_1_and_their_direction(kind, dim):
    x = rows(kind, 5, dim)
    before = x.copy()
    found = normalised(x)
    lengths = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    wanted = np.divide(x, lengths, out=np.zeros((5, dim)), where=lengths > 0)
    np.testing.assert_allclose(found, wanted, rtol=2e-7, atol=1e-45)
    np.testing.assert_array_equal(x, before)
    assert found.dtype == np.float32


def test_rows_at_both_ends_of_float32_are_normalised_and_zeros_stay_zeros():
    x = np.array([[3e38, -3e38], [1e-45, 0], [0, 0]], np.float32)
    np.testing.assert_allclose(normalised(x), [[0.5**0.5, -(0.5**0.5)], [1, 0], [0, 0]], rtol=2e-7)
    assert normalised(np.empty((0, 3), np.float32)).shape == (0, 3)


# as_ids


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_ids_become_contiguous_int64_without_change(values):
    # Integers too large for one NumPy type together come as an int64 array, as a caller would give them.
    for array in (np.array(values, np.int64), np.array(values[::-1], np.int64)[::-1]):
        found = as_ids(array)
        assert found.dtype == np.int64
        assert found.flags.c_contiguous
        assert found.tolist() == values


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "i8", ">i8", "u8", "f2", "f4", "f8"])
def test_every_whole_number_is_taken(dtype):
    found = as_ids(np.array([3, 0, 100], dtype))
    assert found.dtype == np.int64
    assert found.tolist() == [3, 0, 100]


def test_ids_of_int64_are_passed_on_without_a_copy():
    ids = np.arange(5)
    assert as_ids(ids) is ids


def test_no_ids_are_ids_of_any_dtype():
    for nothing in ([], np.empty(0), np.empty(0, bool), np.empty((0, 2), "U3")):
        found = as_ids(nothing)
        assert found.shape == (0,)
        assert found.dtype == np.int64


@pytest.mark.parametrize("values", [[True], ["1"], [None], [1j], [2**70]])
def test_ids_of_another_type_are_a_type_error(values):
    with pytest.raises(TypeError, match="wanted must be integers, not "):
        as_ids(values, "wanted")


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -np.inf])
def test_ids_with_fractions_are_a_type_error(value):
    with pytest.raises(TypeError, match="ids must be integers, not float64 with fractions"):
        as_ids([1.0, value])


@pytest.mark.parametrize(("dtype", "digits"), [("f2", 11), ("f4", 24), ("f8", 53), ("g", 53)])
def test_floats_too_large_to_be_exact_are_refused(dtype, digits):
    assert as_ids(np.array([2**digits, -(2**digits)], dtype)).tolist() == [2**digits, -(2**digits)]
    for value in (2**digits + 2, -(2**digits) - 2):
        with pytest.raises(ValueError, match=rf"beyond 2\*\*{digits} are not exact"):
            as_ids(np.array([0, value], dtype))


def test_ids_beyond_int64_are_refused():
    assert as_ids(np.array([2**63 - 1], np.uint64)).tolist() == [2**63 - 1]
    with pytest.raises(ValueError, match=f"must fit 64 bits with sign; {2**63} does not"):
        as_ids(np.array([1, 2**63], np.uint64))


@pytest.mark.parametrize("values", [3, [[1, 2]], np.ones((2, 2), int)])
def test_ids_of_another_shape_are_refused(values):
    with pytest.raises(ValueError, match="ids must have one dimension, not shape"):
        as_ids(values)


# as_count


@pytest.mark.parametrize("value", [7, np.int8(7), np.uint64(7), np.array(7)])
def test_counts_are_integers_of_any_kind(value):
    found = as_count(value, "k")
    assert found == 7
    assert type(found) is int


@pytest.mark.parametrize("value", [True, np.True_, 7.0, np.float32(7), "7", None, [7]])
def test_a_count_of_another_type_is_a_type_error(value):
    with pytest.raises(TypeError, match="k must be an integer, not "):
        as_count(value, "k")


def test_a_count_below_the_least_is_refused():
    assert as_count(0, "rerank", 0) == 0
    for value, least in ((0, 1), (-1, 0), (2, 3)):
        with pytest.raises(ValueError, match=f"rerank must be at least {least}, not {value}"):
            as_count(value, "rerank", least)


def test_a_count_beyond_64_bits_is_refused():
    assert as_count(2**63 - 1, "k") == 2**63 - 1
    with pytest.raises(ValueError, match=f"k must be at most {2**63 - 1}, not {2**70}"):
        as_count(2**70, "k")


# as_number


@pytest.mark.parametrize("value", [7, 2.5, np.float32(2.5), np.int8(-7), np.array(2.5), np.inf, -np.inf])
def test_numbers_are_real_numbers_of_any_kind(value):
    found = as_number(value, "radius")
    assert type(found) is float
    assert found == value


@pytest.mark.parametrize("value", [True, "2.5", None, 1j, [2.5], [[1]]])
def test_a_number_of_another_type_is_a_type_error(value):
    with pytest.raises(TypeError, match="radius must be a number, not "):
        as_number(value, "radius")


def test_nan_is_no_number():
    with pytest.raises(ValueError, match="radius must be a number, not NaN"):
        as_number(float("nan"), "radius")
