import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer
from .lvq_codes import Frame, LVQRows

F32 = NDArray[np.float32]

class LVQRowReader(Scorer): ...

class LVQRowScorer(LVQRowReader):
    def __init__(
        self, frame: Frame, squared_l2: bool, queries: F32, codes: LVQRows, workers: int
    ) -> None: ...
    def decode_into(self, slots: NDArray[np.int64], out: F32) -> None: ...

class LVQPairs(LVQRowReader):
    def __init__(self, codes: LVQRows, workers: int) -> None: ...
