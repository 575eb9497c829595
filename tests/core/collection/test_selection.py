import numpy as np
import pytest

from inlay.collection import selection
from inlay.collection.database import Database
from inlay.collection.filters import In
from inlay.collection.records import State
from inlay.collection.vectors import Slots
from inlay.collection.view import View

VIEW = View(State("default", "l2", "auto", 3, first_row=5, next_row=305), Slots(np.empty(0, np.int64), 5))


@pytest.fixture
def reader():
    VIEW.columns.__init__()
    database = Database(State("default", "l2", "auto", 3))
    names = [f"n{i}" for i in range(300)]
    database.writer.insert(5, names, names, [f'{{"i":{i}}}' for i in range(300)])
    yield database.writer
    database.close()


def test_a_filter_is_a_tree_a_function_or_nothing():
    assert selection.judge(None) is selection.judge({}) is None
    assert selection.judge({"a": 1}) == In("a", (1,))
    assert selection.judge(len) is len
    with pytest.raises(TypeError, match="must be a dict"):
        selection.judge("a = 1")


@pytest.mark.parametrize(
    "filter", [{"i": {"$gte": 298}}, lambda m: m["i"] >= 298, lambda d: d.metadata["i"] > 297]
)
def test_dicts_and_functions_select_alike(reader, filter):
    judge = selection.judge(filter)
    assert selection.selected(VIEW, reader, judge).tolist() == [303, 304]
    assert selection.selected(VIEW, reader, judge, ["n299", "nobody", "n1", "n299"]).tolist() == [304]
    assert selection.selected(VIEW, reader, judge, []).tolist() == []


def test_no_filter_selects_everything(reader):
    assert selection.selected(VIEW, reader, None).tolist() == list(range(5, 305))
    assert selection.selected(VIEW, reader, None, ["n2", "n1", "nobody"]).tolist() == [6, 7]


def test_a_function_is_asked_only_as_far_as_somebody_listens(reader):
    asked = []
    answers = selection.answers(reader, lambda d: asked.append(d.id), reader.rows())
    assert [next(answers), next(answers)] == [False, False]
    assert asked == ["n0", "n1"]


def test_the_error_of_a_function_is_the_users_own(reader):
    with pytest.raises(KeyError, match="missing"):
        selection.selected(VIEW, reader, lambda m: m["missing"])
