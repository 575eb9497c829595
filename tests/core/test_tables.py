import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay.tables import Table

LARGE = 9 << 20  # bytes: beyond the size from which pages, then huge pages, are asked for


def filled(n, shape=(3,), dtype=np.float32):
    """A table of n rows, and what it holds."""
    values = np.arange(n * int(np.prod(shape)), dtype=np.int64).astype(dtype).reshape(n, *shape)
    table = Table(dtype, shape)
    table.resize(n)
    table.rows[:] = values
    return table, values


@given(sizes=st.lists(st.integers(0, 300), max_size=12), compact_at=st.sets(st.integers(0, 11)))
def test_growing_and_shrinking_keeps_every_row_that_stays(sizes, compact_at):
    table = Table(np.int64)
    model = []
    for step, n in enumerate(sizes):
        table.resize(n)
        fresh = max(n - len(model), 0)
        model = model[:n] + list(range(1000 * step, 1000 * step + fresh))
        table.rows[n - fresh :] = model[n - fresh :]
        if step in compact_at:
            table.compact()
        assert len(table) == n
        assert table.rows.tolist() == model


@pytest.mark.parametrize("shape", [(), (1,), (7,), (4, 64)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("n", [1, 5, 1000])
def test_rows_have_their_dtype_shape_and_alignment(n, dtype, shape):
    table, values = filled(n, shape, dtype)
    assert table.rows.shape == (n, *shape)
    assert table.rows.dtype == dtype
    assert table.rows.flags.c_contiguous
    assert table.rows.ctypes.data % 64 == 0
    np.testing.assert_array_equal(table.rows, values)


@pytest.mark.parametrize("size", [(1 << 20) - 4, 1 << 20, LARGE])
def test_large_tables_are_aligned_writeable_and_keep_their_rows(size):
    n = size // 4
    table, values = filled(n, (), np.int32)
    for grown in (n + 1, 2 * n):
        table.resize(grown)
        assert table.rows.ctypes.data % 64 == 0
        table.rows[n:] = -1
        np.testing.assert_array_equal(table.rows[:n], values)
    table.resize(3)
    table.compact()
    assert table.nbytes == 12
    np.testing.assert_array_equal(table.rows, values[:3])


def test_the_first_growth_takes_exactly_what_is_asked():
    table, _ = filled(1001, (2,))
    assert table.nbytes == 1001 * 8
    before = table.rows.ctypes.data
    table.compact()
    assert table.rows.ctypes.data == before


def test_growth_in_small_pieces_moves_seldom():
    table = Table(np.float32, (2,))
    places = set()
    for n in range(1, 3001):
        table.resize(n)
        places.add(table.rows.ctypes.data)
    # One move for every factor of 1.5, log(3000) / log(1.5) < 20, and the first steps of a row or two.
    assert len(places) < 30


def test_bytes_are_those_written_to_until_they_are_given_back():
    table, _ = filled(100, (4,))
    assert table.nbytes == 1600
    table.resize(101)  # room for more, but one more row is used
    assert table.nbytes == 1616
    table.resize(10)
    assert table.nbytes == 1616
    table.compact()
    assert table.nbytes == 160
    table.resize(0)
    table.compact()
    assert table.nbytes == 0
    table.resize(2)
    assert table.nbytes == 32


def read_only(n):
    values = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    values.flags.writeable = False
    return values


def test_a_table_over_an_array_reads_it_where_it_is():
    values = read_only(6)
    table = Table.over(values)
    assert table.mapped
    assert len(table) == 6
    assert table.shape == (2,)
    assert np.shares_memory(table.rows, values)
    table.compact()
    assert np.shares_memory(table.rows, values)


@pytest.mark.parametrize("n", [7, 100])
@pytest.mark.parametrize("kept", [0, 1, 5, 6])
def test_growing_copies_the_array_first_and_leaves_it_as_it_was(kept, n):
    values = read_only(6)
    before = values.copy()
    table = Table.over(values)
    table.resize(kept)
    assert table.rows.tolist() == before[:kept].tolist()
    table.resize(n)
    assert not table.mapped
    assert not np.shares_memory(table.rows, values)
    np.testing.assert_array_equal(table.rows[:kept], before[:kept])
    table.rows[:] = -1
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("n", [0, 1, 5, 6])
def test_keeping_fewer_rows_of_an_array_copies_nothing_until_they_are_owned(n):
    values = read_only(6)
    table = Table.over(values)
    table.resize(n)
    assert table.mapped
    assert table.nbytes == 8 * n
    table.own()
    assert not table.mapped
    assert table.rows.tolist() == values[:n].tolist()
    table.rows[:] = -1
    np.testing.assert_array_equal(values, read_only(6))


def test_rows_that_were_reserved_are_added_without_a_move():
    table, values = filled(10)
    table.reserve(1000)
    assert len(table) == 10
    np.testing.assert_array_equal(table.rows, values)
    place = table.rows.ctypes.data
    for n in (11, 500, 1000):
        table.resize(n)
        assert table.rows.ctypes.data == place
    table.reserve(10)
    assert len(table) == 1000
    assert table.rows.ctypes.data == place


def test_owning_copies_once_and_makes_rows_writeable():
    values = read_only(6)
    table = Table.over(values)
    table.own()
    assert not table.mapped
    assert table.rows.flags.writeable
    assert table.rows.ctypes.data % 64 == 0
    assert table.nbytes == values.nbytes
    np.testing.assert_array_equal(table.rows, values)
    table.rows[0] = 9
    place = table.rows.ctypes.data
    table.own()
    assert table.rows.ctypes.data == place
    assert values[0].tolist() == [0, 1]


def test_a_table_over_a_mapped_file_outlives_its_other_owners(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(np.arange(1000, dtype=np.float32).tobytes())
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    table = Table.over(np.frombuffer(mapped, np.float32))
    del mapped
    np.testing.assert_array_equal(table.rows, np.arange(1000))
    table.resize(1001)
    np.testing.assert_array_equal(table.rows[:1000], np.arange(1000))
    table.rows[1000] = 5
    assert len(path.read_bytes()) == 4000
