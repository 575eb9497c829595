"""`InlayTranslator`: what a `SelfQueryRetriever` has understood of a question, as a filter for the store.

SelfQueryRetriever.from_llm(llm, store, contents, fields, structured_query_translator=InlayTranslator())
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from langchain_core.structured_query import (
    Comparator,
    Comparison,
    Operation,
    Operator,
    StructuredQuery,
    Visitor,
)
from typing_extensions import override

_COMPARATORS = {
    Comparator.EQ: "$eq",
    Comparator.NE: "$ne",
    Comparator.GT: "$gt",
    Comparator.GTE: "$gte",
    Comparator.LT: "$lt",
    Comparator.LTE: "$lte",
    Comparator.IN: "$in",
    Comparator.NIN: "$nin",
    Comparator.CONTAIN: "$contains",
    Comparator.LIKE: "$text_match_insensitive",
}
_DATES: dict[str, Callable[[str], date]] = {"date": date.fromisoformat, "datetime": datetime.fromisoformat}


class InlayTranslator(Visitor):
    """Translates comparisons, *and*, *or* and *not* to the filters of `InlayVectorStore`.

    `like` means a part of a text in whatever case; percent signs around it are left out. A date is compared
    with dates and with strings in ISO format, for metadata hold either.
    """

    allowed_comparators = tuple(_COMPARATORS)
    allowed_operators = (Operator.AND, Operator.OR, Operator.NOT)

    @override
    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """Return the filter for one attribute."""
        self._validate_func(comparison.comparator)
        key, name, value = comparison.attribute, _COMPARATORS[comparison.comparator], comparison.value
        if comparison.comparator == Comparator.LIKE and isinstance(value, str):
            value = value.strip("%")
        if not (isinstance(value, dict) and value.get("type") in _DATES):
            return {key: {name: value}}
        text = value[value["type"]]
        forms = [{key: {name: form}} for form in (text, _DATES[value["type"]](text))]
        return {"$and" if comparison.comparator == Comparator.NE else "$or": forms}

    @override
    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """Return the filter for several."""
        self._validate_func(operation.operator)
        parts = [argument.accept(self) for argument in operation.arguments]
        match operation.operator:
            case Operator.AND:
                return {"$and": parts}
            case Operator.OR:
                return {"$or": parts}
            case _:  # none of them
                return {"$not": {"$or": parts}}

    @override
    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return what is searched for, and the keywords of the search."""
        keywords: dict[str, Any] = {}
        if structured_query.filter is not None:
            keywords["filter"] = structured_query.filter.accept(self)
        if structured_query.limit is not None:
            keywords["k"] = structured_query.limit
        return structured_query.query, keywords
