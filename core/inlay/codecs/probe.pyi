import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer

F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]

def near(scorer: Scorer, query: int, slots: U32, worker: int = 0) -> F32: ...
def rows_at(scorer: Scorer, query: int, slots: U32, worker: int = 0) -> F32: ...
def apart(pairs: Scorer, slot: int, slots: U32, worker: int = 0) -> F32: ...
