import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer
from .signmag_coder import Coder

class SignMagScorer(Scorer):
    def __init__(self, coder: Coder, rows: NDArray[np.uint8], n_queries: int, bits: int) -> None: ...

class SignMagQueries(SignMagScorer):
    def __init__(
        self, coder: Coder, queries: NDArray[np.float32], rows: NDArray[np.uint8], bits: int, workers: int
    ) -> None: ...

class SignMagPairs(SignMagScorer):
    def __init__(self, coder: Coder, rows: NDArray[np.uint8], workers: int) -> None: ...
