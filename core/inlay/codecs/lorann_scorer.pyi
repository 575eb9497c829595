import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer
from .lorann import Coarse, LorannCodes, Models

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

class LorannScorer(Scorer):
    n_lists: int
    def __init__(
        self,
        squared_l2: bool,
        queries: F32,
        coarse: Coarse,
        models: Models,
        codes: LorannCodes,
        workers: int,
    ) -> None: ...
    def nearest_lists(self, n: int, threads: int) -> I64: ...
