import gc
import pickle
import weakref
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inlay.ids import Bits, IdFilter, IdMap, moves, repeated

LARGEST = 2**63 - 1

# Few small numbers meet often; the large ones fill the hash table from everywhere.
some_id = st.integers(-5, 40) | st.integers(-(2**63), 2**63 - 1000)
id_lists = st.lists(some_id.filter(lambda number: number != -1), unique=True, max_size=40)


def as_array(ids):
    return np.array(ids, np.int64)


def as_set(bits):
    """The slots whose bits are set."""
    flags = np.unpackbits(bits.array.view(np.uint8), bitorder="little")
    assert not flags[bits.n :].any()
    return set(np.flatnonzero(flags[: bits.n]).tolist())


class IdMapMachine(RuleBasedStateMachine):
    """An IdMap beside the list of ids it should hold, in slot order; None stands in a dead slot."""

    def __init__(self):
        super().__init__()
        self.map = IdMap()
        self.model = []
        self.ever = set()

    @property
    def live(self):
        return [number for number in self.model if number is not None]

    def some_live_slots(self, data):
        slots = [slot for slot, number in enumerate(self.model) if number is not None]
        return sorted(data.draw(st.sets(st.sampled_from(slots)))) if slots else []

    def appended(self, ids):
        self.map.append(ids)
        self.model += ids.tolist()
        self.ever |= set(ids.tolist())

    @initialize(first=st.integers(-(10**6), 10**12), n=st.integers(0, 50))
    def begin_with_a_run(self, first, n):
        ids = np.arange(first, first + n, dtype=np.int64)
        self.appended(self.map.choose(ids[ids != -1], np.count_nonzero(ids != -1)))

    @rule(n=st.integers(0, 40))
    def append_generated(self, n):
        version = self.map.version
        if self.map.next_id > LARGEST - n:
            with pytest.raises(ValueError, match="no ids left"):
                self.map.choose(None, n)
            return
        chosen = self.map.choose(None, n)
        assert chosen.dtype == np.int64
        assert len(set(chosen.tolist())) == n
        assert not set(chosen.tolist()) & self.ever
        assert (chosen >= 0).all()
        self.appended(chosen)
        assert (self.map.version != version) == (n > 0)

    @rule(ids=id_lists)
    def append_given(self, ids):
        known = [number for number in ids if number in self.model]
        if known:
            with pytest.raises(ValueError, match=f"id {known[0]} is in the index already"):
                self.map.choose(ids, len(ids))
            ids = [number for number in ids if number not in known]
        chosen = self.map.choose(ids, len(ids))
        assert chosen.tolist() == ids
        self.appended(chosen)

    @rule(n=st.integers(1, 30))
    def append_a_run_that_goes_on(self, n):
        following = (self.live[-1] if self.live else 0) + 1
        ids = [number for number in range(following, following + n) if number not in {-1, *self.model}]
        self.appended(self.map.choose(ids, len(ids)))

    @rule(data=st.data())
    def remove(self, data):
        self.removed(self.some_live_slots(data))

    @precondition(lambda self: None not in self.model)
    @rule(n=st.integers(1, 100))
    def remove_the_last(self, n):
        self.removed(list(range(max(len(self.model) - n, 0), len(self.model))))

    @rule(data=st.data())
    def bury(self, data):
        version = self.map.version
        slots = self.some_live_slots(data)
        self.map.bury(np.array(slots, np.int64))
        for slot in slots:
            self.model[slot] = None
        assert (self.map.version != version) == bool(slots)

    @rule()
    def drop_dead(self):
        version = self.map.version
        dead = [slot for slot, number in enumerate(self.model) if number is None]
        sources, targets = self.map.drop_dead()
        expected = moves(len(self.model), as_array(dead))
        np.testing.assert_array_equal(sources, expected[0])
        np.testing.assert_array_equal(targets, expected[1])
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            self.model[target] = self.model[source]
        self.model = self.model[: len(self.model) - len(dead)]
        assert None not in self.model
        assert (self.map.version != version) == bool(dead)

    def removed(self, slots):
        version = self.map.version
        gone = {self.model[slot] for slot in slots}
        sources, targets = self.map.remove(np.array(slots, np.int64))
        assert len(sources) == len(targets)
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            self.model[target] = self.model[source]
        self.model = self.model[: len(self.model) - len(slots)]
        assert not gone & set(self.live)
        assert (self.map.version != version) == bool(slots)

    @rule()
    def compact(self):
        version = self.map.version
        self.map.compact()
        assert self.map.version == version
        runs_on = None not in self.model and all(b - a == 1 for a, b in pairwise(self.model))
        assert self.map.nbytes == (0 if runs_on else 8 * len(self.model))

    @rule()
    def clear(self):
        self.map.clear()
        self.model = []

    @rule()
    def save_and_load(self):
        stored = self.map.stored
        if stored is not None:
            stored = stored.copy()
            stored.flags.writeable = False
        loaded = IdMap()
        dead = self.model.count(None)
        loaded.restore(self.map.n_slots, self.map.base, self.map.next_id, stored, dead)
        self.map = loaded

    @rule(wanted=st.lists(some_id, max_size=20), data=st.data())
    def look_up(self, wanted, data):
        if self.live:
            wanted = wanted + data.draw(st.lists(st.sampled_from(self.live), max_size=20))
        places = {number: slot for slot, number in enumerate(self.model) if number is not None}
        slots = self.map.slots(as_array(wanted))
        assert slots.dtype == np.int64
        assert slots.tolist() == [places.get(number, -1) for number in wanted]
        bits = self.map.bits(as_array(wanted))
        assert bits.n == len(self.model)
        assert as_set(bits) == {places[number] for number in wanted if number in places}
        assert bits.count == len(as_set(bits))

    @rule(data=st.data())
    def spread_a_mask(self, data):
        flags = iter(data.draw(st.lists(st.booleans(), min_size=len(self.live), max_size=len(self.live))))
        slots = [number is not None and next(flags) for number in self.model]
        mask = np.array([flag for flag, number in zip(slots, self.model, strict=True) if number is not None])
        assert self.map.spread(mask.astype(bool)).tolist() == slots

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def refuse_what_cannot_be_chosen(self, data):
        number = data.draw(st.sampled_from(self.live))
        for ids, n, fault in (
            ([number], 1, f"id {number} is in the index already; use upsert"),
            ([50, -1], 2, "id -1 stands for a missing result"),
            ([LARGEST, 7, LARGEST], 3, f"id {LARGEST} is given twice"),
            ([1, 2], 3, "3 rows were given with 2 ids"),
        ):
            with pytest.raises(ValueError, match=fault):
                self.map.choose(ids, n)

    @invariant()
    def every_id_is_in_its_slot(self):
        slots = [slot for slot, number in enumerate(self.model) if number is not None]
        assert len(self.map) == len(slots)
        assert self.map.n_slots == len(self.model)
        assert self.map.array.tolist() == self.live
        assert not self.map.array.flags.writeable
        np.testing.assert_array_equal(self.map.slots(as_array([*self.live, -1])), [*slots, -1])

    @invariant()
    def dead_slots_are_known(self):
        alive = self.map.alive
        if None not in self.model:
            assert alive is None
            return
        assert (alive.n, alive.count) == (len(self.model), len(self.live))
        assert as_set(alive) == {slot for slot, number in enumerate(self.model) if number is not None}
        assert self.map.alive is alive
        assert self.map.stored.tolist() == [-1 if number is None else number for number in self.model]

    @invariant()
    def the_next_id_is_above_all_there_ever_were(self):
        assert self.map.next_id > max(self.ever, default=-1)


