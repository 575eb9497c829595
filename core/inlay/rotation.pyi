import numpy as np
from numpy.typing import NDArray

ROUNDS_WHOLE: int
ROUNDS_FOLDED: int

class HadamardRotation:
    dim: int
    seed: int
    def __init__(self, dim: int, seed: int) -> None: ...
    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]: ...
    def invert(self, rows: NDArray[np.float32]) -> NDArray[np.float32]: ...
