"""What goes wrong, one class a kind, each with two bases: what FAISS raises, and what Python would."""

from collections.abc import Iterator
from contextlib import contextmanager


class DimensionError(AssertionError, ValueError):
    """A shape, a length or a count that cannot be; FAISS asserts these."""


class IndexOperationError(RuntimeError):
    """What an index cannot do, or not yet: untrained, unsupported, unlike, an unknown factory string."""


class UnknownIdError(IndexOperationError, KeyError):
    """An id that no row has."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would show the text in quotes


class IndexFileError(RuntimeError, OSError):
    """A file that is missing, unreadable, damaged or foreign."""


@contextmanager
def operation() -> Iterator[None]:
    """Turn what the core says of values that no check here refuses into an `IndexOperationError`."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        if isinstance(error, DimensionError):
            raise
        raise IndexOperationError(str(error)) from error
