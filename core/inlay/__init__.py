"""Inlay: quantised vector search inside the tools you already use."""

from .clusters import KMeans
from .collection import Collection, Hit, Record
from .contents import FormatError
from .ids import IdFilter
from .indexes import (
    FlatIndex,
    GraphIndex,
    Index,
    IVFIndex,
    LoRANNIndex,
    LVQIndex,
    PQIndex,
    QuIVerIndex,
    RVQIndex,
    SymphonyQGIndex,
    from_spec,
    load,
)
from .parallel.crew import get_num_threads, set_num_threads

__all__ = [
    "Collection",
    "FlatIndex",
    "FormatError",
    "GraphIndex",
    "Hit",
    "IVFIndex",
    "IdFilter",
    "Index",
    "KMeans",
    "LVQIndex",
    "LoRANNIndex",
    "PQIndex",
    "QuIVerIndex",
    "RVQIndex",
    "Record",
    "SymphonyQGIndex",
    "from_spec",
    "get_num_threads",
    "load",
    "set_num_threads",
]

__version__ = "0.1.0"