TestIdMap = IdMapMachine.TestCase
TestIdMap.settings = settings(stateful_step_count=25)


def test_ids_that_run_on_take_no_memory():
    ids = IdMap()
    for n in (1000, 1, 500):
        ids.append(ids.choose(None, n))
    assert ids.nbytes == 0
    assert ids.stored is None
    ids.remove(np.arange(1400, 1501))
    assert ids.nbytes == 0
    assert ids.array.tolist() == list(range(1400))


def test_other_ids_take_at_most_23_bytes_a_row(rng):
    for n in (1000, 1093, 1100, 5000, 40_000):
        ids = IdMap()
        ids.append(ids.choose(rng.permutation(n) * 7, n))
        assert ids.nbytes == 8 * n
        ids.slots(as_array([1]))
        assert 8 * n < ids.nbytes <= 23 * n


def test_the_hash_table_finds_every_id_while_it_grows_and_shrinks(rng):
    ids, model = IdMap(), []
    for step in range(30):
        factor = int(rng.choice([1, 2**20, -(2**40)]))
        fresh = (rng.permutation(400)[: rng.integers(1, 400)] + 400 * step) * factor
        fresh = as_array([number for number in fresh.tolist() if number not in model and number != -1])
        ids.append(ids.choose(fresh, len(fresh)))
        model += fresh.tolist()
        slots = np.flatnonzero(rng.random(len(model)) < 0.4)
        sources, targets = ids.remove(slots)
        array = as_array(model)
        array[targets] = array[sources]
        gone = np.setdiff1d(model, array[: len(model) - len(slots)])
        model = array[: len(model) - len(slots)].tolist()
        assert len(gone) == len(slots)
        np.testing.assert_array_equal(ids.slots(as_array(model)), np.arange(len(model)))
        np.testing.assert_array_equal(ids.slots(gone), -1)


