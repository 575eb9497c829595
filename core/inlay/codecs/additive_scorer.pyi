import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer
from .additive_codes import StageCodes
from .basis import Basis
from .books import Books

F32 = NDArray[np.float32]

class StageScorer(Scorer):
    def __init__(
        self,
        books: Books,
        basis: Basis,
        squared_l2: bool,
        residual: bool,
        levels: tuple[float, float],
        used: int,
        queries: F32,
        codes: StageCodes,
        workers: int,
    ) -> None: ...

class StageBlockScorer(StageScorer): ...
class StageRowScorer(StageScorer): ...

class StagePairs(Scorer):
    def __init__(self, books: Books, codes: StageCodes, workers: int) -> None: ...

def decoded(books: Books, codes: StageCodes, slots: NDArray[np.int64]) -> F32: ...
