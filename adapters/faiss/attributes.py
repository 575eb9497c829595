"""Attributes that are declared: a misspelt `index.nprobs = 64` is an error and no new attribute."""

import difflib
import inspect
from typing import Any, ClassVar


class Declared:
    """An object that takes the attributes its classes declare, and private ones."""

    _declared: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        names = {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
        names |= {name for name in dir(cls) if not callable(getattr(cls, name, None))}
        cls._declared = frozenset(name for name in names if not name.startswith("_"))

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self._declared:
            near = difflib.get_close_matches(name, self._declared, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")
        super().__setattr__(name, value)
