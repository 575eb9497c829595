"""A folder that LangChain's FAISS store has saved, read without faiss and without running what is in it.

    index.faiss     an index of float vectors      `faiss_index`
    index.pkl       a pickle of (docstore, {row: id}); the docstore holds {id: Document}

A pickle is a program for a machine with a stack, and unpickling runs it: that is why loading such a folder
there is "dangerous deserialisation". Here the program is only looked at. `_Machine` knows the instructions
that build plain values. A class is a name to it, and an object a pair of that name and its state; the few
classes that stand for values are those in `_VALUES`. Whatever else a pickle asks for is refused.
"""

from __future__ import annotations

import datetime
import decimal
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inlay import FormatError

from . import faiss_index

_VALUES: dict[tuple[str, str], Callable[..., Any]] = {
    ("datetime", "date"): datetime.date,
    ("datetime", "datetime"): datetime.datetime,
    ("datetime", "timedelta"): datetime.timedelta,
    ("datetime", "timezone"): datetime.timezone,
    ("decimal", "Decimal"): decimal.Decimal,
}
_PACKAGES = {"langchain", "langchain_classic", "langchain_community", "langchain_core"}
_VISITS = 10  # values and runs of 8 characters that a byte of the pickle may stand for, by sharing


@dataclass(frozen=True, slots=True)
class Saved:
    """What such a folder holds: rows of equal place belong together."""

    metric: str
    vectors: npt.NDArray[np.float32]
    ids: list[str | None]
    texts: list[str]
    metadatas: list[dict[str, Any]]


def read(folder: Path, name: str) -> Saved:
    """Read `name`.faiss and `name`.pkl of a folder.

    Raises
    ------
    FileNotFoundError
        When one of them is missing.
    FormatError
        When one of them is damaged, holds anything but float vectors and plain documents, or the two do not
        belong together.
    """
    file = folder / f"{name}.faiss"
    try:
        metric, vectors = faiss_index.vectors(file.read_bytes())
    except FormatError as error:
        raise FormatError(str(error), file=str(file)) from None
    file = folder / f"{name}.pkl"
    program = file.read_bytes()
    try:
        documents, rows = _documents(_Machine().run(program), len(program))
    except FormatError as error:
        raise FormatError(str(error), file=str(file)) from None
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        raise FormatError(f"this is no pickle of a FAISS store: {error}", file=str(file)) from error
    if set(rows) != set(range(len(vectors))) or any(found not in documents for found in rows.values()):
        raise FormatError(
            f"the {len(vectors)} vectors and the {len(rows)} documents do not belong together", file=str(file)
        )
    ids = [rows[row] for row in range(len(vectors))]
    found = [documents[name] for name in ids]
    return Saved(metric, vectors, ids, [text for text, _ in found], [metadata for _, metadata in found])


# What the pickle says


@dataclass(frozen=True, slots=True)
class _Name:
    """A class or function of some module, which is not imported."""

    module: str
    name: str

    def is_langchains(self, name: str) -> bool:
        return self.name == name and self.module.split(".")[0] in _PACKAGES


@dataclass(slots=True)
class _Object:
    """An object of a class that is only a name."""

    kind: _Name
    state: Any = None


def _documents(
    value: Any, n_bytes: int
) -> tuple[dict[str | None, tuple[str, dict[str, Any]]], dict[int, str | None]]:
    """Return text and metadata of every document by its id, and the id of every row."""
    docstore, rows = value
    if not (isinstance(docstore, _Object) and docstore.kind.is_langchains("InMemoryDocstore")):
        raise FormatError("there is no InMemoryDocstore in it")
    documents: dict[str | None, tuple[str, dict[str, Any]]] = {}
    left = 10_000 + _VISITS * n_bytes
    for name, document in docstore.state["_dict"].items():
        if not (isinstance(document, _Object) and document.kind.is_langchains("Document")):
            raise FormatError(f"what is stored as {name!r:.40} is no Document")
        fields = document.state["__dict__"]
        text, metadata = fields["page_content"], fields["metadata"]
        if not (isinstance(name, str | None) and isinstance(text, str) and isinstance(metadata, dict)):
            raise FormatError(f"the document {name!r:.40} has no text or no metadata")
        left -= _visits([text, metadata], left)
        documents[name] = text, metadata
    if not isinstance(rows, dict) or not all(type(row) is int for row in rows):
        raise FormatError("the ids of the rows are no dict")
    return documents, rows


