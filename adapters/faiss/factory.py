"""Indexes from strings: `index_factory(128, "OPQ16_64,IVF4096_HNSW32,RVQ16x8,RFlat")`.

    spec      [idmap ","] stack [refine] ["," idmap]        idmap      IDMap | IDMap2
    stack     { transform "," } core                        refine     ",RFlat" | ",Refine(" spec ")"
    transform PCA[W][R]n | OPQm[_n] | RR[n] | HR[seed] | L2norm | Padn
    core      code | lists | LoRANNn | graph | "(" spec ")"
    lists     IVFn[k|M][_HNSWm | (spec)] "," (code | LoRANN[rank][xB])
    code      Flat | sq | LVQb[xr] | (RVQ|RQ)MxB | (RVQ|RQ)Mx4fs | PQm[xb]
    sq        SQ8 | SQ6 | SQ4 | SQfp16 | SQbf16 | SQ8_direct | SQ8_direct_signed
    graph     (HNSW | SymQG | QuIVer)R[("," | "_") code]

It is read as FAISS reads it: ids outermost, then the refinement, then transforms from left to right, so that
a refinement keeps vectors as they came.
"""

import difflib
import re
from collections.abc import Callable

from .arrays import as_int
from .base import Index
from .coded import IndexLVQ, IndexPQ, IndexPQFastScan, IndexRVQ, IndexScalarQuantizer
from .codes import QT, SQ_NAMES
from .errors import DimensionError, IndexOperationError
from .flat import IndexFlat
from .graphs import IndexHNSW, IndexHNSWFlat, IndexHNSWSQ, IndexQuIVer, IndexSymQG
from .idmap import IndexIDMap, IndexIDMap2
from .ivf import (
    IndexIVF,
    IndexIVFFlat,
    IndexIVFLVQ,
    IndexIVFPQ,
    IndexIVFPQFastScan,
    IndexIVFRVQ,
    IndexIVFScalarQuantizer,
    IndexLoRANN,
)
from .kind import METRIC_L2
from .pretransform import IndexPreTransform
from .refine import IndexRefine, IndexRefineFlat
from .transforms import (
    HadamardRotation,
    NormalizationTransform,
    OPQMatrix,
    PCAMatrix,
    RandomRotationMatrix,
    RemapDimensionsTransform,
    VectorTransform,
)

# What a mistyped part may have been meant as.
FORMS = (
    *("Flat", "SQ8", "SQ6", "SQ4", "SQfp16", "SQbf16", "LVQ8", "LVQ4", "LVQ4x4", "LVQ4x8", "LVQ8x8"),
    *("RVQ8x8", "RQ8x8", "RVQ16x4fs", "PQ16", "PQ16x4", "PQ16x4fs", "IVF1024,Flat", "IVF1024_HNSW32,Flat"),
    *("LoRANN1024", "IVF1024,LoRANN32x8", "HNSW32", "HNSW32,SQ8", "SymQG32", "QuIVer32", "IDMap,Flat"),
    *("IDMap2,Flat", "RFlat", "Refine(SQfp16)", "PCA64", "PCAR64", "PCAW64", "OPQ16", "OPQ16_64", "RR64"),
    *("HR", "L2norm", "Pad64"),
)
# Strings of FAISS that mean something that is not here, and what is.
ELSEWHERE = {
    "NSG": "HNSW32",
    "IMI": "IVF65536",
    "LSH": "QuIVer32",
    "LSQ": "RVQ8x8",
    "PLSQ": "RVQ8x8",
    "PRQ": "RVQ8x8",
    "RaBitQ": "QuIVer32",
    "EDEN": "LVQ4",
    "SVS": "HNSW32,LVQ8",
    "ITQ": "OPQ16",
    "SH": "QuIVer32",
    "Residual": "RVQ8x8",
    "ZnLattice": "LVQ4",
}
DEPTH = 8


class _Unread(Exception):
    """A part of a string that means nothing."""


def index_factory(d: int, description: str, metric: int = METRIC_L2, own_invlists: bool = True) -> Index:
    """Make an index from a string.

    Parameters
    ----------
    d : int, >= 1
        Dimensions of the vectors.
    description : str
        See above; case matters, and blanks are errors.
    metric : int
        `METRIC_L2` or `METRIC_INNER_PRODUCT`.
    own_invlists : bool
        Accepted: inverted lists are always the index's own.

    Returns
    -------
    Index
        An empty one.

    Raises
    ------
    RuntimeError
        For a string that means nothing here, with the nearest that does.
    """
    d = as_int(d, "d", 1)
    if not isinstance(description, str):
        raise TypeError(f"description must be a string, not {type(description).__name__}")
    try:
        return _spec(d, description, metric, 0)
    except (_Unread, DimensionError) as part:
        raise IndexOperationError(f"could not parse index string {description!r}: {part}") from None


