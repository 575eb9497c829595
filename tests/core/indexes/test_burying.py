"""What every index promises whose removed rows stay as dead slots until they are dropped."""

import contextlib
import linecache
import pickle
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from core.indexes.forms import assert_nearest, gaussian, held
from core.indexes.linked import LINKED, Linked
from core.indexes.test_changes import AnySequence, Refusal, copy_of, refusing_at
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

import inlay
from inlay import FormatError, IdFilter, file
from inlay.indexes import base
from inlay.parallel import signals

DIM = 6
QUERIES = gaussian(5, DIM, seed=7)


def filled(n=100, metric="l2"):
    return LINKED.filled(gaussian(n, DIM), metric, ids=np.arange(n) * 3)


def with_dead(metric="l2"):
    """An index of 90 rows and 15 dead slots, few enough to stay."""
    index = filled(metric=metric)
    assert index.remove([0, 3, 297, 150, 30, 33, 36, 60, 63, 66, 5]) == 10
    index.upsert(gaussian(5, DIM, seed=1), [9, 12, 15, 1000, 1001])
    index.upsert(gaussian(2, DIM, seed=2), [1000, 18])
    assert (len(index), index.n_dead) == (92, 15)
    return index


def answers(index):
    """What can be known of an index, whatever the slots of its rows."""
    order = np.argsort(index.ids)
    return [
        index.ids[order],
        held(index)[order],
        *index.search(QUERIES, 9),
        *index.search(QUERIES, 120, allowed=index.ids[order][::3]),
        *index.range_search(QUERIES, 4.0 if index.metric == "l2" else 0.1),
        index.contains(range(-10, 1010)),
    ]


def same(index, expected):
    if isinstance(index, Linked):
        index.check(index._ids.alive)
    return all(map(np.array_equal, answers(index), answers(expected)))


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_any_sequence_of_calls_keeps_every_row_and_id(metric):
    machine = type("AnySequenceOfLinked", (AnySequence,), {"form": LINKED, "metric": metric})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
    )


def test_removed_rows_stay_as_dead_slots_and_are_no_results(metric):
    index = filled(metric=metric)
    rows = dict(zip(index.ids.tolist(), held(index), strict=True))
    gone = [0, 27, 297]
    assert index.remove([*gone, 27, 4, -1]) == 3
    assert (len(index), index.n_dead) == (97, 3)
    assert not index.contains(gone).any()
    assert index.ids.tolist() == [number for number in rows if number not in gone]
    assert "97 rows" in repr(index)
    for number, row in zip(index.ids.tolist(), held(index), strict=True):
        np.testing.assert_array_equal(row, rows[number])
    found = index.search(QUERIES, 100)
    assert_nearest(LINKED, index, QUERIES, found)
    assert not np.isin(gone, found[1]).any()
    limits, _, ids = index.range_search(QUERIES, np.inf if metric == "l2" else -np.inf)
    assert (np.diff(limits) == 97).all()
    assert not np.isin(gone, ids).any()
    with pytest.raises(KeyError, match="id 27 is not in the index"):
        index.reconstruct(27)
    # A dead slot is nobody's: the id may come back, at the end.
    index.add(gaussian(1, DIM), [27])
    assert index.ids[-1] == 27
    assert index.n_dead == 3


def test_masks_and_filters_are_over_live_rows():
    index = with_dead()
    mask = index.ids % 2 == 0
    wanted = index.ids[mask]
    by_mask = index.search(QUERIES, 60, allowed=mask)
    assert_nearest(LINKED, index, QUERIES, by_mask, mask)
    kept = IdFilter([*wanted, 3, 150])
    for _ in range(2):
        for allowed in (wanted, kept):
            assert np.array_equal(index.search(QUERIES, 60, allowed=allowed)[1], by_mask[1])
    for wrong in (np.ones(len(index) + index.n_dead, bool), np.ones(1, bool)):
        for call in (lambda mask: index.search(QUERIES, 3, allowed=mask), index.remove):
            with pytest.raises(ValueError, match=r"one entry a row, \(92,\)"):
                call(wrong)
    assert index.remove(mask) == len(wanted)
    assert not index.contains(wanted).any()
    assert len(index) == 92 - len(wanted)
    assert (index.search(QUERIES, 3, allowed=kept)[1] == -1).all()


