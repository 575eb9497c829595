import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

TRAINING_LINKS: int
FEWEST_LINKS: int
ITERATIONS: int

class LinkCoder:
    dim: int
    width: int
    groups: int
    planes: int
    entries: int
    def __init__(self, dim: int, width: int, groups: int, planes: int, entries: int) -> None: ...

class RaBitQ(LinkCoder):
    bits: int
    def __init__(self, dim: int, bits: int = 1, width: int = 4) -> None: ...

class PQ4(LinkCoder):
    is_learned: bool
    def __init__(self, dim: int, width: int = 4, book: F32 | None = None) -> None: ...
    @property
    def centroids(self) -> F32: ...
    @staticmethod
    def learned(steps: F32, width: int, *, seed: int = 0) -> PQ4: ...

def signs(dim: int, width: int, groups: int) -> F32: ...