def _spec(d: int, text: str, metric: int, depth: int) -> Index:
    if depth > DEPTH:
        raise _Unread("brackets lie too deep")
    for prefix, kind in (("IDMap2,", IndexIDMap2), ("IDMap,", IndexIDMap)):
        suffix = "," + prefix[:-1]
        if text.startswith(prefix):
            return kind(_refined(d, text.removeprefix(prefix), metric, depth))
        if text.endswith(suffix):
            return kind(_refined(d, text.removesuffix(suffix), metric, depth))
    return _refined(d, text, metric, depth)


def _refined(d: int, text: str, metric: int, depth: int) -> Index:
    if text.endswith(",RFlat"):
        return IndexRefineFlat(_stack(d, text.removesuffix(",RFlat"), metric, depth))
    found = re.fullmatch(r"(.+?),Refine\((.+)\)", text)
    if found and _balanced(found[2]):
        base = _stack(d, found[1], metric, depth)
        return IndexRefine(base, _spec(d, found[2], metric, depth + 1))
    return _stack(d, text, metric, depth)


def _stack(d: int, text: str, metric: int, depth: int) -> Index:
    first, comma, rest = text.partition(",")
    transform = _transform(d, first)
    if transform is None:
        return _core(d, text, metric, depth)
    if not rest:
        raise _Unread(
            "nothing after the comma" if comma else f"{first!r} stands before an index, and there is none"
        )
    inner = _stack(transform.d_out, rest, metric, depth)
    if isinstance(inner, IndexPreTransform):
        inner.prepend_transform(transform)
        return inner
    return IndexPreTransform(transform, inner)


def _transform(d: int, text: str) -> VectorTransform | None:
    if found := re.fullmatch(r"PCA(W?)(R?)(\d+)", text):
        return PCAMatrix(d, _number(found[3]), -0.5 if found[1] else 0.0, bool(found[2]))
    if found := re.fullmatch(r"OPQ(\d+)(?:_(\d+))?", text):
        return OPQMatrix(d, _number(found[1]), _number(found[2]) if found[2] else -1)
    if found := re.fullmatch(r"RR(\d*)", text):
        return RandomRotationMatrix(d, _number(found[1]) if found[1] else d)
    if found := re.fullmatch(r"HR(\d*)", text):
        return HadamardRotation(d, _number(found[1], 0)) if found[1] else HadamardRotation(d)
    if found := re.fullmatch(r"Pad(\d+)", text):
        return RemapDimensionsTransform(d, max(d, _number(found[1])), False)
    return NormalizationTransform(d) if text in ("L2norm", "L2Norm") else None


def _core(d: int, text: str, metric: int, depth: int) -> Index:
    if text.startswith("(") and text.endswith(")") and _balanced(text[1:-1]):
        return _spec(d, text[1:-1], metric, depth + 1)
    if text.startswith("IVF"):
        return _lists(d, text, metric, depth)
    if found := re.fullmatch(r"LoRANN(\d+[kM]?)", text):
        return IndexLoRANN(None, d, _number(found[1]), metric=metric)
    if found := re.fullmatch(r"(HNSW|SymQG|QuIVer)(\d*)(?:[,_](.*))?", text):
        return _graph(d, found[1], _number(found[2] or "32"), found[3], metric)
    return _code(text)(d, metric)


def _graph(d: int, kind: str, links: int, code: str | None, metric: int) -> Index:
    if kind != "HNSW":
        made = {"SymQG": IndexSymQG, "QuIVer": IndexQuIVer}[kind]
        return made(d, links, metric, code or "Flat")
    if code in (None, "Flat"):
        return IndexHNSWFlat(d, links, metric)
    if code in SQ_NAMES.values():
        return IndexHNSWSQ(d, _qtype(code), links, metric)
    if code is not None and re.fullmatch(r"LVQ[48](x[048])?", code):
        return IndexHNSW(d, links, metric, code.removesuffix("x0"))
    raise _Unread(f"a graph lies over Flat, SQ.. or LVQ.., not over {code!r}")


def _lists(d: int, text: str, metric: int, depth: int) -> Index:
    found = re.fullmatch(r"IVF(\d+[kM]?)(_HNSW(\d*)|\((.+?)\))?(,(.*))?", text)
    if not found or (found[4] and not _balanced(found[4])):
        raise _Unread(_advice(text))
    if not found[6]:
        raise _Unread(
            "nothing after the comma" if found[5] else "IVF wants a comma and a code, such as IVF16,Flat"
        )
    nlist = _number(found[1])
    quantizer: Index | None = None
    if found[2] and found[2].startswith("_HNSW"):
        quantizer = IndexHNSWFlat(d, _number(found[3] or "32"), metric)
    elif found[4]:
        quantizer = _spec(d, found[4], metric, depth + 1)
    return _ivf_code(found[6])(quantizer, d, nlist, metric)


