"""Codes by name, as indexes of lists and graphs take them: "Flat", "LVQ4x8", "PQ16", "RVQ8x8"."""

from ..codecs.codec import Codec
from ..codecs.lvq import LVQCodec
from ..codecs.plain import PlainCodec
from ..codecs.pq import PQCodec
from ..codecs.rvq import RVQCodec
from .additive import DIRECTIONS, PQIndex, RVQIndex
from .exhaustive import LVQIndex


def is_code(code: object) -> bool:
    """Tell whether a code is known by this name."""
    if not isinstance(code, str):
        return False
    return code == "Flat" or any(family.parse(code) is not None for family in (LVQIndex, PQIndex, RVQIndex))


def codec_of(
    code: str, dim: int, squared_l2: bool, seed: int, *, residual: bool = False, layout: str = "blocks"
) -> Codec:
    """Return the codec that a code's name stands for.

    Parameters
    ----------
    code : str
    dim : int
    squared_l2 : bool
    seed : int
    residual : bool
        Rows are what centres leave of them; not for "Flat".
    layout : {"blocks", "rows"}
        How codes lie: for scans, or for walks from row to row.
    """
    if not is_code(code):
        raise ValueError(f'unknown code {code!r}; try "LVQ8", "LVQ4x8", "RVQ16x8" or "Flat"')
    if code == "Flat":
        return PlainCodec(dim, squared_l2)
    lvq, pq, rvq = LVQIndex.parse(code), PQIndex.parse(code), RVQIndex.parse(code)
    if lvq is not None:
        return LVQCodec(
            dim,
            squared_l2,
            **lvq,
            n_means=1,
            rotation_seed=seed,
            may_drop_rotation=True,
            layout=layout,
            grows=False,
            residual=residual,
        )
    if pq is not None:
        return PQCodec(dim, squared_l2, **pq, residual=residual, layout=layout)
    assert rvq is not None
    return RVQCodec(dim, squared_l2, **rvq, directions=min(dim, DIRECTIONS), residual=residual, layout=layout)
