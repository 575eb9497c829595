"""Indexes whose rows lie in the codes of one codec or of several: what is done to each alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import as_rows
from ..codecs.codec import Codec
from ..contents import FormatError, Sections, field
from ..progress import Progress
from .base import Index
from .family import F32, I64

U8 = npt.NDArray[np.uint8]

# What the sections of each part are called in a file.
PREFIXES = ("", "vectors.")


class CodedIndex(Index):
    """An index over codes of the same rows, in the same slots.

    Attributes
    ----------
    _parts : list of (Codec, Codes)
        The codes that a search goes by, then those that have the last word if these are others.
    _rerank : int or None
        Effort: how many candidates get the last word, of families that have that.
    """

    __slots__ = ("_parts", "_rerank")
    _rerank: int | None

    def __init__(self, codecs: list[Codec], dim: int, metric: str, seed: int) -> None:
        super().__init__(dim, metric, seed=seed)
        self._rerank = None
        self._parts = [(codec, codec.new_codes()) for codec in codecs]

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """What rows are coded by: what searches go by, then what has the last word where that is another."""
        return tuple(codec for codec, _ in self._parts)

    @property
    def is_trained(self) -> bool:
        """Whether rows can be coded."""
        return all(codec.is_trained for codec, _ in self._parts)

    def _train(self, rows: F32, progress: Progress) -> None:
        for codec, _ in self._parts:
            codec.train(rows, seed=self.seed, progress=progress)

    def _learned(self) -> Any:
        return [codec.learned() for codec, _ in self._parts]

    def _unlearn(self, learned: Any) -> None:
        for (codec, _), was in zip(self._parts, learned, strict=True):
            codec.unlearn(was)

    def _reserve(self, n: int) -> None:
        for _, codes in self._parts:
            codes.reserve(n)

    def _append(self, rows: F32) -> None:
        for codec, codes in self._parts:
            codec.encode(rows, codes)

    def _truncate(self, n: int) -> None:
        # Even to the length they say they have: an interruption may have left some tables longer.
        for _, codes in self._parts:
            codes.resize(n)

    def _move(self, sources: I64, targets: I64) -> None:
        for _, codes in self._parts:
            codes.move(sources, targets)

    def _clear(self) -> None:
        self._parts = [(codec, codec.new_codes()) for codec, _ in self._parts]

    def _shrink(self) -> None:
        for _, codes in self._parts:
            codes.compact()

    def _default_candidates(self, k: int) -> int:
        """Return how many candidates get the last word unless `rerank` says so; 0 for none."""
        return 0

    def _candidates(self, k: int, effort: Mapping[str, Any]) -> int:
        """Return how many candidates get the last word, k at least; 0 for none."""
        wanted: int | None = effort.get("rerank", self._rerank)
        if wanted is None:
            return self._default_candidates(k)
        return max(int(wanted), k) if wanted else 0

    def _decode(self, slots: I64) -> F32:
        codec, codes = self._parts[-1]
        return codec.decode(codes, slots)

    # Codes by themselves

    @property
    def code_size(self) -> int:
        """Bytes of what `encode` gives for a row."""
        return int(self._parts[-1][0].new_codes().pack(np.arange(0)).shape[1])

    def encode(self, rows: npt.ArrayLike) -> U8:
        """Return rows as codes, uint8 (n, code_size), without adding them: those that are known best by.

        Raises
        ------
        ValueError
            Before training, and for bad rows.
        """
        vectors = self._prepared(as_rows(rows, self.dim))
        with self._lock.shared():
            if not self.is_trained:
                raise ValueError("rows cannot be coded before training")
            return self._packed(vectors)

    def decode(self, codes: npt.ArrayLike) -> F32:
        """Return the rows float32 (n, dim) that codes stand for; any bytes stand for some.

        Raises
        ------
        ValueError
            Before training, and for another shape or dtype.
        """
        packed, size = np.asarray(codes), self.code_size
        if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != size:
            raise ValueError(f"codes must be uint8 (n, {size}), not {packed.dtype} of shape {packed.shape}")
        if not len(packed):
            return np.empty((0, self.dim), np.float32)
        with self._lock.shared():
            return self._unpacked(packed)

    def _packed(self, rows: F32) -> U8:
        codes = self._parts[-1][0].encode(rows)
        return codes.pack(np.arange(len(rows)))

    def _unpacked(self, packed: U8) -> F32:
        codec = self._parts[-1][0]
        codes = codec.new_codes()
        codes.unpack(packed)
        return codec.decode(codes)

    @property
    def _n_stored(self) -> int:
        """How many rows the tables have room for, which is more than there are where they lie in lists."""
        return self._ids.n_slots

    def _parts_state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        learned: list[dict[str, Any]] = []
        sections: dict[str, npt.NDArray[Any]] = {}
        for prefix, (codec, codes) in zip(PREFIXES, self._parts, strict=False):
            fields, arrays = codec.state()
            learned.append(fields)
            for name, array in {**arrays, **codes.sections(self._n_stored)}.items():
                sections[prefix + name] = array
        return {"codecs": learned}, sections

    def _restore_parts(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        learned = field(header, "codecs", list)
        if len(learned) != len(self._parts) or not all(isinstance(fields, dict) for fields in learned):
            raise FormatError(f"header field 'codecs' is not {len(self._parts)} objects", file=sections.file)
        for prefix, fields, (codec, codes) in zip(PREFIXES, learned, self._parts, strict=False):
            codec.restore(fields, sections.under(prefix))
            if n and not codec.is_trained:
                raise FormatError(f"holds {n} rows but nothing that they were coded with", file=sections.file)
            codes.restore(sections.under(prefix), n)
