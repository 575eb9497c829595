import numpy as np
from numpy.typing import NDArray

from ..ids import Bits
from ..scorer import Scorer
from .candidates import Placed

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

def search(
    scan: Scorer,
    last: Scorer | None,
    n_rows: int,
    k: int,
    candidates: int,
    allowed: Bits | None,
    ids: I64 | None,
    base: int,
    threads: int,
) -> tuple[F32, I64]: ...
def range_search(
    last: Scorer,
    n_rows: int,
    radii: F32,
    allowed: Bits | None,
    ids: I64 | None,
    base: int,
    threads: int,
    placed: Placed | None = None,
) -> tuple[I64, F32, I64]: ...
