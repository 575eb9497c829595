"""What every index promises about adding, replacing and removing rows, also when a call fails."""

import numpy as np
import pytest
from core.indexes.forms import FORMS, Form, assert_in_order, assert_nearest, gaussian, held
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import inlay

DIM = 9
# More rows than are coded between two looks at the progress.
MANY = 20_000


class Refusal(Exception):
    """What a progress callable raises."""


def refusing_at(limit):
    def report(done, total):
        if done >= limit:
            raise Refusal

    return report


def copy_of(index):
    return type(index).from_bytes(index.to_bytes())


# Ids


def test_generated_ids_run_on_and_are_never_given_twice(form):
    index = form.empty(DIM)
    rows = gaussian(30, DIM)
    assert index.add(rows[:5]).tolist() == [0, 1, 2, 3, 4]
    assert index.add(rows[:2], [100, 50]).tolist() == [100, 50]
    assert index.add(rows[:2]).tolist() == [101, 102]
    assert index.remove([102, 101, 100]) == 3
    assert index.add(rows[:1]).tolist() == [103]
    index.compact()
    index = copy_of(index)
    assert index.remove(np.ones(len(index), bool)) == 7
    assert index.add(rows[:1]).tolist() == [104]
    index.reset()
    assert index.add(rows[:1]).tolist() == [105]
    index.upsert(rows[:2], [105, 200])
    index = copy_of(index)
    assert index.add(rows[:3]).tolist() == [201, 202, 203]
    assert index.add(np.empty((0, DIM))).tolist() == []
    assert index.add(rows[:1]).tolist() == [204]
    # An id that is gone may be given again by its owner.
    assert index.add(rows[:1], [0]).tolist() == [0]


def test_ids_keep_their_rows_whatever_is_removed(form, metric):
    rows = gaussian(200, DIM)
    index = form.filled(rows, metric)
    before = dict(zip(index.ids.tolist(), held(index), strict=True))
    order = np.random.default_rng(1).permutation(200)
    for gone in np.split(order, [1, 3, 20, 60, 61, 130, 199]):
        assert index.remove(np.concatenate([gone, gone, [-5, 10**12]])) == len(gone)
        assert not index.contains(gone).any()
        for number in gone:
            del before[int(number)]
        assert set(index.ids.tolist()) == set(before)
        for number, row in zip(index.ids.tolist(), held(index), strict=True):
            np.testing.assert_array_equal(row, before[number])
        if before:
            assert_nearest(form, index, rows[:3], index.search(rows[:3], 7, **form.exhaustive))
            assert not np.isin(index.search(rows[gone], 200)[1], gone).any()
    assert len(index) == 0


def test_remove_takes_ids_or_a_mask(form):
    rows = gaussian(40, DIM)
    for gone in (np.arange(40) % 3 == 0, np.arange(40) >= 30, np.arange(40) < 30, np.zeros(40, bool)):
        by_mask, by_ids = form.filled(rows, ids=range(100, 140)), form.filled(rows, ids=range(100, 140))
        assert by_mask.remove(gone) == by_ids.remove(100 + np.flatnonzero(gone)) == gone.sum()
        assert by_mask.to_bytes() == by_ids.to_bytes()
        assert sorted(by_mask.ids) == (100 + np.flatnonzero(~gone)).tolist()
    index = form.filled(rows)
    before = index.to_bytes()
    assert index.remove([]) == index.remove([77, -9]) == 0
    assert index.to_bytes() == before


def test_upsert_replaces_what_is_there_and_adds_the_rest(form, metric):
    rows, new = gaussian(20, DIM), gaussian(8, DIM, seed=1)
    index = form.filled(rows, metric)
    expected = form.filled(np.vstack([rows, new]), metric)
    ids = [3, 50, 19, 0, 44, 7, -3, 12]
    assert index.upsert(new, ids).tolist() == ids
    if index.MOVES_ROWS:
        assert index.ids.tolist() == [*range(20), 50, 44, -3]
    else:
        assert sorted(index.ids.tolist()) == [-3, *range(20), 44, 50]
    np.testing.assert_array_equal(index.reconstruct(ids), expected.reconstruct(range(20, 28)))
    kept = np.setdiff1d(np.arange(20), ids)
    np.testing.assert_array_equal(index.reconstruct(kept), expected.reconstruct(kept))
    before = index.to_bytes()
    with pytest.raises(ValueError, match="id 3 is given twice"):
        index.upsert(new[:3], [3, 60, 3])
    with pytest.raises(ValueError, match="8 rows were given with 7 ids"):
        index.upsert(new, ids[1:])
    assert index.upsert(np.empty((0, DIM)), []).tolist() == []
    assert index.to_bytes() == before


