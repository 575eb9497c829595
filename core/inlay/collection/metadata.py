"""Metadata: a dict as JSON text and back, with nothing lost on the way.

None, bool, int, float, str, list and dict are JSON as they are. What JSON does not know is an object with one
key, which begins with a dollar sign:

    {"$date": "2024-05-01"}   {"$tuple": [1, 2]}   {"$aware": ["2024-05-01T10:00:00+02:00", 1714550400000000]}

A key of the user's own that begins with one gets a second, so that the two cannot be confused. Numbers and
strings that SQLite's JSON cannot compare exactly (integers beyond 64 bits, floats near the limits, text with
a NUL) are such objects too: the filters, which run inside SQLite, then see that they cannot judge them.

The text is canonical: no spaces, and one way to write a value. The filters' SQL (`filter_sql`) relies on it.
"""

import base64
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from ..contents import FormatError

INT64 = 2**63
FLOAT_LIMIT = 1e300  # SQLite may read a decimal a little larger as infinity
MAX_DEPTH = 100  # SQLite and Python's JSON reader both give up near 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode(metadata: Mapping[str, Any]) -> str:
    """Return metadata as JSON text.

    Parameters
    ----------
    metadata : mapping of str
        Values as named above, nested at most 100 deep. Subclasses of str, int, float, list and dict are
        stored as what they extend.

    Raises
    ------
    TypeError
        For another type, naming the key.
    ValueError
        For text that is no valid Unicode, and for nesting that is too deep.
    """
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a dict, not {type(metadata).__name__}")
    text = to_text(_object(metadata, ("metadata",)))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = text[max(0, error.start - 20) : error.end]
        raise ValueError(f"metadata holds a lone surrogate, which no file can hold, in {found!r}") from None
    return text


def decode(text: str) -> dict[str, Any]:
    """Return what `encode` was given.

    Raises
    ------
    FormatError
        For anything that `encode` does not write.
    """
    value = revive(text)
    if type(value) is not dict:
        raise FormatError(f"metadata {text!r:.80} is not an object")
    return value


def revive(text: str) -> Any:
    """Return the value, of whatever type, that stands in the JSON of metadata as this text.

    Raises
    ------
    FormatError
        For anything that `encode` does not write.
    """
    try:
        return json.loads(text, object_hook=_revive) if '"$' in text else json.loads(text)
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise FormatError(f"metadata {text!r:.80} cannot be read: {error}") from error


def stored(value: Any) -> Any:
    """Return a single value as it stands in the JSON of metadata, in terms of JSON.

    Examples
    --------
    >>> stored(date(2024, 5, 1))
    {'$date': '2024-05-01'}
    """
    return _value(value, ("value",))


# One encoder for all: `json.dumps` with options makes a new one at every call.
to_text = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def _value(value: Any, path: tuple[Any, ...]) -> Any:
    """Return a value in terms of JSON; `path` is where it stands, for messages."""
    kind = type(value)
    if kind is str:
        return {"$text": value} if "\0" in value else value
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -INT64 <= value < INT64 else {"$int": _digits(value, path)}
    if kind is float:
        return value if abs(value) < FLOAT_LIMIT else {"$float": repr(value)}
    if kind in _TAGS:
        return _TAGS[kind](value, path)
    if isinstance(value, str | int | float):
        base = next(base for base in (str, int, float) if isinstance(value, base))
        return _value(base.__str__(value) if base is str else base(value), path)
    if isinstance(value, Mapping):
        return _object(value, path)
    if isinstance(value, list):
        return _items(value, path)
    return _refuse(value, path)


def _object(mapping: Mapping[Any, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    _check_depth(path)
    stored = {}
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise TypeError(
                f"{_name(path)} has the key {key!r:.80}, a {type(key).__name__}; keys must be str"
            )
        stored["$" + key if key.startswith("$") else key] = _value(value, (*path, key))
    return stored


def _items(values: Iterable[Any], path: tuple[Any, ...]) -> list[Any]:
    _check_depth(path)
    return [_value(value, (*path, i)) for i, value in enumerate(values)]


def _check_depth(path: tuple[Any, ...]) -> None:
    if len(path) > MAX_DEPTH:
        raise ValueError(f"{_name(path[:4])}... is nested more than {MAX_DEPTH} deep (or holds itself)")


def _digits(value: int, path: tuple[Any, ...]) -> str:
    try:
        return str(value)
    except ValueError as error:  # Python limits the length of integers in text
        raise ValueError(f"{_name(path)} cannot be stored: {error}") from None


def _name(path: tuple[Any, ...]) -> str:
    return str(path[0]) + "".join(f"[{part!r:.80}]" for part in path[1:])


def _refuse(value: Any, path: tuple[Any, ...]) -> NoReturn:
    advice = "; convert it with .item()" if type(value).__module__ == "numpy" else ""
    raise TypeError(
        f"{_name(path)} is a {type(value).__name__}, which cannot be stored{advice}; use None, bool, int, "
        "float, str, list, dict, tuple, set, bytes, datetime, date, UUID or Decimal"
    )


def _datetime(value: datetime, path: tuple[Any, ...]) -> dict[str, Any]:
    if value.utcoffset() is None:
        return {"$datetime": value.isoformat()}
    # The microseconds since 1970 are what filters compare: the text sorts by local time.
    return {"$aware": [value.isoformat(), (value - _EPOCH) // timedelta(microseconds=1)]}


def _set(value: set[Any], path: tuple[Any, ...]) -> dict[str, Any]:
    return {"$set": sorted(_items(value, path), key=to_text)}  # a set has no order: this one is canonical


# Stored: changing a tag or what stands under it needs a new format version.
_TAGS: dict[type, Callable[[Any, tuple[Any, ...]], dict[str, Any]]] = {
    datetime: _datetime,
    date: lambda value, path: {"$date": value.isoformat()},
    uuid.UUID: lambda value, path: {"$uuid": str(value)},
    Decimal: lambda value, path: {"$decimal": str(value)},
    bytes: lambda value, path: {"$bytes": base64.b64encode(value).decode()},
    tuple: lambda value, path: {"$tuple": _items(value, path)},
    set: _set,
}
_REVIVE: dict[str, Callable[[Any], Any]] = {
    "$datetime": datetime.fromisoformat,
    "$aware": lambda stored: datetime.fromisoformat(stored[0]),
    "$date": date.fromisoformat,
    "$uuid": uuid.UUID,
    "$decimal": Decimal,
    "$bytes": lambda stored: base64.b64decode(stored, validate=True),
    "$tuple": tuple,
    "$set": set,
    "$text": str,
    "$int": int,
    "$float": float,
}


def _revive(stored: dict[str, Any]) -> Any:
    """Turn an object with a tag into the value it stands for, and take second dollar signs off."""
    revived = {}
    for key, value in stored.items():
        if not key.startswith("$"):
            revived[key] = value
        elif key.startswith("$$"):
            revived[key[1:]] = value
        elif len(stored) == 1 and key in _REVIVE:
            return _REVIVE[key](value)
        else:
            raise FormatError(f"metadata has the unknown tag {key!r:.80}; was it written by a newer version?")
    return revived
