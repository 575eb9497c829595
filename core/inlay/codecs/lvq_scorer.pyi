import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer
from .lvq_codes import Frame, LVQBlocks

F32 = NDArray[np.float32]

class LVQScorer(Scorer):
    def __init__(
        self, frame: Frame, squared_l2: bool, queries: F32, codes: LVQBlocks, workers: int
    ) -> None: ...
    def decode_into(self, slots: NDArray[np.int64], out: F32) -> None: ...