def test_rows_are_coded_alike_alone_and_together(form, metric):
    rows = gaussian(100, DIM)
    whole = form.filled(rows, metric)
    piecewise = form.empty(DIM, metric)
    for part in np.split(rows, [1, 2, 17, 18, 40, 96]):
        piecewise.add(part)
    np.testing.assert_array_equal(held(piecewise), held(whole))
    for one, other in zip(piecewise.search(rows, 20), whole.search(rows, 20), strict=True):
        np.testing.assert_array_equal(one, other)


def test_reset_forgets_rows_and_keeps_what_was_learned(form, metric):
    rows = gaussian(100, DIM)
    index, fresh = form.filled(rows, metric), form.filled(rows, metric)
    index.reset()
    assert (len(index), index.ids.tolist(), index.is_trained) == (0, [], True)
    assert_in_order(*index.search(rows[:2], 3), metric, 0)
    index.add(rows, range(100))
    np.testing.assert_array_equal(held(index), held(fresh))


def test_compact_changes_no_answer_and_gives_bytes_back(form, metric):
    rows = gaussian(2000, DIM)
    index = form.filled(rows, metric)
    full = index.nbytes
    index.remove(np.random.default_rng(0).permutation(2000)[:1800])
    answers = [index.search(rows[:20], 15), index.range_search(rows[:20], 1.0), held(index), index.ids]
    bytes_before = index.to_bytes()
    index.compact()
    again = [index.search(rows[:20], 15), index.range_search(rows[:20], 1.0), held(index), index.ids]
    for one, other in zip(answers, again, strict=True):
        for part, part_again in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, part_again)
    assert form.listed or index.to_bytes() == bytes_before
    assert index.nbytes < full * 0.2 + 16_000 + form.empty(DIM, metric).nbytes
    index.remove(index.ids)
    index.compact()
    assert len(index) == 0
    # What was learned, and tables of a fixed size, may stay.
    assert index.nbytes <= form.empty(DIM, metric).nbytes


# Failing calls


