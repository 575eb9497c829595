"""Metadata filters mean what LlamaIndex's own function says, in any nesting; odd types match nothing."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from inlay.adapters.llama_index import InlayVectorStore
from inlay.adapters.llama_index.translation import to_filter
from inlay.collection import filters

SCALARS = (FilterOperator.EQ, FilterOperator.NE, FilterOperator.CONTAINS)
ORDERS = (FilterOperator.GT, FilterOperator.GTE, FilterOperator.LT, FilterOperator.LTE)
LISTS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
TEXTS = (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE)

keys = st.sampled_from(["a", "b", "missing"])
numbers = st.one_of(st.integers(-1, 2), st.sampled_from([0.5, 1.0, 2.0]))
strings = st.sampled_from(["", "a", "A", "ab", "1"])
lists = st.one_of(st.lists(st.integers(-1, 2), max_size=3), st.lists(strings, max_size=3))
held = st.one_of(st.none(), numbers, strings, lists)


def condition(operators: Any, values: Any) -> Any:
    return st.builds(MetadataFilter, key=keys, value=values, operator=st.sampled_from(operators))


leaves = st.one_of(
    condition(SCALARS, st.one_of(st.none(), numbers, strings)),
    condition((FilterOperator.EQ, FilterOperator.NE), lists),
    condition(ORDERS, st.one_of(numbers, strings)),
    condition(LISTS, lists),
    condition(TEXTS, strings),
    condition([FilterOperator.IS_EMPTY], st.none()),
)
conditions = st.sampled_from([*FilterCondition, None])


def group(parts: Any) -> Any:
    return st.builds(MetadataFilters, filters=st.lists(parts, min_size=1, max_size=3), condition=conditions)


trees = group(st.one_of(leaves, group(leaves)))


def by_definition(node: Any, metadata: dict[str, Any]) -> bool:
    """LlamaIndex's function for one condition; nesting as its conditions say; odd types match nothing."""
    if isinstance(node, MetadataFilter):
        try:
            return build_metadata_filter_fn({"": metadata}.__getitem__, MetadataFilters(filters=[node]))("")
        except TypeError:
            return False
    parts = [by_definition(part, metadata) for part in node.filters]
    if node.condition == FilterCondition.NOT:
        return not any(parts)
    return any(parts) if node.condition == FilterCondition.OR else all(parts)


@settings(max_examples=max(100, settings.default.max_examples))
@given(tree=trees, metadata=st.dictionaries(st.sampled_from(["a", "b"]), held))
def test_filters_match_what_llama_index_says(tree: MetadataFilters, metadata: dict[str, Any]) -> None:
    wanted = to_filter(tree)
    assert wanted is not None
    assert filters.matches(wanted, metadata) == by_definition(tree, metadata)


def one(key: str, value: Any, operator: str = "==") -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])


@pytest.mark.parametrize(
    ("key", "value", "operator", "wanted"),
    [
        ("page", 1, "==", "a"),
        ("page", 4, "==", "d"),
        ("page", 1, "!=", "bcde"),
        ("page", 2, ">", "cd"),
        ("page", 2, ">=", "bcd"),
        ("page", 2, "<", "a"),
        ("page", 2.0, "<=", "ab"),
        ("page", "2", ">", ""),
        ("page", [1, 3, 9], "in", "ac"),
        ("page", [1, 3, 9], "nin", "bde"),
        ("tags", ["iron", "hot"], "any", "abe"),
        ("tags", ["hot", "drink"], "all", "a"),
        ("tags", "drink", "contains", "ae"),
        ("lang", "E", "text_match", "c"),
        ("lang", "e", "text_match_insensitive", "ac"),
        ("tags", None, "is_empty", "cd"),
        ("lang", None, "is_empty", "de"),
        ("page", None, "is_empty", "e"),
        ("ref_doc_id", "x", "==", "ab"),
        ("doc_id", ["x", "z"], "in", "ab"),
        ("document_id", "x", "!=", "cde"),
        ("document_id", None, "is_empty", "e"),
    ],
)
def test_every_operator_in_the_store(
    filled: InlayVectorStore, key: str, value: Any, operator: str, wanted: str
) -> None:
    assert "".join(node.node_id for node in filled.get_nodes(filters=one(key, value, operator))) == wanted


def test_groups_nest_and_negate(filled: InlayVectorStore) -> None:
    def found(*parts: Any, condition: str) -> str:
        chosen = MetadataFilters(filters=list(parts), condition=condition)
        return "".join(node.node_id for node in filled.get_nodes(filters=chosen))

    hot, late = one("tags", "hot", "contains"), one("page", 2, ">")
    assert found(hot, late, condition="or") == "abcd"
    assert found(hot, late, condition="and") == ""
    assert found(hot, late, condition="not") == "e"
    either = MetadataFilters(filters=[hot, late], condition="or")
    english = MetadataFilter(key="lang", value="en", operator="text_match_insensitive")
    assert found(either, english, condition="and") == "ac"
    assert found(MetadataFilters(filters=[either, english]), condition="not") == "bde"
    assert found(condition="and") == "abcde"


def test_the_users_own_key_goes_before_the_name_of_the_source(filled: InlayVectorStore, node: Any) -> None:
    filled.add([node("f", "1", "x", doc_id="own"), node("g", "1", "x", doc_id=None)])
    assert [n.node_id for n in filled.get_nodes(filters=one("doc_id", "own"))] == ["f"]
    assert [n.node_id for n in filled.get_nodes(filters=one("doc_id", "x"))] == ["a", "b", "g"]
    assert [n.node_id for n in filled.get_nodes(filters=one("ref_doc_id", "x"))] == ["a", "b", "f", "g"]


@pytest.mark.parametrize("value", ["'; DROP TABLE doc; --", 'a"b', "$", "\\", "%", "*"])
def test_values_and_keys_are_only_that(filled: InlayVectorStore, value: str) -> None:
    filled.add([TextNode(id_="z", text="1", embedding=[1.0, 0, 0], metadata={value: value})])
    assert [node.node_id for node in filled.get_nodes(filters=one(value, value))] == ["z"]


@pytest.mark.parametrize(
    ("value", "operator"), [("a", "in"), (1, "nin"), ("a", "any"), (None, "all"), (1, "text_match")]
)
def test_a_value_that_the_operator_cannot_take_is_an_error(
    store: InlayVectorStore, value: Any, operator: str
) -> None:
    with pytest.raises(ValueError, match=operator):
        store.get_nodes(filters=one("a", value, operator))


def test_filters_too_deep_are_an_error(store: InlayVectorStore) -> None:
    deep = one("a", 1)
    for _ in range(filters.MAX_DEPTH + 1):
        deep = MetadataFilters.model_construct(filters=[deep], condition=FilterCondition.AND)
    with pytest.raises(ValueError, match="nested more than"):
        store.get_nodes(filters=deep)
