"""Indexes to and from files, bytes and streams.

A file is one of the core's format; below the header it says how the index is put together:

    header     {"faiss": 1, "nodes": [node, ..]}
    node       {"kind": class, "made": what it is called with, "parts": numbers of earlier nodes, "set": ..,
                "state": what it stores}
    sections   "<number of the node>.<name>"

The last node is the index, or a transform. Parts come before what they are part of, so there is no circle and
no recursion; classes are those of one table; what a class is called with is checked by the class. Nothing is
unpickled.
"""

import copyreg
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from inlay import file
from inlay.contents import FormatError, Header, Sections, field

from . import coded, flat, graphs, idmap, ivf, pretransform, refine, shards, transforms
from .arrays import U8
from .base import Index
from .errors import DimensionError, IndexFileError, IndexOperationError
from .limits import limits
from .strids import StrIDMap, Word

IO_FLAG_SKIP_STORAGE = 1
IO_FLAG_READ_ONLY = 2
IO_FLAG_ONDISK_SAME_DIR = 4
IO_FLAG_SKIP_IVF_DATA = 8
IO_FLAG_SKIP_PRECOMPUTE_TABLE = 16
IO_FLAG_PQ_SKIP_SDC_TABLE = 32
IO_FLAG_MMAP = IO_FLAG_SKIP_IVF_DATA | 0x646F0000
IO_FLAG_MMAP_IFC = 1 << 9

VERSION = 1

AnyIndex = TypeVar("AnyIndex", Index, StrIDMap)
Part = Index | transforms.VectorTransform

# All that a file may hold; indexes inside are given by the names of their arguments.
INDEXES: Mapping[str, type[Index]] = {
    kind.__name__: kind
    for kind in (
        *(flat.IndexFlat, flat.IndexFlatL2, flat.IndexFlatIP),
        *(coded.IndexLVQ, coded.IndexScalarQuantizer, coded.IndexPQ, coded.IndexPQFastScan, coded.IndexRVQ),
        *(graphs.IndexHNSW, graphs.IndexHNSWFlat, graphs.IndexHNSWSQ, graphs.IndexSymQG, graphs.IndexQuIVer),
        *(ivf.IndexIVFFlat, ivf.IndexIVFScalarQuantizer, ivf.IndexIVFLVQ, ivf.IndexIVFPQ),
        *(ivf.IndexIVFPQFastScan, ivf.IndexIVFRVQ, ivf.IndexLoRANN),
        *(idmap.IndexIDMap, idmap.IndexIDMap2, pretransform.IndexPreTransform),
        *(refine.IndexRefine, refine.IndexRefineFlat, shards.IndexShards, shards.IndexReplicas),
    )
}
TRANSFORMS: Mapping[str, type[transforms.VectorTransform]] = {
    kind.__name__: kind
    for kind in (
        *(transforms.LinearTransform, transforms.RandomRotationMatrix, transforms.PCAMatrix),
        *(transforms.OPQMatrix, transforms.HadamardRotation, transforms.NormalizationTransform),
        *(transforms.RemapDimensionsTransform, transforms.CenteringTransform),
    )
}
# Attributes that are saved: their type, the least they can be, and whether None leaves them to the core.
EFFORTS: Mapping[str, tuple[type[int] | type[float], int, bool]] = {
    "nprobe": (int, 0, True),
    "max_codes": (int, 0, False),
    "efSearch": (int, 1, False),
    "rerank": (int, 0, True),
    "k_factor": (float, 1, False),
}
# What damaged fields may lead the classes to raise.
DAMAGE = (TypeError, ValueError, OverflowError, IndexOperationError, AttributeError, KeyError, struct.error)


# Writing


def write_index(index: Index | StrIDMap, fname: Any) -> None:
    """Write an index to a path, or to anything with `write`.

    A path is replaced in one step once all of the new file is safely on the disk.

    Raises
    ------
    IndexFileError
        A RuntimeError and an OSError, when the file cannot be written.
    """
    if not isinstance(index, (Index, StrIDMap)):
        raise TypeError(f"index must be an index, not {type(index).__name__}")
    with index._lock.shared():
        _write(fname, *_contents(index))


def serialize_index(index: Index | StrIDMap) -> U8:
    """Return what `write_index` would write, uint8 (n,)."""
    with index._lock.shared():
        return np.array(np.frombuffer(file.to_bytes(*_contents(index)), np.uint8))


def write_VectorTransform(vt: transforms.VectorTransform, fname: Any) -> None:
    """Write a transform to where `write_index` would write an index."""
    header, sections = _new_file()
    _add_node(vt, header["nodes"], sections)
    _write(fname, header, sections)


def _write(fname: Any, header: dict[str, Any], sections: dict[str, Any]) -> None:
    try:
        file.write(fname, header, sections)
    except OSError as error:
        raise IndexFileError(f"could not write {fname}: {error}") from error