def test_progress_is_told_of_every_row(form):
    told = []
    index = form.untrained(DIM)
    index.train(gaussian(100, DIM), progress=False)
    index.add(gaussian(MANY, DIM), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (MANY, MANY)
    assert len(told) > 1
    assert told == sorted(set(told))
    assert {total for _, total in told} == {MANY}


@pytest.mark.parametrize("limit", [1, MANY])
def test_an_add_that_fails_leaves_the_index_as_it_was(form, metric, limit):
    index = form.filled(gaussian(50, DIM), metric, ids=range(50, 0, -1))
    index.remove([7, 9])
    before, size = index.to_bytes(), index.nbytes
    # Far from what was trained on, so that all which is learned on the way would show.
    rows = 20 + gaussian(MANY, DIM, seed=1)
    with pytest.raises(Refusal):
        index.add(rows, progress=refusing_at(limit))
    assert index.to_bytes() == before
    with pytest.raises(Refusal):
        index.upsert(rows, np.arange(MANY), progress=refusing_at(limit))
    assert index.to_bytes() == before
    assert index.add(rows[:2]).tolist() == [51, 52]
    index.remove([51, 52])
    index.compact()
    assert index.nbytes <= size + 4096


def test_a_first_add_that_fails_leaves_the_index_untrained(form):
    index = form.untrained(DIM)
    before = index.to_bytes()
    for _ in range(2):
        with pytest.raises(Refusal):
            index.add(gaussian(200, DIM), progress=refusing_at(1))
        assert index.to_bytes() == before
    index.add(gaussian(200, DIM))
    expected = form.untrained(DIM)
    expected.add(gaussian(200, DIM))
    assert index.to_bytes() == expected.to_bytes()


def test_a_training_that_fails_leaves_the_index_as_it_was(form):
    for index in (form.untrained(DIM), form.empty(DIM)):
        before = index.to_bytes()
        told = []

        def report(done, total, told=told):
            told.append(done)
            raise Refusal

        try:
            index.train(gaussian(300, DIM, seed=4), progress=report)
        except Refusal:
            assert index.to_bytes() == before
        else:
            assert told == []  # nothing that takes long was done
        with pytest.raises(ValueError, match="NaN"):
            index.train(np.full((300, DIM), np.nan))


def test_a_callable_that_uses_the_index_it_reports_on_is_told_so(form):
    index = form.filled(gaussian(50, DIM))
    before = index.to_bytes()
    for use in (lambda *_: index.search(np.ones(DIM), 1), lambda *_: index.add(np.ones((1, DIM)))):
        with pytest.raises(RuntimeError, match="wait for itself"):
            index.add(gaussian(50, DIM), progress=use)
        assert index.to_bytes() == before


# Any sequence of calls


class AnySequence(RuleBasedStateMachine):
    """An index beside a dict of the rows it should hold, and an exact index over those."""

    form: Form
    metric = "l2"
    ids = st.lists(st.integers(-5, 25), min_size=0, max_size=8, unique=True)

    @initialize()
    def start(self):
        self.index = self.form.empty(DIM, self.metric)
        # Codes one row at a time with the same training: what a row becomes must not depend on its company.
        self.coder = copy_of(self.index)
        self.rows, self.next_id, self.seed = {}, 0, 0

    def new_rows(self, n):
        # Small whole numbers, so that there are ties, and none of them is a matter of rounding.
        self.seed += 1
        return np.random.default_rng(self.seed).integers(-2, 3, (n, DIM)).astype(np.float32)

    def coded(self, row):
        self.coder.reset()
        number = int(self.coder.add(row[None])[0])
        return self.coder.reconstruct(number)

    def put(self, ids, rows):
        for number, row in zip(ids, rows, strict=True):
            self.rows[int(number)] = self.coded(row)
            self.next_id = max(self.next_id, int(number) + 1)

    @rule(n=st.integers(0, 20))
    def add_without_ids(self, n):
        rows = self.new_rows(n)
        ids = self.index.add(rows)
        assert ids.tolist() == list(range(self.next_id, self.next_id + n))
        self.put(ids, rows)

    @rule(ids=ids)
    def add_with_ids(self, ids):
        rows = self.new_rows(len(ids))
        if -1 in ids or self.rows.keys() & set(ids):
            before = self.index.to_bytes()
            with pytest.raises(ValueError, match=r"id -?\d+ "):
                self.index.add(rows, ids)
            assert self.index.to_bytes() == before
        else:
            assert self.index.add(rows, ids).tolist() == ids
            self.put(ids, rows)

    @rule(ids=ids)
    def upsert(self, ids):
        ids = [number for number in ids if number != -1]
        rows = self.new_rows(len(ids))
        assert self.index.upsert(rows, ids).tolist() == ids
        self.put(ids, rows)

    @rule(ids=ids)
    def remove_ids(self, ids):
        gone = self.rows.keys() & set(ids)
        assert self.index.remove(ids) == len(gone)
        for number in gone:
            del self.rows[number]

    @rule(seed=st.integers(0, 99))
    def remove_by_mask(self, seed):
        mask = np.random.default_rng(seed).random(len(self.rows)) < 0.3
        gone = self.index.ids[mask]
        assert self.index.remove(mask) == len(gone)
        for number in gone.tolist():
            del self.rows[number]

    @rule()
    def compact(self):
        self.index.compact()

    @precondition(lambda self: len(self.rows) > 10)
    @rule()
    def reset(self):
        self.index.reset()
        self.rows = {}

    @rule()
    def save_and_load(self):
        self.index = copy_of(self.index)

    @rule()
    def fail(self):
        before = self.index.to_bytes()
        with pytest.raises(Refusal):
            self.index.add(self.new_rows(4), progress=refusing_at(0))
        assert self.index.to_bytes() == before

    @rule(k=st.integers(1, 30), filtered=st.booleans(), seed=st.integers(0, 99))
    def search(self, k, filtered, seed):
        queries = np.random.default_rng(seed).integers(-3, 4, (3, DIM)).astype(np.float32)
        allowed = [number for number in self.rows if number % 3 != seed % 3] if filtered else list(self.rows)
        given = allowed if filtered else None
        found = self.index.search(queries, k, allowed=given, **self.form.exhaustive)
        mask = np.isin(self.index.ids, allowed)
        assert_nearest(self.form, self.index, queries, found, mask)
        if self.form.exact:
            # The exact index holds the rows in another order, and gives the same ids also where they tie.
            exact = inlay.FlatIndex(DIM, self.metric)
            if self.rows:
                exact.add(list(self.rows.values()), list(self.rows))
            for one, other in zip(found, exact.search(queries, k, allowed=given), strict=True):
                np.testing.assert_array_equal(one, other)

    @invariant()
    def holds_what_it_should(self):
        ids = self.index.ids.tolist()
        assert len(self.index) == len(ids) == len(self.rows)
        assert set(ids) == set(self.rows)
        some = [-5, 0, 3, 25]
        assert self.index.contains(some).tolist() == [number in self.rows for number in some]
        expected = np.array([self.rows[number] for number in ids], np.float32).reshape(-1, DIM)
        np.testing.assert_array_equal(held(self.index), expected)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_any_sequence_of_calls_keeps_every_row_and_id(form, metric):
    machine = type("AnySequenceOf", (AnySequence,), {"form": form, "metric": metric})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=12, stateful_step_count=25, deadline=None, derandomize=True)
    )
