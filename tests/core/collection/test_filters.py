from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from inlay.collection.filters import Candidate, matches, parse

NOW = datetime(2024, 5, 1, 12)
DOCUMENT = {
    "topic": "physics",
    "year": 2020,
    "score": 0.5,
    "whole": 2.0,
    "draft": False,
    "final": True,
    "nothing": None,
    "tags": ["a", "b", 3],
    "pair": (1, 2),
    "set": {"x"},
    "empty": [],
    "nested": {"deep": {"key": 7}},
    "nested.deep": "literal",
    "day": date(2024, 5, 1),
    "at": NOW,
    "utc": NOW.replace(tzinfo=UTC),
    "price": Decimal("9.90"),
    "uuid": UUID(int=5),
    "raw": b"abc",
}
CASES = [
    ({}, True),
    ({"topic": "physics"}, True),
    ({"topic": "Physics"}, False),
    ({"topic": "physics", "year": 2020}, True),
    ({"topic": "physics", "year": 2021}, False),
    ({"topic": ["physics", "art"]}, True),
    ({"topic": ["art"]}, False),
    ({"topic": []}, False),
    ({"year": {"$eq": 2020}}, True),
    ({"year": 2020.0}, True),
    ({"whole": 2}, True),
    ({"year": "2020"}, False),
    ({"draft": False}, True),
    ({"draft": 0}, False),
    ({"final": 1}, False),
    ({"final": {"$gt": False}}, False),
    ({"year": {"$ne": 2020}}, False),
    ({"year": {"$neq": 2021}}, True),
    ({"missing": {"$ne": 5}}, True),
    ({"nothing": {"$ne": 5}}, True),
    ({"missing": None}, True),
    ({"nothing": None}, True),
    ({"year": None}, False),
    ({"missing": {"$ne": None}}, False),
    ({"year": {"$ne": None}}, True),
    ({"missing": [None, 3]}, True),
    ({"year": {"$gt": 2019, "$lt": 2021}}, True),
    ({"year": {"$gt": 2020}}, False),
    ({"year": {"$gte": 2020.0}}, True),
    ({"year": {"$lt": 2020}}, False),
    ({"year": {"$lte": 2020}}, True),
    ({"score": {"$gt": 0}}, True),
    ({"score": {"$gt": "0"}}, False),
    ({"score": {"$lt": "z"}}, False),
    ({"missing": {"$gt": 0}}, False),
    ({"missing": {"$lte": 0}}, False),
    ({"nothing": {"$lt": 0}}, False),
    ({"topic": {"$gte": "p"}}, True),
    ({"topic": {"$gt": "physics"}}, False),
    ({"year": {"$in": [1999, 2020]}}, True),
    ({"year": {"$in": (2020,)}}, True),
    ({"year": {"$nin": [2020]}}, False),
    ({"missing": {"$nin": [2020]}}, True),
    ({"missing": {"$in": [2020]}}, False),
    ({"tags": {"$in": ["a"]}}, False),
    ({"tags": {"$eq": ["a", "b", 3]}}, True),
    ({"tags": {"$eq": ("a", "b", 3)}}, False),
    ({"empty": {"$eq": []}}, True),
    ({"year": {"$between": [2020, 2021]}}, True),
    ({"year": {"$between": [2019, 2020]}}, True),
    ({"year": {"$between": [2021, 2020]}}, False),
    ({"missing": {"$between": [0, 1]}}, False),
    ({"tags": {"$contains": "a"}}, True),
    ({"tags": {"$contains": 3.0}}, True),
    ({"tags": {"$contains": "c"}}, False),
    ({"pair": {"$contains": 2}}, True),
    ({"set": {"$contains": "x"}}, True),
    ({"topic": {"$contains": "phys"}}, True),
    ({"topic": {"$contains": "Phys"}}, False),
    ({"topic": {"$contains": 3}}, False),
    ({"nested": {"$contains": "deep"}}, False),
    ({"topic": {"$text_match": "phys"}}, True),
    ({"topic": {"$text_match": "Phys"}}, False),
    ({"topic": {"$text_match_insensitive": "PHYS"}}, True),
    ({"topic": {"$text_match_insensitive": "chem"}}, False),
    ({"tags": {"$text_match": "a"}}, False),
    ({"tags": {"$text_match_insensitive": "a"}}, False),
    ({"missing": {"$text_match_insensitive": ""}}, False),
    ({"tags": {"$not_contains": "a"}}, False),
    ({"tags": {"$not_contains": "c"}}, True),
    ({"missing": {"$not_contains": "c"}}, True),
    ({"missing": {"$contains": "c"}}, False),
    ({"year": {"$exists": True}}, True),
    ({"year": {"$exists": False}}, False),
    ({"missing": {"$exists": False}}, True),
    ({"nothing": {"$exists": True}}, False),
    ({"nothing": {"$exists": False}}, True),
    ({"nested.deep.key": 7}, True),
    ({"nested.deep": "literal"}, True),
    ({"nested.deep": {"$eq": {"key": 7}}}, False),
    ({"nested": {"$eq": {"deep": {"key": 7}}}}, True),
    ({"topic.x": None}, True),
    ({"tags.0": "a"}, False),
    ({"day": date(2024, 5, 1)}, True),
    ({"day": {"$gt": date(2024, 4, 30)}}, True),
    ({"day": {"$gt": NOW}}, False),
    ({"day": "2024-05-01"}, False),
    ({"at": {"$lt": datetime(2024, 5, 2)}}, True),
    ({"at": NOW.replace(tzinfo=UTC)}, False),
    ({"utc": NOW.replace(hour=14, tzinfo=timezone(timedelta(hours=2)))}, True),
    ({"utc": {"$gte": NOW}}, False),
    ({"price": Decimal("9.9")}, True),
    ({"price": {"$lt": 10}}, True),
    ({"price": {"$gt": Decimal("NaN")}}, False),
    ({"price": {"$eq": Decimal("sNaN")}}, False),
    ({"uuid": UUID(int=5)}, True),
    ({"uuid": {"$gt": UUID(int=4)}}, False),
    ({"raw": b"abc"}, True),
    ({"score": float("nan")}, False),
    ({"score": {"$lt": float("inf")}}, True),
    ({"$and": []}, True),
    ({"$or": []}, False),
    ({"$not": {}}, False),
    ({"$and": [{"topic": "physics"}, {"year": 1}]}, False),
    ({"$or": [{"topic": "physics"}, {"year": 1}]}, True),
    ({"$or": [{"topic": "art"}, {"year": 1}]}, False),
    ({"$not": {"topic": "physics"}}, False),
    ({"$not": {"topic": "art", "year": 2020}}, True),
    ({"topic": "physics", "$or": [{"year": 1}, {"$not": {"draft": True}}]}, True),
    ({"topic": "art", "$or": [{"year": 2020}]}, False),
]


