import numpy as np
from numpy.typing import NDArray

from .books import Books

F32 = NDArray[np.float32]

class Beams:
    y: F32
    beam: int
    size: int
    scores: F32
    codes: NDArray[np.uint8]
    def __init__(self, y: F32, stages: int, beam: int) -> None: ...
    def advance(self, books: Books, stage: int, workers: int) -> None: ...