def _new_file() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the sections of a file that holds nothing yet."""
    return {"faiss": VERSION, "nodes": []}, {}


def _contents(index: Index | StrIDMap) -> tuple[dict[str, Any], dict[str, Any]]:
    header, sections = _new_file()
    if isinstance(index, StrIDMap):
        text, ends, binary = index.words
        sections |= {"words.text": text, "words.ends": ends, "words.binary": binary}
        header["words"] = len(ends)
        index = index.index
    try:
        _add_node(index, header["nodes"], sections)
    except FormatError as error:  # of a mapped file that is damaged
        raise IndexFileError(str(error)) from error
    return header, sections


def _add_node(part: Part, nodes: list[dict[str, Any]], sections: dict[str, Any]) -> int:
    kind = type(part).__name__
    if INDEXES.get(kind, TRANSFORMS.get(kind)) is not type(part):
        raise IndexOperationError(f"a {kind} cannot be written: files hold classes of this package only")
    inside = [_add_node(other, nodes, sections) for other in _inside(part)]
    if isinstance(part, Index):
        fields, arrays = part._state()
        made = {name: getattr(part, "metric_type" if name == "metric" else name) for name in part.MADE_OF}
        values = {name: getattr(part, name) for name in part.SAVED}
    else:
        fields, arrays = part.state()
        made, values = fields["made"], {}
    number = len(nodes)
    nodes.append({"kind": kind, "made": made, "parts": inside, "set": values, "state": fields})
    for name, array in arrays.items():
        sections[f"{number}.{name}"] = array
    return number


def _inside(part: Part) -> Sequence[Part]:
    if isinstance(part, pretransform.IndexPreTransform):
        return [*part.chain, part.index]
    if isinstance(part, (shards.IndexShards, shards.IndexReplicas)):
        return part.parts()
    return [getattr(part, name) for name in part.PARTS] if isinstance(part, Index) else []


# Reading


def read_index(fname: Any, flags: int = 0) -> Any:
    """Read an index from a path, bytes, or anything with `read`.

    Parameters
    ----------
    fname : path-like, bytes-like, or an object with `read`
    flags : int
        `IO_FLAG_MMAP` maps a file instead of reading it: its header is verified at once, its contents by
        `verify`. `IO_FLAG_READ_ONLY` makes changes raise. Others are accepted.

    Raises
    ------
    IndexFileError
        A RuntimeError and an OSError, for a file that is missing, damaged or foreign.
    """
    with _reading(fname):
        header, sections = file.read(fname, mmap=bool(flags & IO_FLAG_MMAP & 0xFFFF0000))
        index = _opened(header, sections)
        if not isinstance(index, Index):
            raise FormatError("holds a transform; read_VectorTransform opens it", file=header.file)
        if flags & IO_FLAG_READ_ONLY:
            _forbid_changes(index)
        return index if "words" not in header else _named(index, header, sections)


def read_VectorTransform(fname: Any) -> transforms.VectorTransform:
    """Read a transform from where `read_index` would read an index."""
    with _reading(fname):
        transform = _opened(*file.read(fname))
        if isinstance(transform, Index):
            raise FormatError("holds an index; read_index opens it")
        return transform


@contextmanager
def _reading(fname: Any) -> Iterator[None]:
    """Turn what can be wrong with a file into an `IndexFileError`."""
    try:
        yield
    except FormatError as error:
        raise IndexFileError(str(error)) from error
    except OSError as error:
        raise IndexFileError(f"could not open {fname}: {error.strerror or error}") from error


def deserialize_index(data: Any, flags: int = 0) -> Any:
    """Read an index from what `serialize_index` gave, an array or bytes."""
    if isinstance(data, np.ndarray):
        if data.dtype != np.uint8 or data.ndim != 1:
            raise DimensionError(f"data must be uint8 (n,), not {data.dtype} of shape {data.shape}")
        data = np.ascontiguousarray(data).data
    return read_index(data, flags & ~IO_FLAG_MMAP)


def verify(path: str | os.PathLike[str]) -> None:
    """Check all of a file, which mapping it leaves undone.

    Raises
    ------
    IndexFileError
        For what is damaged, with the place.
    """
    try:
        file.verify(path)
    except (FormatError, OSError) as error:
        raise IndexFileError(str(error)) from error


def clone_index(index: AnyIndex) -> AnyIndex:
    """Return a copy that shares nothing with an index."""
    twin: AnyIndex = deserialize_index(serialize_index(index))
    return twin


def _opened(header: Header, sections: Sections) -> Part:
    """Return the last part that a file describes, which all others are in."""
    if "faiss" not in header:
        raise FormatError("is a file of inlay itself; inlay.load opens an index", file=header.file)
    field(header, "faiss", int, one_of=(VERSION,))
    nodes = field(header, "nodes", list)
    limits.check(len(nodes), max((array.nbytes for array in sections.values()), default=0), header.file)
    made: list[Part] = []
    try:
        for number, node in enumerate(nodes):
            if not isinstance(node, dict):
                raise FormatError(f"node {number} is no object", file=header.file)
            made.append(_restored(Header(node, header.file), made, sections.under(f"{number}.")))
    except FormatError:
        raise
    except DAMAGE as error:
        raise FormatError(f"describes an index that cannot be: {error}", file=header.file) from error
    # Every node is part of exactly one other, but the last.
    used = sorted(number for node in nodes for number in node["parts"])
    if not made or used != list(range(len(nodes) - 1)):
        raise FormatError("does not hold one index", file=header.file)
    return made[-1]


def _named(index: Index, header: Header, sections: Sections) -> StrIDMap:
    """Return an index with words for ids."""
    n = field(header, "words", int, at_least=0, at_most=index.ntotal)
    sections.under("words.").verify()
    text = sections.take("words.text", np.uint8, (None,))
    ends = sections.take("words.ends", np.int64, (n,))
    binary = sections.take("words.binary", np.uint8, (n,))
    starts = np.concatenate([[0], ends])
    if (np.diff(starts) < 0).any() or starts[-1] != len(text):
        raise sections.fault("words.ends", "are not the ends of words")
    if not isinstance(index, idmap.IndexIDMap2):
        raise FormatError("has words for ids over an index without ids", file=header.file)
    whole = text.tobytes()
    try:
        parts = [whole[start:end] for start, end in zip(starts, ends, strict=False)]
        pairs = zip(parts, binary.tolist(), strict=True)
        words: list[Word] = [w if is_binary else w.decode("utf-8", "surrogatepass") for w, is_binary in pairs]
        return StrIDMap.over(index, words)
    except ValueError as error:
        raise FormatError(f"has words for ids that cannot be: {error}", file=header.file) from error


def _restored(node: Header, before: Sequence[Part], sections: Sections) -> Part:
    """Return what a node describes, once its parts are there."""
    kind = field(node, "kind", str)
    arguments = field(node, "made", dict)
    state = Header(field(node, "state", dict), node.file)
    numbers = field(node, "parts", list)
    if not all(type(number) is int and 0 <= number < len(before) for number in numbers):
        raise FormatError(f"a {kind:.40} has parts {numbers!r:.80}", file=node.file)
    parts = [before[number] for number in numbers]
    if kind in TRANSFORMS:
        transform = _transform(TRANSFORMS[kind], arguments)
        transform.restore(state, sections)
        return transform
    if kind not in INDEXES:
        raise FormatError(f"holds a {kind!r:.80}, which this version does not know", file=node.file)
    index = _made(INDEXES[kind], arguments, parts)
    index._restore(state, sections)
    values = Header(field(node, "set", dict), node.file)
    for name in index.SAVED:
        kind_of, least, optional = EFFORTS[name]
        unset = optional and values.get(name) is None
        setattr(index, name, None if unset else field(values, name, kind_of, at_least=least))
    return index


def _transform(kind: type[transforms.VectorTransform], made: dict[str, Any]) -> transforms.VectorTransform:
    """Return a transform; those that keep the dimension are called with one."""
    if set(made) != set(kind.MADE_OF):
        raise TypeError(f"{kind.__name__} is made with {', '.join(kind.MADE_OF)}")
    limits.check_dimension(made["d_in"])
    limits.check_dimension(made.get("d_out", 1))
    return kind(*(made[name] for name in kind.MADE_OF))


def _made(kind: type[Index], made: dict[str, Any], parts: Sequence[Part]) -> Index:
    """Return an index of a class over parts that hold their rows already."""
    if set(made) != set(kind.MADE_OF):
        raise TypeError(f"{kind.__name__} is made with {', '.join(kind.MADE_OF)}")
    if made.get("d", 0) or not issubclass(kind, (shards.IndexShards, shards.IndexReplicas)):
        limits.check_dimension(made.get("d", 1))
    if issubclass(kind, pretransform.IndexPreTransform):
        return kind(*parts)
    inside = [part for part in parts if isinstance(part, Index)]
    if len(inside) != len(parts):
        raise TypeError(f"a {kind.__name__} is made of indexes")
    if issubclass(kind, shards.IndexShards):
        index = kind(**made)
        for part in inside:
            index.add_shard(part)
        return index
    if issubclass(kind, shards.IndexReplicas):
        replicas = kind(**made)
        for part in inside:
            replicas.add_replica(part)
        return replicas
    if len(inside) != len(kind.PARTS):
        raise TypeError(f"a {kind.__name__} is made of {len(kind.PARTS)} indexes, not of {len(inside)}")
    if issubclass(kind, refine.IndexRefineFlat):
        return kind.over(*inside)
    if issubclass(kind, idmap.IndexIDMap):
        return kind.over(*inside)
    arguments: dict[str, Any] = {**dict(zip(kind.PARTS, inside, strict=True)), **made}
    return kind(**arguments)


def _forbid_changes(index: Index) -> None:
    index._read_only = True
    for name in index.PARTS:
        _forbid_changes(getattr(index, name))
    for part in index.parts():
        _forbid_changes(part)


# Copies and pickles go through the same bytes


def _reduced(index: Index | StrIDMap) -> tuple[Any, ...]:
    return deserialize_index, (serialize_index(index),)


for _kind in (*INDEXES.values(), StrIDMap):
    copyreg.pickle(_kind, _reduced)