@pytest.mark.parametrize(("filter", "wanted"), CASES)
def test_every_operator_means_what_it_says(filter, wanted):
    assert matches(parse(filter), DOCUMENT) is wanted


def test_negations_are_negations():
    for filter, wanted in CASES:
        assert matches(parse({"$not": filter}), DOCUMENT) is not wanted


@pytest.mark.parametrize(
    "filter",
    [
        {"a": {"$regex": "x"}},
        {"a": {"$gt": 1, "$unknown": 2}},
        {"a": {"b": 1}},
        {"a": {1: 1}},
        {"$nor": []},
        {"$gt": 1},
        {"$or": [{"a": {"$size": 1}}]},
        {"$not": {"a": {"$not": {"$eq": 1}}}},
    ],
)
def test_unknown_operators_are_errors(filter):
    with pytest.raises(ValueError, match="unsupported operator"):
        parse(filter)


@pytest.mark.parametrize(
    ("filter", "error"),
    [
        ("topic = 1", TypeError),
        ([{"a": 1}], TypeError),
        ({1: "a"}, TypeError),
        ({"a": object()}, TypeError),
        ({"a": {"$gt": object()}}, TypeError),
        ({"a": [object()]}, TypeError),
        ({"a": {}}, ValueError),
        ({"a": {"$in": "abc"}}, ValueError),
        ({"a": {"$in": 3}}, ValueError),
        ({"a": {"$between": [1]}}, ValueError),
        ({"a": {"$between": 1}}, ValueError),
        ({"a": {"$exists": "yes"}}, ValueError),
        ({"$and": {"a": 1}}, ValueError),
        ({"$or": "a"}, ValueError),
        ({"$not": [{"a": 1}]}, TypeError),
        ({"$and": [1]}, TypeError),
    ],
)
def test_operands_that_make_no_sense_are_errors(filter, error):
    with pytest.raises(error):
        parse(filter)


def test_bottomless_filters_are_refused():
    filter: dict = {"a": 1}
    for _ in range(200):
        filter = {"$not": filter}
    with pytest.raises(ValueError, match="nested more than"):
        parse(filter)


def test_a_moment_equals_itself_in_every_zone_also_in_the_hour_that_clocks_repeat():
    berlin = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    stored = berlin.astimezone(timezone(timedelta(hours=5)))
    assert matches(parse({"at": berlin}), {"at": stored})


def test_a_candidate_reads_like_a_document_and_like_its_metadata():
    candidate = Candidate("x", "some text", {"page": 3})
    assert (candidate.id, candidate.text, candidate.page_content) == ("x", "some text", "some text")
    assert candidate.metadata["page"] == candidate["page"] == candidate.get("page") == 3
    assert candidate.get("missing", 5) == 5
    assert "page" in candidate
    assert dict(candidate) == {"page": 3}
    assert "some text" in repr(candidate)
