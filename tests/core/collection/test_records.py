import numpy as np
import pytest

from inlay import FormatError
from inlay.collection import filters
from inlay.collection.database import Database
from inlay.collection.records import Record, State

FIRST = State("default", "l2", "auto", 3)


@pytest.fixture
def writer():
    database = Database(FIRST)
    yield database.writer
    database.close()


def insert(writer, first, names):
    writer.insert(first, names, [name * 2 for name in names], [f'{{"name":"{name}"}}' for name in names])


def test_records_come_in_the_order_asked_for(writer):
    insert(writer, 0, ["a", "b", "c"])
    found = writer.records(np.array([2, 0, 2]))
    assert found == [
        Record("c", "cc", {"name": "c"}),
        Record("a", "aa", {"name": "a"}),
        Record("c", "cc", {"name": "c"}),
    ]
    assert found[0].metadata is not found[2].metadata


def test_ids_lead_to_rows_however_many(writer):
    names = [f"n{i}" for i in range(2500)]
    insert(writer, 10, names)
    assert writer.rows_of(["n7", "nobody", "n2499"]) == {"n7": 17, "n2499": 2509}
    assert len(writer.rows_of(names)) == 2500
    assert len(writer.records(np.arange(10, 2510))) == 2500


def test_removed_rows_are_gone_and_remembered_in_order(writer):
    insert(writer, 0, list("abcdef"))
    writer.remove(np.array([4, 1]), 0)
    writer.remove(np.array([0]), 2)
    assert writer.rows().tolist() == [2, 3, 5]
    assert writer.gone(0).tolist() == [4, 1, 0]
    assert writer.gone(2).tolist() == [0]
    assert writer.count() == 3


def test_pages_cover_everything_once(writer):
    insert(writer, 5, [f"n{i}" for i in range(2300)])
    after, seen = -1, []
    while True:
        after, page = writer.page(after)
        if not page:
            break
        seen += [record.id for record in page]
    assert seen == [f"n{i}" for i in range(2300)]


def test_a_filter_finds_rows_in_order(writer):
    insert(writer, 0, list("abcde"))
    assert writer.matching(filters.parse({"name": ["d", "b"]})).tolist() == [1, 3]
    assert writer.matching(filters.parse({"name": {"$eq": ["d"]}})).tolist() == []


def test_a_state_comes_back_as_it_was_put(writer):
    state = State("x", "ip", "LVQ8", 7, 2, 3, 9, 12, 1, "index-2-12-1.inlay", 100, 2**32 - 1)
    writer.put(state)
    assert writer.state() == state
    assert writer.version() == state.version == (2, 12, 1, 0)
    assert (state.n_slots, state.n_live) == (6, 5)


@pytest.mark.parametrize(
    "lie",
    [
        {"metric": "l3"},
        {"dim": 0},
        {"dim": b"3"},
        {"generation": -1},
        {"next_row": 2**62},
        {"next_row": 1.5},
        {"first_row": 5},
        {"n_kept": 1},
        {"removed": 1},
        {"name": b"x"},
        {"snapshot": b"x"},
        {"dim": None, "next_row": 2},
    ],
)
def test_a_state_that_cannot_be_true_is_a_format_error(writer, lie):
    for column, value in lie.items():
        writer.ask(f"UPDATE state SET {column} = ?", [value])
    with pytest.raises(FormatError, match="cannot be true"):
        writer.state()


def test_a_missing_state_is_a_format_error(writer):
    writer.ask("DELETE FROM state")
    with pytest.raises(FormatError, match="missing"):
        writer.state()


def test_kept_rows_are_checked(writer):
    state = State("default", "l2", "auto", 3, 1, 3, 9, 9)
    writer.renew(np.array([1, 4, 8]))
    assert writer.kept(state).tolist() == [1, 4, 8]
    for rows in ([1, 4], [4, 1, 8], [1, 4, 9], [-1, 4, 8], [1, 1, 8]):
        writer.renew(np.array(rows))
        with pytest.raises(FormatError, match="kept rows"):
            writer.kept(state)


@pytest.mark.parametrize("broken", ["UPDATE doc SET meta = '{'", "UPDATE doc SET meta = '[]'"])
def test_damaged_metadata_are_a_format_error(writer, broken):
    insert(writer, 0, ["a"])
    writer.ask(broken)
    with pytest.raises(FormatError):
        writer.records(np.array([0]))
    with pytest.raises(FormatError):
        writer.matching(filters.parse({'odd"key': 1}))


def test_text_that_is_no_text_is_a_format_error(writer):
    insert(writer, 0, ["a"])
    writer.ask("UPDATE body SET text = ?", [b"\xff"])
    with pytest.raises(FormatError, match="is no text"):
        writer.records(np.array([0]))
    writer.ask("UPDATE body SET text = CAST(x'ff' AS TEXT)")
    with pytest.raises(FormatError, match="no valid Unicode"):
        writer.records(np.array([0]))
    with pytest.raises(FormatError, match="not among the records"):
        writer.records(np.array([5]))
