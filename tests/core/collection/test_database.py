import os
import sqlite3
import subprocess
import sys

import pytest

from inlay import FormatError
from inlay.collection.database import DATABASE, LOCK, Database, WriterLock, claim, create
from inlay.collection.records import State

FIRST = State("default", "l2", "auto", 3)


@pytest.fixture
def file(tmp_path):
    create(tmp_path / DATABASE, FIRST)
    return tmp_path / DATABASE


def test_a_new_file_holds_its_state_and_leaves_nothing_beside(file):
    assert os.listdir(file.parent) == [DATABASE]
    database = Database(file)
    with database.borrow() as reader:
        assert reader.state() == FIRST
    database.writer.put(FIRST)
    database.close()
    assert os.listdir(file.parent) == [DATABASE]


@pytest.mark.parametrize("contents", [b"", b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_a_format_error(tmp_path, contents):
    (tmp_path / DATABASE).write_bytes(contents)
    for read_only in (False, True):
        with pytest.raises(FormatError):
            Database(tmp_path / DATABASE, read_only=read_only)


@pytest.mark.parametrize(
    "change",
    [
        "PRAGMA application_id = 5",
        "PRAGMA user_version = 99",
        "DROP TABLE gone",
        "ALTER TABLE doc ADD COLUMN more",
        "CREATE TRIGGER t AFTER INSERT ON doc BEGIN DELETE FROM body; END",
        "CREATE VIEW v AS SELECT 1",
        "ALTER TABLE doc RENAME TO old",
    ],
)
def test_a_database_that_is_not_exactly_ours_is_a_format_error(file, change):
    database = sqlite3.connect(file, isolation_level=None)
    database.execute(change)
    database.close()
    with pytest.raises(FormatError):
        Database(file)


def test_a_file_cut_anywhere_is_a_format_error(file):
    whole = file.read_bytes()
    for size in range(0, len(whole), 4096):
        file.write_bytes(whole[:size])
        with pytest.raises(FormatError), Database(file, read_only=True).borrow() as reader:
            assert (reader.count(), len(reader.gone(0)), len(reader.kept(FIRST))) == (0, 0, 0)


def test_readers_get_connections_of_their_own_and_give_them_back(file):
    database = Database(file, read_only=True)
    with database.borrow() as one, database.borrow() as other:
        assert one is not other
    with database.borrow() as again:
        assert again in (one, other)
        database.close()
        assert again.state() == FIRST  # what is lent works until it comes back
    with pytest.raises(sqlite3.ProgrammingError):
        again.state()


def test_a_pinned_reader_stays_with_its_state(file):
    database = Database(file)
    with database.borrow() as reader:
        reader.pin()
        assert reader.state().next_row == 0
        database.writer.put(State("default", "l2", "auto", 3, next_row=5))
        assert reader.state().next_row == 0
        reader.unpin()
        assert reader.state().next_row == 5
    database.close()


def test_readers_cannot_write(file):
    database = Database(file)
    with database.borrow() as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.ask("DELETE FROM state")
    database.close()


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_durability_is_that_of_sqlite(file, durability, synchronous):
    database = Database(file, durability=durability)
    assert database.writer.ask("PRAGMA synchronous") == [(synchronous,)]
    assert database.writer.ask("PRAGMA journal_mode") == [("wal",)]
    database.close()


def test_one_writes_at_a_time(tmp_path):
    lock = WriterLock(tmp_path / LOCK)
    with pytest.raises(BlockingIOError, match="read_only=True"):
        WriterLock(tmp_path / LOCK)
    script = (
        "import sys, pathlib; from inlay.collection.database import WriterLock\n"
        "try: WriterLock(pathlib.Path(sys.argv[1]))\n"
        "except BlockingIOError: print('refused')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / LOCK)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\n"
    lock.release()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
    WriterLock(tmp_path / LOCK).release()
    assert os.listdir(tmp_path) == [LOCK]


def test_a_lock_that_is_something_else_is_a_format_error(tmp_path):
    (tmp_path / LOCK).write_bytes(b"not a lock" * 100)
    with pytest.raises(FormatError, match="remove it"):
        WriterLock(tmp_path / LOCK)


def test_claiming_a_folder_makes_it_and_the_database(tmp_path):
    lock = claim(tmp_path / "a" / "b", FIRST)
    assert sorted(os.listdir(tmp_path / "a" / "b")) == [DATABASE, LOCK]
    lock.release()


def test_a_folder_that_lost_its_database_is_not_begun_anew(tmp_path):
    (tmp_path / "vectors-0.f32").write_bytes(b"1234")
    with pytest.raises(FormatError, match="no database"):
        claim(tmp_path, FIRST)
    WriterLock(tmp_path / LOCK).release()  # it was given back


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        claim(tmp_path / "file", FIRST)