def test_upsert_buries_what_it_replaces():
    index = filled(20)
    new = gaussian(3, DIM, seed=1)
    assert index.upsert(new, [6, 100, 0]).tolist() == [6, 100, 0]
    assert (len(index), index.n_dead) == (21, 2)
    assert index.ids.tolist() == [*(3 * slot for slot in range(20) if slot not in (0, 2)), 6, 100, 0]
    np.testing.assert_array_equal(index.reconstruct([6, 100, 0]), new)
    assert index.add(new[:1]).tolist() == [101]
    assert index.upsert(new, [6, 101, 102]).tolist() == [6, 101, 102]
    assert index.n_dead == 4
    before = index.to_bytes()
    with pytest.raises(ValueError, match="id -1 stands for a missing result"):
        index.upsert(new, [6, -1, 3])
    assert index.upsert(np.empty((0, DIM)), []).tolist() == []
    assert index.to_bytes() == before


def test_compact_drops_dead_slots_and_changes_no_answer(metric):
    index, expected = with_dead(metric), with_dead(metric)
    size = len(index.to_bytes())
    index.compact()
    assert index.n_dead == 0
    assert same(index, expected)
    assert len(index.to_bytes()) < size
    assert set(index._links.tolist()) == set(range(len(index)))
    before = index.to_bytes()
    index.compact()
    assert index.to_bytes() == before


