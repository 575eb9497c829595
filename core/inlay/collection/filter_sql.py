"""Filters in SQL, over the JSON text of the metadata: 1, 0, or NULL for "SQLite cannot tell".

SQL's own three-valued logic carries the doubt through AND, OR and NOT, and where the whole filter is NULL for
a row, the row is asked of `filters.matches`, which SQLite calls as a function:

    WHERE coalesce(<the filter>, matches(meta))

So the two agree wherever SQLite is not certain, and whatever SQL cannot say (a key with a quote in it,
equality with a list, an odd number) is simply NULL. Certain is what SQLite's JSON does exactly: text, 64-bit
integers, true, false, null, and dates by what `metadata` stores for them. A float is certain unless it is
within 1e-13 of the operand: SQLite's reading of long decimals may be off in the last places.

Nothing of the user's becomes SQL: keys and operands are bound as parameters.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from . import metadata
from .filters import And, Contains, Filter, In, Leaf, Not, Or, Order, Text, kind

Sql = tuple[str, list[Any]]
NO: Sql = ("0", [])
YES: Sql = ("1", [])
UNKNOWN: Sql = ("NULL", [])

# Beyond these SQLite gives up: 100 open brackets, expressions 1000 deep, 32766 parameters, long patterns.
_MAX_DEPTH = 10
_MAX_PARTS = 50
_MAX_PARAMETERS = 30_000
_MAX_PATTERN = 10_000  # characters of at most four bytes, of 50,000 bytes

_GLOB = re.compile(r"[*?\[]")  # what is not itself in a pattern
_FLOAT_SLACK = 1e-13
# What a path cannot name in every version of SQLite, or would lead into a tag.
_ODD_KEY = re.compile(r'["\\\x00-\x1f\ud800-\udfff]|(^|\.)(\$|\.|$)')
_ODD_TEXT = re.compile("[\x00\ud800-\udfff]")


def where(node: Filter) -> Sql:
    """Return a condition on the column `meta`, and its parameters.

    It calls `matches(meta)` where it must: a function of one argument, the text, defined on the connection.
    """
    sql, parameters = _compile(node, 0)
    if len(parameters) > _MAX_PARAMETERS:
        sql, parameters = UNKNOWN
    return f"coalesce({sql}, matches(meta))", parameters


def _compile(node: Filter, depth: int) -> Sql:
    if depth > _MAX_DEPTH:
        return UNKNOWN
    match node:
        case And(parts):
            return _joined([_compile(part, depth + 1) for part in parts], "AND", YES)
        case Or(parts):
            return _joined([_compile(part, depth + 1) for part in parts], "OR", NO)
        case Not(part):
            sql, parameters = _compile(part, depth + 1)
            return f"NOT ({sql})", parameters
        case In() | Order() | Contains() | Text():
            return _leaf(node)


def value(key: str) -> Sql | None:
    """Return an expression for the value of a key, first as it is, then as a path, and its parameters.

    It is JSON text, a list whose first item is the value, null if there is none: two paths at once make
    SQLite copy what stands there, to the last digit. None for a key that no path can name.
    """
    if _ODD_KEY.search(key):
        return None
    literal, path = _paths(key)
    if literal == path:
        return "json_extract(meta, ?, ?)", [path, path]
    return (
        "CASE WHEN json_type(meta, ?) IS NOT NULL THEN json_extract(meta, ?, ?) "
        "ELSE json_extract(meta, ?, ?) END",
        [literal, literal, literal, path, path],
    )


def _paths(key: str) -> tuple[str, str]:
    """Return the path to a key as it is, and the one that its dots make."""
    return f'$."{key}"', "$" + "".join(f'."{part}"' for part in key.split("."))


def _joined(parts: Sequence[Sql], word: str, empty: Sql) -> Sql:
    if len(parts) > _MAX_PARTS:
        return UNKNOWN
    if not parts:
        return empty
    return f" {word} ".join(f"({sql})" for sql, _ in parts), [
        value for _, values in parts for value in values
    ]


def _leaf(node: Leaf) -> Sql:
    """Ask one key, first as it is, then as a path."""
    key = node.key
    if _ODD_KEY.search(key):
        return UNKNOWN
    literal, path = _paths(key)
    sql, parameters = _ask(node, literal)
    if path != literal:
        below, more = _ask(node, path)
        sql = f"CASE WHEN json_type(meta, ?) IS NOT NULL THEN {sql} ELSE {below} END"
        parameters = [literal, *parameters, *more]
    pattern = _pattern(node)
    if pattern is not None:  # spares the parsing of most rows: equality takes half the time
        return f"CASE WHEN meta GLOB ? THEN {sql} ELSE 0 END", [pattern, *parameters]
    return sql, parameters


def _pattern(node: Leaf) -> str | None:
    """Return what the text of the metadata must look like if they match; None when much else could be."""
    match node:
        case Contains(_, wanted) | Text(_, wanted, False):
            is_part = True
        case In(_, (wanted,)):
            is_part = False
        case _:
            return None
    if not _is_exact(wanted):
        return None
    text = metadata.to_text(wanted)
    if is_part:
        return _around(text[1:-1]) if isinstance(wanted, str) else None
    if isinstance(wanted, str):
        return _around(text[1:])  # the search is for the first character, and there are many quotes
    if "." in node.key or abs(wanted) >= 10**15:  # larger floats have an exponent
        return None
    # An int and the float that equals it begin alike, but for zero. A Decimal is an object.
    first = "-0" if wanted == 0 else text[0]
    return _around(metadata.to_text(node.key)[1:] + ":", f"[{first}{{]")


def _around(literal: str, then: str = "") -> str | None:
    pattern = "*" + _GLOB.sub(r"[\g<0>]", literal) + then + "*"
    return pattern if len(pattern) < _MAX_PATTERN else None


def _ask(node: Leaf, path: str) -> Sql:
    match node:
        case In(_, values):
            return _in(path, values)
        case Order(_, sign, operand):
            return _order(path, sign, operand)
        case Contains(_, operand):
            return _contains(path, operand)
        case Text(_, operand, folded):
            return _text(path, operand, folded)


def _by_type(path: str, branches: dict[str, Sql], missing: Sql = NO) -> Sql:
    """Choose by the JSON type of the value; an absent one and types without a branch are `missing`."""
    branches = {name: branch for name, branch in branches.items() if branch != missing}
    if not branches:
        return missing
    sql = " ".join(f"WHEN '{name}' THEN {branch}" for name, (branch, _) in branches.items())
    parameters = [value for _, values in branches.values() for value in values]
    return f"CASE json_type(meta, ?) {sql} ELSE {missing[0]} END", [path, *parameters]


# What SQLite compares exactly


def _is_exact(value: Any) -> bool:
    """Tell whether a str or number is stored as itself, as what equals it is too, but for a Decimal."""
    if isinstance(value, str):
        return _ODD_TEXT.search(value) is None
    if kind(value) != "number" or isinstance(value, Decimal):
        return False  # None and bool are constants of JSON
    return bool(-metadata.INT64 <= value < metadata.INT64) or (
        isinstance(value, float) and abs(value) < metadata.FLOAT_LIMIT
    )


def _tag(value: Any, path: str) -> tuple[str, Any] | None:
    """Return the path and the value to compare a date, UUID or bytes by; None for other kinds."""
    if kind(value) not in ("date", "datetime", "aware datetime", "UUID", "bytes"):
        return None
    (tag, stored), *_ = metadata.stored(value).items()
    return (f'{path}."{tag}"[1]', stored[1]) if tag == "$aware" else (f'{path}."{tag}"', stored)


def _hiding_places(value: Any) -> tuple[str, ...]:
    """Return the JSON types among which SQLite may overlook a value that equals this one."""
    match kind(value):
        case "number":
            # A Decimal or an integer beyond 64 bits is an object, whatever it equals.
            return ("object",) if _is_exact(value) else ("object", "integer", "real")
        case "str":
            return () if _is_exact(value) else ("object",)
        case "list":
            return ("array",)
        case "tuple" | "set" | "dict":
            return ("object",)
        case _:
            return ()


# The four questions


def _in(path: str, values: tuple[Any, ...]) -> Sql:
    exact = [value for value in values if _is_exact(value)]
    numbers = [value for value in exact if not isinstance(value, str)]
    whole = [int(value) for value in numbers if value == int(value) and abs(value) < metadata.INT64]
    tags = [found for value in values if (found := _tag(value, path))]
    branches = {
        "text": _one_of(path, [value for value in exact if isinstance(value, str)]),
        "integer": _one_of(path, whole),
        "real": _near(path, numbers),
        "object": _joined([(f"coalesce({_EXTRACT} = ?, 0)", list(tag)) for tag in tags], "OR", NO),
        "array": NO,
    }
    for name in {name for value in values for name in _hiding_places(value)}:
        branches[name] = _joined([branches[name], UNKNOWN], "OR", NO)
    none, *booleans = (YES if any(value is one for value in values) else NO for one in (None, True, False))
    branches |= {"null": none, "true": booleans[0], "false": booleans[1]}
    return _by_type(path, branches, missing=none)


_EXTRACT = "json_extract(meta, ?)"


def _one_of(path: str, values: list[Any]) -> Sql:
    if not values:
        return NO
    if len(values) == 1:
        return f"{_EXTRACT} = ?", [path, values[0]]
    return f"{_EXTRACT} IN (SELECT value FROM json_each(?))", [path, metadata.to_text(values)]


def _near(path: str, values: list[int | float]) -> Sql:
    """Floats that are far from every value equal none; what is near is asked again."""
    if not values or len(values) > _MAX_PARTS:
        return UNKNOWN if values else NO
    near = " OR ".join([f"abs({_EXTRACT} - ?) <= ?"] * len(values))
    parameters = [part for value in values for part in (path, value, _slack(value))]
    return f"CASE WHEN {near} THEN NULL ELSE 0 END", parameters


def _slack(value: int | float) -> float:
    return abs(value) * _FLOAT_SLACK + 1e-290  # where floats get coarse, next to zero


def _order(path: str, sign: str, operand: Any) -> Sql:
    compare = f"{_EXTRACT} {sign} ?"
    of = kind(operand)
    if of not in ("number", "str"):
        tag = _tag(operand, path) if of in ("date", "datetime", "aware datetime") else None
        return _by_type(path, {"object": (f"coalesce({compare}, 0)", list(tag))}) if tag else NO
    if not _is_exact(operand):
        return _by_type(path, dict.fromkeys(("text", "integer", "real", "object"), UNKNOWN))
    if of == "str":
        return _by_type(path, {"text": (compare, [path, operand]), "object": UNKNOWN})
    far = (
        f"CASE WHEN abs({_EXTRACT} - ?) > ? THEN {compare} END",
        [path, operand, _slack(operand), path, operand],
    )
    return _by_type(path, {"integer": (compare, [path, operand]), "real": far, "object": UNKNOWN})


def _contains(path: str, operand: Any) -> Sql:
    def some(condition: str, *parameters: Any) -> Sql:
        return f"EXISTS (SELECT 1 FROM json_each(meta, ?) WHERE {condition})", [path, *parameters]

    array, text = UNKNOWN, NO
    if operand is None or isinstance(operand, bool):
        array = some("type = ?", json.dumps(operand))
    elif isinstance(operand, str) and _is_exact(operand):
        array = some("type = 'text' AND value = ?", operand)
        text = f"instr({_EXTRACT}, ?) > 0", [path, operand]
    elif _is_exact(operand):
        exact, parameters = some("type = 'integer' AND value = ?", operand)
        perhaps, more = some("type IN ('real', 'object')")
        array = f"CASE WHEN {exact} THEN 1 WHEN {perhaps} THEN NULL ELSE 0 END", [*parameters, *more]
    return _by_type(path, {"array": array, "text": text, "object": UNKNOWN})


def _text(path: str, operand: str, folded: bool) -> Sql:
    text = UNKNOWN
    if _is_exact(operand) and not folded:
        text = f"instr({_EXTRACT}, ?) > 0", [path, operand]
    elif _is_exact(operand) and operand.isascii():
        # SQLite knows the case of ASCII only. What it finds is there; what it misses may be, in other text.
        plain = f"length({_EXTRACT}) = length(CAST({_EXTRACT} AS BLOB))"
        found = f"instr(lower({_EXTRACT}), ?) > 0"
        text = f"CASE WHEN {found} THEN 1 WHEN {plain} THEN 0 END", [path, operand.lower(), path, path]
    return _by_type(path, {"text": text, "object": UNKNOWN})
