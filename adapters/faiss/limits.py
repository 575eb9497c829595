"""Limits of what is read from files: a service that reads other people's files may lower them."""

from inlay.contents import FormatError

from .arrays import as_int

# Beyond, a vector alone would be half a gigabyte; every real one is far below.
MOST_DIMENSIONS = 1 << 20


class Limits:
    """What a file may hold.

    Attributes
    ----------
    parts : int
        Indexes and transforms in one index.
    bytes : int
        Of one array.
    """

    def __init__(self) -> None:
        self.parts = 1000
        self.bytes = 1 << 48

    def check(self, parts: int, size: int, file: str) -> None:
        """Raise a `FormatError` for a file beyond the limits."""
        if parts > self.parts:
            raise FormatError(f"is made of {parts} parts; the limit is {self.parts}", file=file)
        if size > self.bytes:
            raise FormatError(f"holds an array of {size} bytes; the limit is {self.bytes}", file=file)

    @staticmethod
    def check_dimension(d: object) -> None:
        """Raise for a dimension that no vectors have, before anything of that size is made."""
        if type(d) is not int or not 0 < d <= MOST_DIMENSIONS:
            raise ValueError(f"vectors have no {d!r:.80} dimensions")


limits = Limits()


def set_deserialization_vector_byte_limit(value: int) -> None:
    """Set how many bytes one array of a file may have."""
    limits.bytes = as_int(value, "value", 0)


def get_deserialization_vector_byte_limit() -> int:
    """Return how many bytes one array of a file may have."""
    return limits.bytes


def set_deserialization_loop_limit(value: int) -> None:
    """Set how many parts the index in a file may have."""
    limits.parts = as_int(value, "value", 1)


def get_deserialization_loop_limit() -> int:
    """Return how many parts the index in a file may have."""
    return limits.parts
