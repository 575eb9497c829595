"""What a user asks for by name: one class a family, all keeping the contract of `base.Index`."""

from collections.abc import Sequence
from typing import Any

from .. import file
from ..contents import FormatError, Header, Sections, field
from .additive import PQIndex, RVQIndex
from .base import Index
from .exhaustive import FlatIndex, LVQIndex
from .ivf import IVFIndex
from .lorann import LoRANNIndex
from .navigable import GraphIndex
from .quiver import QuIVerIndex
from .symphony import SymphonyQGIndex

__all__ = [
    "FAMILIES",
    "FlatIndex",
    "GraphIndex",
    "IVFIndex",
    "Index",
    "LVQIndex",
    "LoRANNIndex",
    "PQIndex",
    "QuIVerIndex",
    "RVQIndex",
    "SymphonyQGIndex",
    "from_spec",
    "load",
]

FAMILIES: Sequence[type[Index]] = (
    FlatIndex,
    LVQIndex,
    PQIndex,
    RVQIndex,
    IVFIndex,
    GraphIndex,
    QuIVerIndex,
    SymphonyQGIndex,
    LoRANNIndex,
)


def from_spec(spec: str, dim: int, metric: str = "l2", **options: Any) -> Index:
    """Make an index from its spec string.

    Parameters
    ----------
    spec : str
        "Flat": `FlatIndex`.
        "LVQ4", "LVQ8", "LVQ4x4", "LVQ4x8", "LVQ8x4", "LVQ8x8": `LVQIndex`, bits of the first level
        and of the second.
        "PQ16": `PQIndex` of 16 codes of 8 bits; "PQ32x4fs": of 32 codes of 4 bits.
        "RVQ8x8", "RVQ16x4": `RVQIndex` of 8 codes of 8 bits, of 16 codes of 4.
        "IVF1024,LVQ8": `IVFIndex`, 1,024 lists of rows in that code, which may also be "Flat"; "IVF,LVQ8":
        as many lists as suit the rows it is trained on.
        "HNSW32": `GraphIndex` of float32 rows, at most 32 links each; "HNSW32,LVQ8": of rows
        in that code, which may be any that lists take.
        "QuIVer32": `QuIVerIndex`, at most 32 links a row.
        "SymQG32": `SymphonyQGIndex`, 32 links a row.
        "LoRANN1024": `LoRANNIndex`, 1,024 clusters; "LoRANN" leaves their number to training.
    dim : int
    metric : {"l2", "ip", "cosine"}
    **options
        The family's other options; see its class.

    Returns
    -------
    Index
        An empty one.

    Raises
    ------
    TypeError, ValueError
        For a spec that is no string, or that no family knows; for options that its family refuses.
    """
    if not isinstance(spec, str):
        raise TypeError(f"spec must be a string, not {type(spec).__name__}")
    for family in FAMILIES:
        parsed = family.parse(spec)
        if parsed is not None:
            return family(dim, metric, **parsed, **options)
    raise ValueError(f'unknown index spec {spec!r}; try "Flat", "LVQ4x8", "HNSW32,LVQ8" or "SymQG32"')


def load(path: file.PathName, mmap: bool = True) -> Index:
    """Open a saved index of any family; see `Index.load`.

    Raises
    ------
    FormatError
        For a damaged or foreign file, or a family that this version does not know.
    """
    return opened(*file.read(path, mmap=mmap))


def opened(header: Header, sections: Sections) -> Index:
    """Return the index of any family that `Index.contents` gave, as read from a file."""
    kind = field(header, "index", str)
    for family in FAMILIES:
        if family.__name__ == kind:
            return family._opened(header, sections)
    raise FormatError(f"holds a {kind!r:.80}, which this version does not know", file=sections.file)