def _visits(value: Any, limit: int) -> int:
    """Count what a value holds, everything as often as it is met: a few bytes may stand for endless ones."""
    visits, ahead = 0, [value]
    while ahead:
        value = ahead.pop()
        visits += 1
        if isinstance(value, str | bytes):
            visits += len(value) // 8
        elif isinstance(value, dict):
            ahead.extend(value.keys())
            ahead.extend(value.values())
        elif isinstance(value, list | tuple | set):
            ahead.extend(value)
        if visits > limit:
            raise FormatError("it stands for more than a store of its size can hold")
    return visits


class _Machine:
    """Builds the value that a pickle describes, from those of its instructions that describe values."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []  # the stacks below the marks
        self._memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """Return the value.

        Raises
        ------
        FormatError
            For an instruction or a class that is not for plain values.
        ValueError, TypeError, LookupError
            For a program that makes no sense.
        """
        for opcode, argument, position in pickletools.genops(program):
            name = opcode.name
            if name == "STOP":
                return self._stack.pop()
            if name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _ARGUMENTS:
                self._stack.append(argument)
            elif name not in _IGNORED:
                step = getattr(self, f"_{name.lower()}", None)
                if step is None:
                    raise FormatError(f"the instruction {name} at byte {position} is not for documents")
                step(argument)
        raise FormatError("it does not end")

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    # Values that are made of others

    def _empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _empty_set(self, _: Any) -> None:
        self._stack.append(set())

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        _checked(self._stack[-1], list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._since_mark()
        _checked(self._stack[-1], list).extend(items)

    def _setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _checked(self._stack[-1], dict)[key] = value

    def _setitems(self, _: Any) -> None:
        items = self._since_mark()
        _checked(self._stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))

    def _additems(self, _: Any) -> None:
        items = self._since_mark()
        _checked(self._stack[-1], set).update(items)

    def _tuple(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append(tuple(items))

    def _tuple1(self, _: Any) -> None:
        self._last(1)

    def _tuple2(self, _: Any) -> None:
        self._last(2)

    def _tuple3(self, _: Any) -> None:
        self._last(3)

    def _last(self, count: int) -> None:
        items = [self._stack.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    # The memo

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _binput(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _binget(self, place: int) -> None:
        self._stack.append(self._memo[place])

    _long_binput, _long_binget = _binput, _binget

    # Classes and objects

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._named(_Name(_checked(module, str), _checked(name, str)))

    def _global(self, names: str) -> None:
        self._named(_Name(*names.split(" ")))

    def _named(self, name: _Name) -> None:
        allowed = any(name.is_langchains(known) for known in ("Document", "InMemoryDocstore"))
        if not allowed and (name.module, name.name) not in _VALUES:
            raise FormatError(f"it asks for {name.module}.{name.name}, which is not for documents")
        self._stack.append(name)

    def _newobj(self, _: Any) -> None:
        arguments, name = _checked(self._stack.pop(), tuple), _checked(self._stack.pop(), _Name)
        make = _VALUES.get((name.module, name.name))
        self._stack.append(_Object(name) if make is None else make(*arguments))

    _reduce = _newobj

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        _checked(self._stack[-1], _Object).state = state


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {kind.__name__} was expected, not {type(value).__name__}")
    return value


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_ARGUMENTS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
_IGNORED = {"PROTO", "FRAME"}
