import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer

class InnerPairs(Scorer):
    def __init__(self, pairs: Scorer, squares: NDArray[np.float32], workers: int) -> None: ...
