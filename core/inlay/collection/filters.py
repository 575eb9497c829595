"""Metadata filters: a dict becomes a small tree, and the tree says which metadata it matches.

    {"topic": "physics", "year": {"$gte": 2020, "$lt": 2024}, "$or": [{"lang": ["en", "fr"]}, {"draft":
    False}]}

`{key: value}` is equality, `{key: [values]}` is `$in`, `{key: {operator: operand, ...}}` wants every
operator, and several keys are an *and*. Operators: `$eq $ne ($neq) $gt $gte $lt $lte $in $nin $between
$contains $not_contains $exists`, and for parts of a str `$text_match` and, in whatever case,
`$text_match_insensitive`; between filters `$and`, `$or` (lists; an empty one is true, or false) and
`$not` (a filter). A key with dots is first looked for as it is, then as a path into nested dicts.

Values are compared within their kind: int, float and Decimal are numbers; bool, str, date, naive datetime,
aware datetime, UUID, bytes, list, tuple, set and dict are kinds of their own. Numbers, str and the three
kinds of dates have an order. Between two kinds nothing is equal and nothing has an order; that is never an
error. A missing key is None, and None is matched by `$eq: None`, `$ne`, `$nin`, `$not_contains` and `$exists:
False` only.

All of these are seven kinds of nodes. `matches` is what they mean; `columns` asks the same of all documents
at once, and `filter_sql` in SQL.
"""

import operator
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class And:
    """Every part matches."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part matches."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not match."""

    part: "Filter"


@dataclass(frozen=True, slots=True)
class In:
    """The value equals one of these; None stands for a missing value too."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """The value has an order with the operand, and is on the right side of it: `<`, `<=`, `>` or `>=`."""

    key: str
    sign: str
    operand: Any


@dataclass(frozen=True, slots=True)
class Contains:
    """The value is a list, tuple or set that holds the operand, or a str of which the operand is a part."""

    key: str
    operand: Any


@dataclass(frozen=True, slots=True)
class Text:
    """The value is a str of which the operand is a part; with `folded`, in whatever case."""

    key: str
    operand: str
    folded: bool = False


Leaf = In | Order | Contains | Text
Filter = And | Or | Not | Leaf

SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


# From a dict to the tree


def parse(filter: Mapping[str, Any]) -> Filter:
    """Return the tree of a filter in the dict grammar.

    Raises
    ------
    ValueError
        For an unknown operator, or an operand that the operator cannot take.
    TypeError
        For anything but a dict, and for a value of a type that metadata cannot hold.
    """
    return _parse(filter, 0)


def _parse(filter: Any, depth: int) -> Filter:
    if not isinstance(filter, Mapping):
        raise TypeError(f"a filter must be a dict, not {type(filter).__name__} {filter!r:.80}")
    if depth > MAX_DEPTH:
        raise ValueError(f"the filter is nested more than {MAX_DEPTH} deep")
    parts: list[Filter] = []
    for key, value in filter.items():
        if not isinstance(key, str):
            raise TypeError(f"a key of the filter is the {type(key).__name__} {key!r:.80}; keys must be str")
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple):
                raise ValueError(f"{key} takes a list of filters, not {value!r:.80}")
            below = tuple(_parse(part, depth + 1) for part in value)
            parts.append(And(below) if key == "$and" else Or(below))
        elif key == "$not":
            parts.append(Not(_parse(value, depth + 1)))
        elif key.startswith("$"):
            raise ValueError(f"unsupported operator {key!r} where a key, $and, $or or $not is expected")
        else:
            parts.extend(_conditions(key, value))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _conditions(key: str, value: Any) -> list[Filter]:
    """Return what is asked of one key."""
    if not isinstance(value, Mapping):
        name = "$in" if isinstance(value, list | tuple | set | frozenset) else "$eq"
        return [OPERATORS[name](key, value)]
    if not value:
        raise ValueError(f"the filter for {key!r} is an empty dict; give an operator, or {{'$eq': {{}}}}")
    for name in value:
        if not isinstance(name, str) or name not in OPERATORS:
            raise ValueError(
                f"unsupported operator {name!r:.80} for {key!r}; supported are {' '.join(OPERATORS)}, "
                "and $and, $or and $not around filters"
            )
    return [OPERATORS[name](key, operand) for name, operand in value.items()]


def _known(key: str, value: Any) -> Any:
    if kind(value) is None:
        raise TypeError(
            f"the filter for {key!r} compares with a {type(value).__name__}, which metadata cannot hold"
        )
    for base in (str, int, float):  # an enumeration's member is what metadata store of it: its plain value
        if isinstance(value, base) and not isinstance(value, bool) and type(value) is not base:
            return base.__str__(value) if base is str else base(value)
    if isinstance(value, datetime) and (offset := value.utcoffset()) is not None:
        # Metadata come back with the offset only. A zone, in the hour that its clocks repeat, equals no such
        # value.
        return value.replace(tzinfo=timezone(offset), fold=0)
    return value


def _in(key: str, values: Any) -> Filter:
    if not isinstance(values, list | tuple | set | frozenset):
        raise ValueError(f"$in and $nin for {key!r} take a list, not {values!r:.80}")
    return In(key, tuple(_known(key, value) for value in values))


def _order(sign: str) -> Callable[[str, Any], Filter]:
    return lambda key, operand: Order(key, sign, _known(key, operand))


def _between(key: str, operands: Any) -> Filter:
    if not isinstance(operands, list | tuple) or len(operands) != 2:
        raise ValueError(f"$between for {key!r} takes [lowest, highest], not {operands!r:.80}")
    low, high = operands
    return And((Order(key, ">=", _known(key, low)), Order(key, "<=", _known(key, high))))


def _exists(key: str, wanted: Any) -> Filter:
    if not isinstance(wanted, bool):
        raise ValueError(f"$exists for {key!r} takes True or False, not {wanted!r:.80}")
    return Not(In(key, (None,))) if wanted else In(key, (None,))


def _equal(key: str, value: Any) -> Filter:
    return In(key, (_known(key, value),))


def _contains(key: str, operand: Any) -> Filter:
    return Contains(key, _known(key, operand))


def _text(folded: bool) -> Callable[[str, Any], Filter]:
    def text(key: str, operand: Any) -> Filter:
        if not isinstance(operand, str):
            raise ValueError(f"$text_match for {key!r} takes a str, not {operand!r:.80}")
        return Text(key, _known(key, operand), folded)

    return text


OPERATORS: dict[str, Callable[[str, Any], Filter]] = {
    "$eq": _equal,
    "$ne": lambda key, value: Not(_equal(key, value)),
    "$neq": lambda key, value: Not(_equal(key, value)),
    "$gt": _order(">"),
    "$gte": _order(">="),
    "$lt": _order("<"),
    "$lte": _order("<="),
    "$in": _in,
    "$nin": lambda key, values: Not(_in(key, values)),
    "$between": _between,
    "$contains": _contains,
    "$not_contains": lambda key, value: Not(_contains(key, value)),
    "$exists": _exists,
    "$text_match": _text(folded=False),
    "$text_match_insensitive": _text(folded=True),
}


# What the tree means


def matches(node: Filter, metadata: Mapping[str, Any]) -> bool:
    """Tell whether metadata match a filter."""
    match node:
        case And(parts):
            return all(matches(part, metadata) for part in parts)
        case Or(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)
    return holds(node, lookup(metadata, node.key))


def holds(leaf: Leaf, value: Any) -> bool:
    """Tell whether the value of a key, None if there is none, meets a condition on that key."""
    match leaf:
        case In(_, values):
            return any(equal(value, wanted) for wanted in values)
        case Order(_, sign, operand):
            return ordered(value, sign, operand)
        case Contains(_, operand):
            return contains(value, operand)
        case Text(_, operand, folded):
            if folded and isinstance(value, str):
                return operand.lower() in value.lower()
            return isinstance(value, str) and operand in value


def lookup(metadata: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key, else of the path that its dots make, else None."""
    if key in metadata:
        return metadata[key]
    value: Any = metadata
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def kind(value: Any) -> str | None:
    """Return the name of the kind that a value is compared within; None if metadata cannot hold it."""
    found = _EXACT.get(type(value))
    if found is not None:
        return found
    for types, name in _KINDS:
        if isinstance(value, types):
            return name if name != "datetime" or value.utcoffset() is None else "aware datetime"
    return None


