"""An index as a file: what it was made with, its ids, and what its family stores.

    header      index, spec, dim, metric, seed, options, effort | rows, dead, base, next_id | the family's
    sections    ids, unless they run on from the base | the family's

`rows` counts slots, `dead` (absent for none) those of them whose rows were removed: their ids are -1.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .. import file
from ..contents import FormatError, Header, Sections, field
from ..ids import MAX_ROWS
from .family import Family


class Saved(Family):
    """The ways of an index out of a process and back."""

    __slots__ = ()

    def save(self, path: file.PathName) -> None:
        """Write the index to a file: beside it first, then renamed, so that there is always a whole one.

        Raises
        ------
        FormatError
            When the index lies in a mapped file that is damaged.
        OSError
            When the file cannot be written.
        """
        with self._lock.shared():
            file.write(path, *self._contents())

    def to_bytes(self) -> bytes:
        """Return what `save` would write."""
        with self._lock.shared():
            return file.to_bytes(*self._contents())

    @classmethod
    def load(cls, path: file.PathName, mmap: bool = True) -> Self:
        """Open a saved index.

        Parameters
        ----------
        path : path-like
        mmap : bool
            Map the file and read what a search touches when it touches it; the file must then stay as it is.
            Its header and its arrays up to 64 KiB are verified at once, the others when the index is saved
            or pickled (`inlay.file.verify` does it at any time). False reads and verifies all of it.

        Raises
        ------
        FormatError
            For a damaged or foreign file, or one that holds another kind of index.
        """
        return cls._opened(*file.read(path, mmap=mmap))

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Self:
        """Open what `to_bytes` gave."""
        return cls._opened(*file.read(data))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_bytes, (self.to_bytes(),)

    @classmethod
    def _opened(cls, header: Header, sections: Sections) -> Self:
        kind = field(header, "index", str)
        if kind != cls.__name__:
            raise FormatError(f"holds a {kind}, not a {cls.__name__}; inlay.load opens any", file=header.file)
        try:
            index = cls(
                field(header, "dim", int),
                field(header, "metric", str),
                seed=field(header, "seed", int),
                **field(header, "options", dict),
            )
            for name, value in index._checked(field(header, "effort", dict)).items():
                setattr(index, name, value)
        except (TypeError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"describes an index that cannot be: {error}", file=header.file) from None
        n = field(header, "rows", int, at_least=0, at_most=MAX_ROWS)
        index._restore(header, sections, n)
        index._restore_ids(header, sections, n)
        if sections.unverified:
            index._unverified = sections
        return index

    def _restore_ids(self, header: Header, sections: Sections, n: int) -> None:
        dead = 0
        if "dead" in header:
            # An index whose rows are all gone has no slots.
            most = 0 if self.MOVES_ROWS else max(n - 1, 0)
            dead = field(header, "dead", int, at_least=0, at_most=most)
        ids = sections.take("ids", np.int64, (n,)) if dead or "ids" in sections else None
        if ids is not None and dead:
            marked = int(np.count_nonzero(ids == -1))
            if marked != dead:
                raise sections.fault("ids", f"marks {marked} of {n} rows as removed, the header says {dead}")
        base = field(header, "base", int, at_least=-(2**63), at_most=2**63 - max(n, 1))
        self._ids.restore(n, base, field(header, "next_id", int, at_least=0, at_most=2**63), ids, dead)

    def _contents(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        if (mapped := self._unverified) is not None:
            mapped.verify()  # a file made of damaged rows would call them right
            self._unverified = None
        fields, sections = self._state()
        if self._ids.stored is not None:
            sections["ids"] = self._ids.stored
        dead = self._ids.n_slots - len(self._ids)
        header = {
            "index": type(self).__name__,
            "spec": self.spec,
            "dim": self.dim,
            "metric": self.metric,
            "seed": self.seed,
            "options": self.options,
            "effort": {name: getattr(self, name) for name in self.EFFORT},
            "rows": self._ids.n_slots,
            **({"dead": dead} if dead else {}),
            "base": self._ids.base,
            "next_id": self._ids.next_id,
            **fields,
        }
        return header, sections