Lists = Callable[[Index | None, int, int, int], Index]


def _ivf_code(text: str) -> Lists:
    if found := re.fullmatch(r"LoRANN(\d*)(?:x(\d+))?", text):
        rank, bits = _number(found[1] or "32"), _number(found[2] or "8")
        return lambda quantizer, d, nlist, metric: IndexLoRANN(quantizer, d, nlist, rank, bits, metric)
    make = _ivf_made(text)
    return lambda quantizer, d, nlist, metric: make(
        IndexFlat(d, metric) if quantizer is None else quantizer, d, nlist, metric
    )


def _ivf_made(text: str) -> Callable[[Index, int, int, int], IndexIVF]:
    if text == "Flat":
        return lambda q, d, n, m: IndexIVFFlat(q, d, n, m)
    if text in SQ_NAMES.values():
        return lambda q, d, n, m: IndexIVFScalarQuantizer(q, d, n, _qtype(text), m)
    if lvq := _lvq(text):
        return lambda q, d, n, m: IndexIVFLVQ(q, d, n, *lvq, m)
    if stages := _stages(text):
        return lambda q, d, n, m: IndexIVFRVQ(q, d, n, *stages, m)
    if groups := _groups(text):
        size, bits, block = groups
        if block:
            return lambda q, d, n, m: IndexIVFPQFastScan(q, d, n, size, bits, m, block)
        return lambda q, d, n, m: IndexIVFPQ(q, d, n, size, bits, m)
    raise _Unread(_advice(text))


def _code(text: str) -> Callable[[int, int], Index]:
    if text == "Flat":
        return IndexFlat
    if text in SQ_NAMES.values():
        return lambda d, metric: IndexScalarQuantizer(d, _qtype(text), metric)
    if lvq := _lvq(text):
        return lambda d, metric: IndexLVQ(d, *lvq, metric)
    if stages := _stages(text):
        return lambda d, metric: IndexRVQ(d, *stages, metric)
    if groups := _groups(text):
        size, bits, block = groups
        if block:
            return lambda d, metric: IndexPQFastScan(d, size, bits, metric, block)
        return lambda d, metric: IndexPQ(d, size, bits, metric)
    raise _Unread(_advice(text))


def _qtype(text: str) -> int:
    return next(QT[name] for name, string in SQ_NAMES.items() if string == text)


def _lvq(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"LVQ([48])(?:x([048]))?", text)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def _stages(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(?:RVQ|RQ)(\d+x\d+(?:_\d+x\d+)*)(fs)?(?:_N(\w+))?", text)
    if found is None:
        return None
    if found[3] not in (None, "float", "qint8", "none"):
        raise _Unread(f"norms are kept as _Nfloat, _Nqint8 or _Nnone (one byte here), not as _N{found[3]}")
    pairs = [tuple(map(_number, pair.split("x"))) for pair in found[1].split("_")]
    if len({bits for _, bits in pairs}) > 1:
        raise _Unread("all stages have codes of as many bits, 4 or 8")
    return sum(number for number, _ in pairs), _bits(pairs[0][1])


def _groups(text: str) -> tuple[int, int, int] | None:
    """Return groups, bits and, for fast scan, the size of blocks; else 0."""
    found = re.fullmatch(r"PQ(\d+)(?:x(\d+)(?:(fsr?)(?:_(\d+))?)?)?(np)?", text)
    if found is None:
        return None
    bits = _bits(_number(found[2] or "8"))
    if found[3] and bits != 4:
        raise _Unread("fast scan takes codes of 4 bits")
    return _number(found[1]), bits, _number(found[4] or "32") if found[3] else 0


def _bits(bits: int) -> int:
    if bits not in (4, 8):
        raise _Unread(f"codes have 4 or 8 bits, not {bits}")
    return bits


def _number(text: str, least: int = 1) -> int:
    """Return a number, "k" and "M" being 1,024 and its square."""
    factor = {"k": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
    digits = text.rstrip("kM")
    if len(digits) > 9 or not least <= int(digits) * factor < 1 << 31:
        raise _Unread(f"{text} is no number that can be meant here")
    return int(digits) * factor


def _balanced(text: str) -> bool:
    level = 0
    for letter in text:
        level += {"(": 1, ")": -1}.get(letter, 0)
        if level < 0:
            return False
    return level == 0


def _advice(text: str) -> str:
    if not text:
        return "there is nothing where a code should be"
    for name, instead in ELSEWHERE.items():
        if text.startswith(name):
            return f"{text!r} is not there; see {instead!r}"
    near = difflib.get_close_matches(text, FORMS, 1, 0.3)
    return f"{text!r} is not there" + (f"; the nearest is {near[0]!r}" if near else "")
