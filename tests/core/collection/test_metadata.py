import enum
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given

from inlay import FormatError
from inlay.collection.metadata import decode, encode
from tests.core.collection import values


def same(a: object, b: object) -> bool:
    """Whether two values are equal and of the same types all the way down; NaN is equal to NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, set):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    if isinstance(a, datetime):
        return a == b and a.utcoffset() == b.utcoffset()
    return repr(a) == repr(b)


@given(values.metadata)
def test_everything_comes_back_as_it_was(metadata):
    assert same(decode(encode(metadata)), metadata)


@given(values.metadata)
def test_the_text_is_json_that_any_reader_accepts(metadata):
    def refuse(literal):
        raise AssertionError(literal)

    json.loads(encode(metadata), parse_constant=refuse)


def test_numbers_and_booleans_stay_apart():
    assert [type(value) for value in decode(encode({"a": 1, "b": 1.0, "c": True})).values()] == [
        int,
        float,
        bool,
    ]


def test_a_time_zone_comes_back_as_its_offset():
    there = datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    back = decode(encode({"at": there}))["at"]
    assert back == there
    assert back.tzinfo == timezone(timedelta(hours=2))


def test_subclasses_are_stored_as_what_they_extend():
    Colour = enum.Enum("Colour", {"RED": "red"}, type=str)

    class Size(enum.IntEnum):
        SMALL = 1

    back = decode(encode({"colour": Colour.RED, "size": Size.SMALL, "score": np.float64(0.5)}))
    assert same(back, {"colour": "red", "size": 1, "score": 0.5})


def test_what_comes_back_shares_nothing_with_what_was_given():
    given = {"list": [1, {"deep": []}]}
    back = decode(encode(given))
    back["list"][1]["deep"].append(2)
    assert given == {"list": [1, {"deep": []}]}


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({"a": object()}, r"metadata\['a'\] is a object"),
        ({"a": [1, {"b": 1j}]}, r"metadata\['a'\]\[1\]\['b'\] is a complex"),
        ({"a": np.int64(3)}, r"metadata\['a'\] is a int64.*\.item\(\)"),
        ({"a": frozenset()}, "frozenset"),
        ({"a": timedelta(1)}, "timedelta"),
        ({"a": np.zeros(2)}, "ndarray"),
        ({"a": {3: 1}}, r"metadata\['a'\] has the key 3"),
        ({b"a": 1}, "has the key b'a'"),
        ([("a", 1)], "must be a dict, not list"),
        (None, "must be a dict, not NoneType"),
    ],
)
def test_what_cannot_be_stored_is_a_type_error_that_names_it(metadata, named):
    with pytest.raises(TypeError, match=named):
        encode(metadata)


def test_text_that_is_no_unicode_is_refused():
    for metadata in ({"a": "\ud800"}, {"\udfff": 1}, {"a": ["ok", "\ud800"]}):
        with pytest.raises(ValueError, match="lone surrogate"):
            encode(metadata)


def test_bottomless_nesting_is_refused():
    endless: list = []
    endless.append(endless)
    deep: dict = {}
    for _ in range(98):
        deep = {"a": deep}
    assert decode(encode(deep)) == deep
    for metadata in ({"a": endless}, {"a": {"a": {"a": deep}}}):
        with pytest.raises(ValueError, match="nested more than 100 deep"):
            encode(metadata)


def test_an_integer_too_long_for_python_to_print_is_refused():
    with pytest.raises(ValueError, match=r"metadata\['a'\] cannot be stored"):
        encode({"a": 10**5000})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"$date":"2024-05-01"}',
        '{"a":{"$date":"yesterday"}}',
        '{"a":{"$date":5}}',
        '{"a":{"$uuid":"x"}}',
        '{"a":{"$bytes":"?"}}',
        '{"a":{"$decimal":"x"}}',
        '{"a":{"$set":[[1]]}}',
        '{"a":{"$aware":[]}}',
        '{"a":{"$tuple":5}}',
        '{"a":{"$new":1}}',
        '{"a":{"$date":"2024-05-01","b":1}}',
        '{"a":' * 2000 + "1" + "}" * 2000,
        '{"a":' + "[" * 100_000,
    ],
)
def test_damaged_text_is_a_format_error(text):
    with pytest.raises(FormatError):
        decode(text)


def test_the_stored_form_is_what_it_has_always_been():
    metadata = {
        "naive": datetime(2024, 5, 1, 10, 0, 0, 500000),
        "aware": datetime(2024, 5, 1, 10, tzinfo=timezone(timedelta(hours=2))),
        "utc": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "day": date(2024, 5, 1),
        "price": Decimal("9.90"),
        "raw": b"\x00\xff",
        "pair": (1, "x"),
        "set": {2, 1, "a"},
        "$odd": {"$x": 1},
        "big": 2**64,
        "nan": float("nan"),
        "nul": "a\0",
        "text": 'gr\u00fcn "\n',
    }
    assert encode(metadata) == (
        '{"naive":{"$datetime":"2024-05-01T10:00:00.500000"},'
        '"aware":{"$aware":["2024-05-01T10:00:00+02:00",1714550400000000]},'
        '"utc":{"$aware":["1969-12-31T23:59:59.999999+00:00",-1]},'
        '"day":{"$date":"2024-05-01"},"price":{"$decimal":"9.90"},"raw":{"$bytes":"AP8="},'
        '"pair":{"$tuple":[1,"x"]},"set":{"$set":["a",1,2]},"$$odd":{"$$x":1},'
        '"big":{"$int":"18446744073709551616"},"nan":{"$float":"nan"},"nul":{"$text":"a\\u0000"},'
        '"text":"gr\u00fcn \\"\\n"}'
    )
