import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inlay import FormatError, file
from inlay.clusters.lists import Lists


class Model:
    """Lists as Python has them, of rows whose numbers never change, and a table that lies by place."""

    def __init__(self, n_lists, page):
        self.lists = Lists(n_lists, page)
        self.of_list = [[] for _ in range(n_lists)]
        self.slots = []  # the row of each slot
        self.by_place = np.full(0, -1)
        self.next = 0

    def append(self, labels):
        labels = np.array(labels, np.uint32)
        rows = np.arange(self.next, self.next + len(labels))
        self.next += len(labels)
        planned, n_places = self.lists.plan(labels)
        before = self.lists.sections()
        for name, array in self.lists.sections().items():
            np.testing.assert_array_equal(array, before[name])
        np.testing.assert_array_equal(self.lists.append(labels), planned)
        assert self.lists.n_places == n_places
        self.resize()
        self.by_place[planned] = rows
        self.slots += rows.tolist()
        for label, row in zip(labels, rows.tolist(), strict=True):
            self.of_list[label].append(row)

    def remove(self, slots):
        """As an index does: rows go, the last slots are renamed, the end is dropped."""
        slots = np.unique(slots)
        left = len(self.slots) - len(slots)
        targets = slots[slots < left]
        sources = np.setdiff1d(np.arange(left, len(self.slots)), slots)
        gone = {self.slots[slot] for slot in slots}
        self.move(self.lists.remove(targets))
        self.lists.rename(sources, targets)
        self.move(self.lists.truncate(left))
        self.resize()
        for target, source in zip(targets, sources, strict=True):
            self.slots[target] = self.slots[source]
        del self.slots[left:]
        self.of_list = [[row for row in rows if row not in gone] for rows in self.of_list]

    def truncate(self, n):
        gone = set(self.slots[n:])
        self.move(self.lists.truncate(n))
        self.resize()
        del self.slots[n:]
        self.of_list = [[row for row in rows if row not in gone] for rows in self.of_list]

    def compact(self):
        self.move(self.lists.compact())
        self.resize()

    def move(self, moves):
        sources, targets, emptied = moves
        self.by_place[targets] = self.by_place[sources]
        self.by_place[emptied] = -1

    def resize(self):
        n = self.lists.n_places
        self.by_place = np.concatenate([self.by_place[:n], np.full(max(0, n - len(self.by_place)), -1)])

    def check(self):
        lists = self.lists
        every = np.arange(len(self.slots))
        assert len(lists) == len(self.slots)
        np.testing.assert_array_equal(lists.counts, [len(rows) for rows in self.of_list])
        np.testing.assert_array_equal(self.by_place[lists.places_of(every)], self.slots)
        assert np.count_nonzero(self.by_place != -1) == len(self.slots)
        pages = sum(-(-len(rows) // lists.page) for rows in self.of_list)
        assert lists.n_places >= pages * lists.page
        for which, rows in enumerate(self.of_list):
            slots = lists.slots_in(which)
            assert sorted(self.slots[slot] for slot in slots) == sorted(rows)
            assert (lists.lists_of(slots) == which).all()
        sections = reread(lists)
        again = Lists(lists.n_lists, lists.page)
        again.restore(sections, len(lists))
        for which in range(lists.n_lists):
            np.testing.assert_array_equal(again.slots_in(which), lists.slots_in(which))
        np.testing.assert_array_equal(again.places_of(every), lists.places_of(every))


def reread(lists, **changed):
    return file.read(file.to_bytes({}, {**lists.sections(), **changed}))[1]


changes = st.lists(
    st.tuples(
        st.sampled_from(("append", "append", "remove", "truncate", "compact", "restore")),
        st.integers(0, 2**32 - 1),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(changes=changes, n_lists=st.integers(1, 6), page=st.sampled_from((1, 2, 16)))
def test_lists_hold_what_a_plain_model_holds(changes, n_lists, page):
    model = Model(n_lists, page)
    for change, seed in changes:
        rng = np.random.default_rng(seed)
        n = len(model.slots)
        if change == "append":
            few = rng.integers(0, n_lists, 3)  # some lists get more than others
            model.append(rng.choice(few, rng.integers(0, 40)))
        elif change == "remove":
            model.remove(np.flatnonzero(rng.random(n) < rng.random()))
        elif change == "truncate":
            model.truncate(int(rng.integers(0, n + 1)))
        elif change == "compact":
            model.compact()
        else:
            restored = Lists(n_lists, page)
            restored.restore(reread(model.lists), n)
            model.lists = restored
        model.check()


def test_rows_added_together_lie_list_after_list_and_in_the_order_of_arrival():
    lists = Lists(3, 4)
    labels = np.array([2, 0, 2, 2, 0, 2, 2, 1], np.uint32)
    np.testing.assert_array_equal(lists.append(labels), [8, 0, 9, 10, 1, 11, 12, 4])
    np.testing.assert_array_equal(lists.slots_in(2), [0, 2, 3, 5, 6])
    assert lists.n_places == 16


def test_emptied_pages_are_used_again_and_compact_gives_the_rest_back():
    lists = Lists(4, 16)
    lists.append(np.repeat(np.arange(4, dtype=np.uint32), 100))
    full = lists.n_places
    lists.remove(np.arange(100))
    lists.rename(np.arange(300, 400), np.arange(100))
    lists.truncate(300)
    lists.append(np.full(100, 2, np.uint32))
    assert lists.n_places == full
    lists.remove(np.arange(100, 200))
    lists.rename(np.arange(300, 400), np.arange(100, 200))
    lists.truncate(300)
    lists.compact()
    assert lists.n_places <= 300 + 3 * 16


def test_there_are_no_more_lists_than_were_asked_for():
    with pytest.raises(ValueError, match="n_lists"):
        Lists(0, 16)
    with pytest.raises(IndexError):
        Lists(2, 16).slots_in(2)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("lists.sizes", np.array([3, 3, 5], np.uint32)),
        ("lists.sizes", np.array([3, 4], np.uint32)),
        ("lists.pages", np.array([0, 0, 2, 3], np.uint32)),
        ("lists.pages", np.array([0, 1, 2, 4], np.uint32)),
        ("lists.pages", np.array([0, 1, 2], np.uint32)),
        ("lists.slots", np.zeros(16, np.uint32)),
        ("lists.slots", np.arange(16, dtype=np.uint32)),
        ("lists.slots", np.zeros(15, np.uint32)),
        ("lists.slots", np.full(16, 2**32 - 1, np.uint32)),
    ],
)
def test_a_file_that_cannot_be_is_refused(name, wrong):
    lists = Lists(3, 4)
    lists.append(np.array([0] * 3 + [1] * 3 + [2] * 6, np.uint32))
    with pytest.raises(FormatError, match=name):
        Lists(3, 4).restore(reread(lists, **{name: wrong}), 12)
