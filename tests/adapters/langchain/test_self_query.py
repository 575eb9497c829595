"""Structured queries become filters that mean what they say."""

import datetime
from typing import Any

import pytest
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery

from inlay.adapters.langchain import InlayTranslator, InlayVectorStore

ROWS: dict[str, dict[str, Any]] = {
    "a": {"page": 1, "title": "Green Tea", "tags": ["hot"], "day": "2024-05-01"},
    "b": {"page": 2, "title": "Black coffee", "tags": ["hot", "dark"], "day": datetime.date(2024, 6, 1)},
    "c": {"page": 3, "title": "Juice", "day": datetime.date(2023, 1, 1)},
}


def compare(name: str, attribute: str, value: Any) -> Comparison:
    return Comparison(comparator=Comparator(name), attribute=attribute, value=value)


def date(text: str) -> dict[str, str]:
    return {"type": "date", "date": text}


@pytest.mark.parametrize(
    ("directive", "wanted"),
    [
        (compare("eq", "page", 1), "a"),
        (compare("ne", "page", 1), "bc"),
        (compare("gt", "page", 2), "c"),
        (compare("gte", "page", 2), "bc"),
        (compare("lt", "page", 2), "a"),
        (compare("lte", "page", 2), "ab"),
        (compare("in", "page", [1, 3]), "ac"),
        (compare("nin", "page", [1, 3]), "b"),
        (compare("contain", "tags", "dark"), "b"),
        (compare("like", "title", "%TEA%"), "a"),
        (compare("gt", "day", date("2023-12-31")), "ab"),
        (compare("eq", "day", date("2024-05-01")), "a"),
        (compare("ne", "day", date("2024-06-01")), "ac"),
        (
            Operation(operator=Operator.AND, arguments=[compare("gt", "page", 1), compare("lt", "page", 3)]),
            "b",
        ),
        (
            Operation(operator=Operator.OR, arguments=[compare("eq", "page", 1), compare("eq", "page", 3)]),
            "ac",
        ),
        (Operation(operator=Operator.NOT, arguments=[compare("eq", "page", 1)]), "bc"),
    ],
)
def test_a_directive_selects_what_it_says(spoken: Any, directive: Any, wanted: str) -> None:
    store = InlayVectorStore(spoken)
    store.add_texts(["1", "2", "3"], list(ROWS.values()), ids=list(ROWS))
    query = StructuredQuery(query="1", filter=directive, limit=10)
    text, keywords = InlayTranslator().visit_structured_query(query)
    assert text == "1"
    assert sorted(found.id or "" for found in store.similarity_search(text, **keywords)) == list(wanted)


def test_a_query_without_filter_and_limit_has_no_keywords() -> None:
    query = StructuredQuery(query="tea", filter=None, limit=None)
    assert InlayTranslator().visit_structured_query(query) == ("tea", {})