def test_dead_slots_are_dropped_by_themselves_before_they_are_many(rng):
    index = filled(1000)
    most = 0
    for number in rng.permutation(index.ids)[:900]:
        index.remove([number])
        assert index.n_dead <= Linked.MOST_DEAD * index._ids.n_slots
        most = max(most, index.n_dead)
    assert most == 200
    index.check(index._ids.alive)
    for turn in range(300):
        index.upsert(gaussian(1, DIM, seed=turn), index.ids[:1])
        assert index.n_dead <= Linked.MOST_DEAD * index._ids.n_slots
    index.check(index._ids.alive)
    index.remove(index.ids[: len(index) // 2])
    assert index.n_dead == 0


@pytest.mark.parametrize("mask", [True, False])
def test_an_index_whose_rows_are_all_gone_has_no_slots_and_nothing_to_heal(mask, monkeypatch):
    index = with_dead()
    monkeypatch.setattr(Linked, "_heal", None)
    assert index.remove(np.ones(92, bool) if mask else np.arange(1002)) == 92
    assert (len(index), index._ids.n_slots, index.ids.tolist()) == (0, 0, [])
    assert (index.search(QUERIES, 3)[1] == -1).all()
    index.train(gaussian(10, DIM))
    assert copy_of(index).add(QUERIES).tolist() == [*range(1002, 1007)]
    assert index.add(QUERIES).tolist() == [*range(1002, 1007)]


def test_replacing_every_row_leaves_the_new_ones():
    index = filled(50)
    index.upsert(gaussian(50, DIM, seed=1), index.ids)
    assert (len(index), index.n_dead) == (50, 0)
    order = np.argsort(index.ids)
    np.testing.assert_array_equal(held(index)[order], gaussian(50, DIM, seed=1))
    index.check()


def test_a_filter_follows_burying_and_dropping():
    index = filled(60)
    kept = IdFilter(range(0, 600, 6))
    for change in (
        lambda: None,
        lambda: index.remove([0, 6, 9]),
        lambda: index.upsert(QUERIES, [3, 12, 15, 18, 1000]),
        lambda: index.compact(),
        lambda: index.remove(index.ids[:40]),
        lambda: index.add(QUERIES, [0, 6, 9, 2, 4]),
    ):
        change()
        mask = index.ids % 6 == 0
        mask &= index.ids < 600
        for one, other in zip(
            index.search(QUERIES, 50, allowed=kept), index.search(QUERIES, 50, allowed=mask), strict=True
        ):
            np.testing.assert_array_equal(one, other)


# Files


def test_dead_slots_are_saved_and_come_back(metric, tmp_path):
    index = with_dead(metric)
    path = tmp_path / "index.inlay"
    index.save(path)
    header, sections = file.read(path)
    assert (header["rows"], header["dead"]) == (107, 15)
    assert (sections["ids"] == -1).sum() == 15
    file.verify(path)
    for back in (
        Linked.load(path),
        Linked.load(path, mmap=False),
        Linked.from_bytes(index.to_bytes()),
        pickle.loads(pickle.dumps(index)),
    ):
        assert (len(back), back.n_dead) == (92, 15)
        np.testing.assert_array_equal(back.ids, index.ids)
        assert same(back, index)
        assert back.to_bytes() == index.to_bytes()
        expected = copy_of(index)
        for one in (back, expected):
            one.remove([90, 93])
            one.upsert(QUERIES[:2], [96, 2000])
            assert one.add(QUERIES).tolist() == [*range(2001, 2006)]
        assert back.to_bytes() == expected.to_bytes()
        back.compact()
        assert same(back, expected)
    assert path.read_bytes() == index.to_bytes()


def test_a_file_without_dead_slots_does_not_speak_of_them():
    index = with_dead()
    index.compact()
    assert "dead" not in file.read(index.to_bytes())[0]


@pytest.mark.parametrize("dead", [0, 1, 14, 16, 106])
def test_a_count_of_dead_slots_that_lies_is_refused_or_harmless(dead):
    header, sections = file.read(with_dead().to_bytes())
    data = file.to_bytes({**header, "dead": dead}, sections)
    if dead:
        with pytest.raises(FormatError, match=f"section 'ids', .*marks 15 of 107 .* the header says {dead}"):
            Linked.from_bytes(data)
        return
    # Rows with the id of a missing result, until the first removal finds them dead.
    index = Linked.from_bytes(data)
    assert len(index) == len(index.ids) == 107
    assert -1 not in index
    index.search(QUERIES, 200, allowed=index.ids != 9)
    index.upsert(QUERIES[:1], [1])
    index.remove([6])
    assert (len(index), index.n_dead) == (92, 16)
    index.check(index._ids.alive)
    index.compact()
    assert len(index.ids) == len(index) == 92
    index.check()


@pytest.mark.parametrize("dead", [-1, 107, 2**31, True, 1.5, "15", None])
def test_a_header_with_an_impossible_count_is_refused(dead):
    header, sections = file.read(with_dead().to_bytes())
    with pytest.raises(FormatError, match="header field 'dead'"):
        Linked.from_bytes(file.to_bytes({**header, "dead": dead}, sections))


def test_dead_slots_without_ids_are_refused():
    header, sections = file.read(with_dead().to_bytes())
    del sections["ids"]
    with pytest.raises(FormatError, match="'ids': the file has no such section"):
        Linked.from_bytes(file.to_bytes(header, sections))


def test_a_family_that_moves_rows_knows_no_dead_slots():
    header, sections = file.read(with_dead().to_bytes())
    data = file.to_bytes({**header, "index": "FlatIndex"}, sections)
    with pytest.raises(FormatError, match="header field 'dead' is 15, expected 0 or less"):
        inlay.FlatIndex.from_bytes(data)


# Failures and Ctrl-C


@pytest.mark.parametrize("limit", [1, 500, 1000])
def test_a_change_that_fails_leaves_the_index_as_it_was(limit):
    index = with_dead()
    before = index.to_bytes()
    rows = gaussian(1000, DIM, seed=3)
    with pytest.raises(Refusal):
        index.add(rows, progress=refusing_at(limit))
    assert index.to_bytes() == before
    with pytest.raises(Refusal):
        index.upsert(rows, np.arange(1000), progress=refusing_at(limit))
    assert index.to_bytes() == before
    index.check(index._ids.alive)


def test_ids_that_cannot_be_settled_undo_the_rows(monkeypatch):
    index = with_dead()
    before = index.to_bytes()

    def refuse(ids):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(index._ids, "append", refuse)
        with pytest.raises(MemoryError):
            index.add(QUERIES)
    assert index.to_bytes() == before


def interrupting(heal, late):
    """A healing during which Ctrl-C is pressed, at its beginning or its end."""

    def healed(self, alive):
        if late:
            heal(self, alive)
        signal.raise_signal(signal.SIGINT)
        heal(self, alive)

    return healed


CHANGES = {
    "add": lambda index: index.add(gaussian(150, DIM, seed=4)),
    "upsert": lambda index: index.upsert(gaussian(60, DIM, seed=5), np.arange(60) * 3),
    "remove": lambda index: index.remove(np.sort(index.ids)[::3]),
    "remove all": lambda index: index.remove(index.ids),
    "compact": lambda index: index.compact(),
    "reset": lambda index: index.reset(),
}


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("name", ["upsert", "remove", "compact"])
def test_ctrl_c_while_healing_leaves_the_change_made_and_the_index_whole(name, late, monkeypatch):
    index, expected = with_dead(), with_dead()
    CHANGES[name](expected)
    assert expected.n_dead == 0
    with monkeypatch.context() as patch:
        patch.setattr(Linked, "_heal", interrupting(Linked._heal, late))
        with pytest.raises(KeyboardInterrupt):
            CHANGES[name](index)
    assert index.n_dead > 0
    assert same(index, expected)
    assert same(copy_of(index), expected)
    index.add(QUERIES)
    expected.add(QUERIES)
    index.compact()
    assert index.n_dead == 0
    assert same(index, expected)


def interrupted_at_line(call, number):
    """Make a call with Ctrl-C pressed before one of the lines that keep an index whole; False if it was."""
    watched = {str(Path(base.__file__)), str(Path(signals.__file__))}
    passed, entered = 0, set()

    def line(frame, event, argument):
        nonlocal passed
        if event == "line":
            # A block's end is traced as its `with` once more, where Python itself is never interrupted.
            place = frame, frame.f_lineno
            if place not in entered:
                passed += 1
            if linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with "):
                entered.add(place)
            if passed == number:
                passed += 1
                signal.raise_signal(signal.SIGINT)
        return line

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: line if frame.f_code.co_filename in watched else None)
    try:
        call()
    finally:
        sys.settrace(before)
    return passed < number


def opened():
    """An index over the memory of a file."""
    return copy_of(with_dead())


def without_dead():
    """An index that moves rows."""
    index = inlay.FlatIndex(DIM)
    index.add(gaussian(90, DIM), np.arange(90) * 3)
    return index


@pytest.mark.parametrize("make", [with_dead, opened, without_dead])
@pytest.mark.parametrize("name", CHANGES)
def test_ctrl_c_at_any_line_leaves_a_change_made_or_not(name, make):
    before, after = make(), make()
    CHANGES[name](after)
    outcomes, done, number = set(), False, 0
    while not done:
        number += 1
        index = make()
        with contextlib.suppress(KeyboardInterrupt):
            done = interrupted_at_line(lambda index=index: CHANGES[name](index), number)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        made = same(index, after)
        assert made or same(index, before), number
        outcomes.add(made)
        for one in (index, expected := copy_of(after if made else before)):
            assert CHANGES["add"](one) is not None
            CHANGES["remove"](one)
            one.compact()
        assert same(index, expected)
    assert number > 5
    assert outcomes == {True} if name == "compact" else outcomes == {True, False}