def test_the_hash_table_forgets_what_is_buried(rng):
    ids, model = IdMap(), {}
    for step in range(40):
        fresh = rng.permutation(10**6)[: rng.integers(1, 300)] * 40 + step
        ids.append(ids.choose(fresh, len(fresh)))
        known = len(ids)
        gone = fresh[rng.random(len(fresh)) < 0.5]
        if model:
            gone = np.concatenate([gone, rng.permutation(list(model))[:50]])
        ids.bury(np.unique(ids.slots(gone)))
        model = dict.fromkeys([*model, *fresh.tolist()])
        for number in gone.tolist():
            model.pop(number, None)
        assert len(ids) == len(model) < known
        if step % 7 == 3:
            ids.drop_dead()
            assert ids.n_slots == len(ids)
        elif step % 7 == 5:
            ids.compact()  # forgets the hash table, and drops nothing
        assert set(ids.array.tolist()) == set(model)
        np.testing.assert_array_equal(ids.slots(gone), -1)
        slots = ids.slots(ids.array)
        assert (np.diff(slots) > 0).all()
        np.testing.assert_array_equal(ids.stored[slots], ids.array)
        # One that was buried may come back, in a slot of its own.
        ids.append(gone[:3])
        assert ids.slots(gone[:3]).tolist() == [*range(ids.n_slots - len(gone[:3]), ids.n_slots)]
        model = {**model, **dict.fromkeys(gone[:3].tolist())}


def test_ids_of_missing_results_in_a_file_are_dead_once_something_is_buried():
    stored = as_array([5, -1, 7, -1, 9])
    ids = IdMap()
    ids.restore(5, 0, 10, stored)
    assert (len(ids), ids.alive, ids.array.tolist()) == (5, None, stored.tolist())
    assert ids.slots(as_array([-1, 7])).tolist() == [-1, 2]
    ids.bury(as_array([0]))
    assert (len(ids), as_set(ids.alive), ids.array.tolist()) == (2, {2, 4}, [7, 9])
    ids.drop_dead()
    assert (ids.n_slots, sorted(ids.array.tolist())) == (2, [7, 9])
    assert stored.tolist() == [5, -1, 7, -1, 9]


def test_the_largest_id_can_be_given_and_then_there_are_none_to_generate():
    ids = IdMap()
    ids.append(ids.choose([LARGEST], 1))
    assert ids.slots(as_array([LARGEST, -(2**63), 0])).tolist() == [0, -1, -1]
    with pytest.raises(ValueError, match="no ids left above the largest one in use; give ids"):
        ids.choose(None, 1)
    ids.append(ids.choose([-(2**63), 0], 2))
    assert ids.slots(as_array([0, LARGEST, -(2**63)])).tolist() == [2, 0, 1]


