import numpy as np
from numpy.typing import NDArray

from ..clusters.lists import Lists
from ..ids import Bits
from ..scorer import Scorer
from .candidates import Placed

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

def search(
    scan: Scorer,
    last: Scorer | None,
    placed: Placed,
    probes: I64,
    k: int,
    candidates: int,
    allowed: Bits | None,
    ids: I64 | None,
    base: int,
    threads: int,
    screened: int = 0,
) -> tuple[F32, I64]: ...
def short_of(lists: Lists, probes: I64, allowed: Bits | None, wanted: int) -> NDArray[np.bool_] | None: ...
def search_among(
    last: Scorer, placed: Placed, k: int, allowed: Bits, ids: I64 | None, base: int, threads: int
) -> tuple[F32, I64]: ...
