"""The contents of an opened file: a header and arrays, checked when they are asked for.

A file that passed the checks of `inlay.file` is safe to read, but may still not be what an index needs: a
field may be missing, an array have another shape. `field` and `Sections.take` say so as a `FormatError`, so
that the code of an index states what it wants and has no checks of its own.
"""

import math
import sys
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
T = TypeVar("T")


class FormatError(ValueError):
    """A file that is damaged, foreign, or written by a newer version.

    Parameters
    ----------
    message : str
        What is wrong, and what to do when there is something.
    file, section : str, optional
        Where; both become part of the text and are kept as attributes.
    offset : int, optional
        Byte of the file at which the trouble begins.
    """

    def __init__(
        self, message: str, *, file: str | None = None, section: str | None = None, offset: int | None = None
    ) -> None:
        place = [] if file is None else [file]
        if section is not None:
            place.append(f"section {section!r}")
        if offset is not None:
            place.append(f"byte {offset}")
        super().__init__(f"{', '.join(place)}: {message}" if place else message)
        self.file = file
        self.section = section
        self.offset = offset


class Header(dict[str, Any]):
    """A JSON object of a file's header that knows its `file`, so that `field` can name it."""

    def __init__(self, pairs: Iterable[tuple[str, Any]], file: str) -> None:
        super().__init__(pairs)
        self.file = file


class Sections(dict[str, Array]):
    """The arrays of a file by name, with the checks that every reader needs.

    Attributes
    ----------
    file, prefix : str
        Where the arrays come from, and what their names in the file begin with.
    offsets : dict of str to int
        Where each begins.
    unverified : dict of str to int
        The checksums of those whose bytes were not yet held against them, as of a mapped file.
    """

    def __init__(
        self, arrays: Mapping[str, Array], file: str, offsets: Mapping[str, int], prefix: str = ""
    ) -> None:
        super().__init__(arrays)
        self.file = file
        self.offsets = dict(offsets)
        self.prefix = prefix
        self.unverified: dict[str, int] = {}

    def under(self, prefix: str) -> "Sections":
        """Return those whose names begin with a prefix, without it."""
        start = len(prefix)
        arrays = {name[start:]: array for name, array in self.items() if name.startswith(prefix)}
        offsets = {name[start:]: offset for name, offset in self.offsets.items() if name.startswith(prefix)}
        return Sections(arrays, self.file, offsets, self.prefix + prefix)

    def take(self, name: str, dtype: npt.DTypeLike, shape: tuple[int | None, ...]) -> Array:
        """Return an array that has exactly this dtype and shape; None leaves a dimension free.

        Raises
        ------
        FormatError
            When the section is absent, or of another dtype or shape.
        """
        if name not in self:
            raise self.fault(name, "the file has no such section")
        array = self[name]
        if array.dtype != np.dtype(dtype):
            raise self.fault(name, f"holds {array.dtype}, expected {np.dtype(dtype)}")
        fits = (want is None or want == have for want, have in zip(shape, array.shape, strict=False))
        if len(shape) != array.ndim or not all(fits):
            wanted = ", ".join("any" if want is None else str(want) for want in shape)
            raise self.fault(name, f"has shape {array.shape}, expected ({wanted})")
        return array

    def verify(self, at_most: float = math.inf) -> None:
        """Hold arrays of so many bytes at most against their checksums, where that was not done before.

        Raises
        ------
        FormatError
            For the first that is damaged.
        """
        for name, crc in list(self.unverified.items()):
            if self[name].nbytes <= at_most:
                if zlib.crc32(np.ravel(self[name]).view(np.uint8).data) != crc:
                    raise self.fault(name, "the contents do not match their checksum")
                self.unverified.pop(name, None)  # another thread may have been as far

    def fault(self, name: str, message: str) -> FormatError:
        """Make, not raise, the error for contents of a section that cannot be right."""
        section = self.prefix + name
        return FormatError(message, file=self.file, section=section, offset=self.offsets.get(name))


def field(
    header: Mapping[str, Any],
    name: str,
    kind: type[T],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: Collection[T] | None = None,
) -> T:
    """Return a field of a header (or of an object within it) once it has this type and range.

    An int is accepted where a float is wanted, a bool never stands for a number.

    Raises
    ------
    FormatError
        When the field is absent, of another type, or out of range.
    """
    if name not in header:
        fault = f"the header has no field {name!r}"
    else:
        value = header[name]
        if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
            value = float(value)
        fault = f"header field {name!r} is {value!r:.80}, expected "
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            fault += kind.__name__
        elif at_least is not None and cast(float, value) < at_least:
            fault += f"{at_least} or more"
        elif at_most is not None and cast(float, value) > at_most:
            fault += f"{at_most} or less"
        elif one_of is not None and value not in one_of:
            fault += f"one of {', '.join(map(repr, one_of))}"
        else:
            return value
    raise FormatError(fault, file=header.file if isinstance(header, Header) else None)
