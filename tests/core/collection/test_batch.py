import numpy as np
import pytest

from inlay.collection.batch import check

ROWS = np.eye(3, dtype=np.float32)


def test_everything_but_vectors_has_a_default():
    batch = check(ROWS, None, None, None, None)
    assert len(set(batch.ids)) == 3
    assert all(len(name) == 36 for name in batch.ids)
    assert (batch.texts, batch.metas) == ([""] * 3, ["{}"] * 3)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i8", ">f4"])
def test_vectors_of_every_real_type_are_taken(dtype):
    for vectors in (ROWS.astype(dtype), ROWS.astype(dtype)[::-1][::-1], ROWS.astype(dtype).tolist()):
        batch = check(vectors, None, None, None, 3)
        assert batch.vectors.dtype == np.float32
        np.testing.assert_array_equal(batch.vectors, ROWS)


def test_long_lists_are_taken_as_short_ones_are():
    rows = [[float(i), 0.5, -1.0] for i in range(1203)]
    np.testing.assert_array_equal(check(rows, None, None, None, None).vectors, np.array(rows, np.float32))
    for wrong in ([*rows, [1.0]], [[1.0], *rows], [*rows[:600], 5.0, *rows[600:]]):
        for dim in (None, 3):
            with pytest.raises(ValueError, match="vectors"):
                check(wrong, None, None, None, dim)


def test_generators_are_not_needed_but_any_sequence_is_taken():
    batch = check(tuple(map(tuple, ROWS)), ("a", "b", "c"), ("x", "", "é"), ({}, {"k": 1}, {}), None)
    assert batch.ids == ["a", "b", "c"]
    assert batch.metas == ["{}", '{"k":1}', "{}"]


def test_nothing_is_a_batch_too():
    for vectors in ([], np.empty((0, 7))):
        assert len(check(vectors, [], [], [], None)) == 0
    assert len(check([], None, None, None, 5)) == 0


BROKEN = ROWS.copy()
BROKEN[1, 2] = np.nan


@pytest.mark.parametrize(
    ("arguments", "dim", "error", "message"),
    [
        ((ROWS, ["a", "b"], None, None), None, ValueError, "3 vectors but 2 ids"),
        ((ROWS, None, ["x"] * 4, None), None, ValueError, "3 vectors but 4 texts"),
        ((ROWS, None, None, [{}]), None, ValueError, "3 vectors but 1 metadatas"),
        ((ROWS, ["a", 2, "c"], None, None), None, TypeError, "row 1 of ids is a int"),
        ((ROWS, ["a", "b", ""], None, None), None, ValueError, "row 2 of ids is empty"),
        ((ROWS, ["a", "b", None], None, None), None, TypeError, "row 2 of ids is a NoneType"),
        ((ROWS, ["a", "\ud800", "c"], None, None), None, ValueError, "row 1 of ids holds a lone surrogate"),
        ((ROWS, "abc", None, None), None, TypeError, "ids must be a list"),
        ((ROWS, 5, None, None), None, TypeError, "ids must be a list"),
        ((ROWS, None, "abc", None), None, TypeError, "texts must be a list"),
        ((ROWS, None, ["x", None, "z"], None), None, TypeError, "row 1 of texts is a NoneType"),
        ((ROWS, None, ["x", "y", "\udfff"], None), None, ValueError, "row 2 of texts holds a lone surrogate"),
        ((ROWS, None, None, {"a": 1}), None, TypeError, "metadatas must be a list"),
        ((ROWS, None, None, [{}, None, {}]), None, TypeError, "row 1 of metadatas: .*NoneType"),
        (
            (ROWS, None, None, [{}, {}, {"k": object()}]),
            None,
            TypeError,
            r"row 2 of metadatas: metadata\['k'\]",
        ),
        ((ROWS, None, None, [{"k": "\ud800"}, {}, {}]), None, ValueError, "row 0 of metadatas"),
        ((BROKEN, None, None, None), None, ValueError, "row 1 of vectors"),
        ((ROWS.astype(float) * 1e39, None, None, None), 3, ValueError, "row 0 of vectors"),
        ((ROWS, None, None, None), 4, ValueError, "3 dimensions but the index has 4"),
        ((ROWS[0], None, None, None), None, ValueError, "two dimensions"),
        ((ROWS[0], None, None, None), 3, ValueError, "two dimensions"),
        ((ROWS[None], None, None, None), None, ValueError, "two dimensions"),
        ((5.0, None, None, None), None, ValueError, "no dimension"),
        ((np.empty((3, 0)), None, None, None), None, ValueError, "no dimension"),
        (([[1.0], [1.0, 2.0]], None, None, None), None, ValueError, "do not form an array"),
        (([["a", "b"]], None, None, None), None, TypeError, "real numbers"),
        (([[1 + 1j]], None, None, None), None, TypeError, "real numbers"),
        (([[True, False]], None, None, None), None, TypeError, "real numbers"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_row(arguments, dim, error, message):
    with pytest.raises(error, match=message):
        check(*arguments, dim)


def test_the_last_of_each_id_stays():
    batch = check(np.arange(10).reshape(5, 2), list("abacb"), list("01234"), None, None)
    assert batch.first_repeated() == 2
    last = batch.last_of_each()
    assert (last.ids, last.texts) == (["a", "c", "b"], ["2", "3", "4"])
    np.testing.assert_array_equal(last.vectors, [[4, 5], [6, 7], [8, 9]])
    assert last.first_repeated() is None
    assert last.last_of_each() is last
