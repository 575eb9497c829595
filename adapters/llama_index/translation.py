"""LlamaIndex's words for a collection's things: nodes and filters.

A node's text is the text of a document, and its metadata are the metadata, as they are. What else there is to
a node stands beside them under one key of our own:

    {"page": 3, ..., "_node": {"class_name": "TextNode", "ref_doc_id": "a", "relationships": {...}, ...}}

So filters see the user's metadata, and documents that another adapter has stored are read as plain text
nodes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import BaseNode, ImageNode, IndexNode, MetadataMode, Node, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from inlay.collection import Hit, Record
from inlay.collection.filters import MAX_DEPTH, And, Contains, Filter, In, Not, Or, Order, Text

NODE = "_node"
REF = f"{NODE}.ref_doc_id"
ALIASES = ("ref_doc_id", "doc_id", "document_id")  # what LlamaIndex calls the source, in filters, too

# The classes that LlamaIndex knows how to read back; it, too, makes a TextNode of any other.
_CLASSES: dict[str, type[BaseNode]] = {kind.class_name(): kind for kind in (Node, IndexNode, ImageNode)}
_ELSEWHERE = {"id_", "embedding", "metadata", "text"}  # what is no part of the rest


# Nodes


def to_metadata(node: BaseNode) -> dict[str, Any]:
    """Return what is stored of a node beside its id, its vector and its text.

    Raises
    ------
    ValueError
        When the user's metadata have the key that is ours, or a part of the node cannot be stored.
    """
    if NODE in node.metadata:
        raise ValueError(f"node {node.node_id!r}: the metadata key {NODE!r} is taken by the store")
    rest = node.model_dump(mode="json", exclude=_ELSEWHERE, exclude_defaults=True)
    for name in _ELSEWHERE.intersection(rest):  # a class that writes itself may have put them in again
        del rest[name]
    if isinstance(rest.get("text_resource"), dict):
        rest["text_resource"].pop("text", None)
    return {**node.metadata, NODE: {**rest, "ref_doc_id": node.ref_doc_id}}


def to_text(node: BaseNode) -> str:
    """Return the text of a node; "" for one that has none."""
    return node.get_content(metadata_mode=MetadataMode.NONE)


def to_node(stored: Record | Hit) -> BaseNode:
    """Return the node that a document stands for."""
    metadata = dict(stored.metadata)
    rest = metadata.pop(NODE, None)
    if not isinstance(rest, dict):
        return TextNode(id_=stored.id, text=stored.text, metadata=metadata)
    rest = {name: value for name, value in rest.items() if name != "ref_doc_id"}
    kind = _CLASSES.get(rest.pop("class_name", ""), TextNode)
    if isinstance(rest.get("text_resource"), dict):
        rest["text_resource"] = {**rest["text_resource"], "text": stored.text}
    elif kind is not Node:
        rest["text"] = stored.text
    # By way of JSON, as LlamaIndex does: relationships and resources are read from its forms.
    node = kind.from_json(json.dumps({**rest, "id_": stored.id}))
    node.metadata = metadata
    return node


def is_recorded(stored: Record) -> bool:
    """Tell whether an index records a node although the store has its text: images and other indexes."""
    rest = stored.metadata.get(NODE)
    return isinstance(rest, dict) and rest.get("class_name") in _RECORDED


_RECORDED = (ImageNode.class_name(), IndexNode.class_name())
RECORDED = In(f"{NODE}.class_name", _RECORDED)


# Filters


def to_filter(filters: MetadataFilters | None, doc_ids: Sequence[str] | None = None) -> Filter | None:
    """Return metadata filters and a choice of source documents as one filter; None selects everything."""
    parts: list[Filter] = []
    if filters is not None and filters.filters:
        parts.append(_group(filters, 0))
    if doc_ids is not None:
        parts.append(from_source(doc_ids))
    return And(tuple(parts)) if parts else None


def from_source(doc_ids: Sequence[str]) -> Filter:
    """Return the filter for all nodes of these source documents."""
    return In(REF, tuple(doc_ids))


def _group(group: MetadataFilters, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise ValueError(f"the filters are nested more than {MAX_DEPTH} deep")
    parts = tuple(
        _group(part, depth + 1) if isinstance(part, MetadataFilters) else _condition(part)
        for part in group.filters
    )
    match group.condition:
        case None | FilterCondition.AND:
            return And(parts)
        case FilterCondition.OR:
            return Or(parts)
        case FilterCondition.NOT:  # none of them matches
            return Not(Or(parts))
    raise ValueError(f"unknown condition {group.condition!r} between filters")


def _condition(condition: MetadataFilter) -> Filter:
    """Return what is asked of one key; the names of the source document give way to the user's own."""
    key = condition.key
    if key not in ALIASES:
        return _asked(condition, key)
    own = Not(In(key, (None,)))
    return Or((And((own, _asked(condition, key))), And((Not(own), _asked(condition, REF)))))


_SIGNS = {
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
}


def _asked(condition: MetadataFilter, key: str) -> Filter:
    """Return one condition on a key; what a missing value or None matches is NE, NIN and IS_EMPTY only."""
    value = condition.value
    match condition.operator:
        case FilterOperator.EQ:
            return _equals(key, [value])
        case FilterOperator.NE:
            return Not(_equals(key, [value]))
        case FilterOperator.IN:
            return _equals(key, _values(condition))
        case FilterOperator.NIN:
            return Not(_equals(key, _values(condition)))
        case FilterOperator.GT | FilterOperator.GTE | FilterOperator.LT | FilterOperator.LTE as operator:
            return Order(key, _SIGNS[operator], value)
        case FilterOperator.CONTAINS:
            return _contains(key, value)
        case FilterOperator.ANY:
            return Or(tuple(_contains(key, one) for one in _values(condition)))
        case FilterOperator.ALL:
            there = Not(In(key, (None,)))
            return And((there, *(_contains(key, one) for one in _values(condition))))
        case FilterOperator.TEXT_MATCH | FilterOperator.TEXT_MATCH_INSENSITIVE as operator:
            if not isinstance(value, str):
                raise ValueError(f"{operator.value} for {key!r} takes a string, not {value!r:.80}")
            return Text(key, value, operator == FilterOperator.TEXT_MATCH_INSENSITIVE)
        case FilterOperator.IS_EMPTY:
            return In(key, (None, "", []))
    raise ValueError(f"unknown operator {condition.operator!r} for {key!r}")


def _values(condition: MetadataFilter) -> list[Any]:
    if not isinstance(condition.value, list):
        raise ValueError(
            f"{condition.operator.value} for {condition.key!r} takes a list, not {condition.value!r:.80}"
        )
    return condition.value


def _equals(key: str, values: Sequence[Any]) -> Filter:
    return In(key, tuple(other for value in values if value is not None for other in _likes(value)))


def _contains(key: str, value: Any) -> Filter:
    return Or(tuple(Contains(key, other) for other in _likes(value)))


def _likes(value: Any) -> list[Any]:
    """Return a value and what Python holds equal to it, but a collection does not: True for 1."""
    return [value, bool(value)] if not isinstance(value, list) and value in (0, 1) else [value]
