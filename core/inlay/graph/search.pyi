import numpy as np
from numpy.typing import NDArray

from ..ids import Bits
from ..scorer import LinkScorer, Scorer
from .graph import Graph

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

def search(
    graph: Graph,
    near: Scorer,
    last: Scorer | None,
    k: int,
    ef: int,
    candidates: int,
    allowed: Bits | None,
    ids: I64 | None,
    base: int,
    n_rows: int,
    threads: int,
    ahead: LinkScorer | None = None,
) -> tuple[F32, I64]: ...
def range_search(
    graph: Graph,
    near: Scorer,
    last: Scorer,
    radii: F32,
    ef: int,
    allowed: Bits | None,
    ids: I64 | None,
    base: int,
    n_rows: int,
    threads: int,
    ahead: LinkScorer | None = None,
) -> tuple[I64, F32, I64]: ...
