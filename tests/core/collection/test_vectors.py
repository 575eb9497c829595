import numpy as np
import pytest

from inlay import FormatError
from inlay.collection.vectors import FileVectors, MemoryVectors, Slots

ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.fixture(params=["file", "memory"])
def vectors(request, tmp_path):
    return MemoryVectors(4) if request.param == "memory" else FileVectors(tmp_path / "v", 4, 0, writable=True)


def test_slots_hold_what_was_written_to_them(vectors):
    vectors.write(0, ROWS[:3])
    early = vectors.read(np.array([2]))
    vectors.write(3, ROWS[3:])
    np.testing.assert_array_equal(vectors.read(np.array([9, 0, 3, 3])), ROWS[[9, 0, 3, 3]])
    np.testing.assert_array_equal(early, ROWS[[2]])
    assert vectors.read(np.empty(0, np.int64)).shape == (0, 4)


def test_what_is_read_is_a_copy(vectors):
    vectors.write(0, ROWS)
    vectors.read(np.array([1]))[:] = -1
    np.testing.assert_array_equal(vectors.read(np.array([1])), ROWS[[1]])


def test_a_write_that_never_came_to_its_commit_is_written_over(vectors):
    vectors.write(0, ROWS[:4])
    vectors.write(4, ROWS[:5])  # and then nobody committed
    vectors.write(4, ROWS[4:6])
    np.testing.assert_array_equal(vectors.read(np.arange(6)), ROWS[:6])


def test_a_torn_tail_is_cut_on_opening(tmp_path):
    file = tmp_path / "v"
    FileVectors(file, 4, 0, writable=True).write(0, ROWS)
    with open(file, "ab") as stream:
        stream.write(b"torn")
    vectors = FileVectors(file, 4, 7, writable=True)
    assert file.stat().st_size == 7 * 16
    np.testing.assert_array_equal(vectors.read(np.arange(7)), ROWS[:7])


def test_a_reader_leaves_the_tail_alone(tmp_path):
    file = tmp_path / "v"
    FileVectors(file, 4, 0, writable=True).write(0, ROWS)
    vectors = FileVectors(file, 4, 7, writable=False)
    assert file.stat().st_size == 10 * 16
    np.testing.assert_array_equal(vectors.read(np.array([6])), ROWS[[6]])


def test_a_file_shorter_than_what_was_committed_is_damaged_and_not_touched(tmp_path):
    file = tmp_path / "v"
    FileVectors(file, 4, 0, writable=True).write(0, ROWS)
    with open(file, "r+b") as stream:
        stream.truncate(100)
    for writable in (True, False):
        with pytest.raises(FormatError, match=r"byte 100: the vectors end here, 10 of 16 bytes"):
            FileVectors(file, 4, 10, writable=writable)
    assert file.stat().st_size == 100


def test_a_missing_file_is_an_error_only_where_vectors_were_committed(tmp_path):
    with pytest.raises(FileNotFoundError):
        FileVectors(tmp_path / "v", 4, 1, writable=True)
    assert FileVectors(tmp_path / "v", 4, 0, writable=False).read(np.empty(0, np.int64)).shape == (0, 4)


def test_rows_find_their_slots_after_a_compaction():
    slots = Slots(np.array([2, 5, 9]), 20)
    np.testing.assert_array_equal(slots.of(np.array([9, 20, 2, 22])), [2, 3, 0, 5])
    np.testing.assert_array_equal(slots.rows(23), [2, 5, 9, 20, 21, 22])
    np.testing.assert_array_equal(slots.of(slots.rows(23)), np.arange(6))