_KINDS: tuple[tuple[Any, str], ...] = (  # in this order: a bool is an int, a datetime is a date
    (str, "str"),
    (bool, "bool"),
    ((int, float, Decimal), "number"),
    (type(None), "None"),
    (datetime, "datetime"),
    (date, "date"),
    (list, "list"),
    (tuple, "tuple"),
    (set, "set"),
    (Mapping, "dict"),
    (bytes, "bytes"),
    (uuid.UUID, "UUID"),
)
# What most values are, without a look at one type after the other.
_EXACT = {str: "str", bool: "bool", int: "number", float: "number", type(None): "None", list: "list"}
ORDERED = ("number", "str", "date", "datetime", "aware datetime")


def equal(value: Any, wanted: Any) -> bool:
    """Tell whether two values are of one kind and equal."""
    try:
        return kind(value) == kind(wanted) and bool(value == wanted)
    except InvalidOperation:  # a signalling NaN among the Decimals
        return False


def ordered(value: Any, sign: str, operand: Any) -> bool:
    """Tell whether a value is on this side of the operand."""
    of = kind(operand)
    try:
        return of in ORDERED and kind(value) == of and SIGNS[sign](value, operand)
    except InvalidOperation:  # a NaN among the Decimals has no order
        return False


def contains(value: Any, operand: Any) -> bool:
    """Tell whether a list, tuple or set holds the operand, or a str has it as a part."""
    if isinstance(value, str):
        return isinstance(operand, str) and operand in value
    return isinstance(value, list | tuple | set) and any(equal(item, operand) for item in value)


class Candidate(Mapping[str, Any]):
    """What a filter function is given: a document that also reads like its metadata.

    Functions written for either form run unchanged: `lambda d: d.metadata["page"] > 3`, `lambda m: m["page"]
    > 3`.

    Parameters
    ----------
    id, text : str
    metadata : dict
        A copy: nothing that is done to it is stored.
    """

    __slots__ = ("id", "metadata", "text")

    def __init__(self, id: str, text: str, metadata: dict[str, Any]) -> None:
        self.id = id
        self.text = text
        self.metadata = metadata

    @property
    def page_content(self) -> str:
        """The text, by the name that LangChain has for it."""
        return self.text

    def __getitem__(self, key: str) -> Any:
        return self.metadata[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metadata)

    def __len__(self) -> int:
        return len(self.metadata)

    def __repr__(self) -> str:
        return f"Candidate(id={self.id!r}, text={self.text!r:.80}, metadata={self.metadata!r:.200})"