@given(ids=st.lists(st.integers(-6, 6), max_size=8))
def test_repeated_finds_an_id_that_occurs_twice(ids):
    twice = {number for number in ids if ids.count(number) > 1}
    found = repeated(as_array(ids))
    assert (found in twice) if twice else found is None


@given(data=st.data(), n=st.integers(0, 60))
def test_moves_fill_every_hole_from_the_end_and_nothing_else(data, n):
    slots = sorted(data.draw(st.sets(st.integers(0, n - 1)))) if n else []
    sources, targets = moves(n, as_array(slots))
    left = n - len(slots)
    assert targets.tolist() == [slot for slot in slots if slot < left]
    assert sources.tolist() == [slot for slot in range(left, n) if slot not in slots]


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 63, 64, 65, 1000])
def test_bits_are_the_mask_and_a_whole_word_more(n, rng):
    mask = rng.random(n) < 0.5
    bits = Bits(mask)
    assert (bits.n, bits.count) == (n, mask.sum())
    assert as_set(bits) == set(np.flatnonzero(mask).tolist())
    # Kernels look at 16 bits at a time.
    assert bits.array.nbytes * 8 >= n + 64


# IdFilter


def test_a_filter_is_a_set_of_ids():
    chosen = IdFilter([5, 3, 3, -7, 2**40])
    assert chosen.ids.tolist() == [-7, 3, 5, 2**40]
    assert len(chosen) == 4
    assert [number in chosen for number in (3, 2**40, 4, -8, 2**50)] == [True, True, False, False, False]
    assert repr(chosen) == "IdFilter(4 ids)"
    assert len(IdFilter([])) == 0
    assert 3 not in IdFilter([])
    with pytest.raises(ValueError, match="read-only"):
        chosen.ids[0] = 1
    with pytest.raises(TypeError, match="allowed ids must be integers"):
        IdFilter(["a"])


def test_a_filter_can_be_pickled_after_use():
    ids = IdMap()
    ids.append(ids.choose(None, 10))
    chosen = IdFilter([4, 2])
    chosen.bits(ids)
    again = pickle.loads(pickle.dumps(chosen))
    assert again.ids.tolist() == [2, 4]
    assert as_set(again.bits(ids)) == {2, 4}


def test_a_filter_keeps_its_bits_until_the_index_changes():
    ids = IdMap()
    ids.append(ids.choose(None, 100))
    chosen = IdFilter([3, 98, 99, 500])
    first = chosen.bits(ids)
    assert as_set(first) == {3, 98, 99}
    assert chosen.bits(ids) is first
    ids.compact()
    assert chosen.bits(ids) is first
    ids.remove(as_array([0]))
    assert as_set(chosen.bits(ids)) == {3, 98, 0}
    ids.append(ids.choose([500], 1))
    assert as_set(chosen.bits(ids)) == {3, 98, 0, 99}
    ids.bury(as_array([98, 50]))
    assert as_set(chosen.bits(ids)) == {3, 0, 99}
    assert chosen.bits(ids).n == 100
    assert chosen.bits(ids) is chosen.bits(ids)
    ids.drop_dead()
    assert as_set(chosen.bits(ids)) == {3, 0, 50}
    ids.clear()
    assert as_set(chosen.bits(ids)) == set()
    ids.restore(4, 500, 504, None)
    assert as_set(chosen.bits(ids)) == {0}


def test_a_filter_used_with_two_indexes_gives_each_its_own_bits():
    one, other = IdMap(), IdMap()
    one.append(one.choose([7, 8], 2))
    other.append(other.choose([9, 10, 7], 3))
    chosen = IdFilter([7])
    for _ in range(3):
        assert as_set(chosen.bits(one)) == {0}
        assert as_set(chosen.bits(other)) == {2}


def test_a_filter_does_not_keep_an_index_alive():
    ids = IdMap()
    ids.append(ids.choose(None, 10))
    chosen = IdFilter([4])
    chosen.bits(ids)
    gone = weakref.ref(ids)
    del ids
    gc.collect()
    assert gone() is None
    fresh = IdMap()
    fresh.append(fresh.choose([3, 4, 5], 3))
    assert as_set(chosen.bits(fresh)) == {1}
