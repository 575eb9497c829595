import numpy as np
from numpy.typing import NDArray

from ..rotation import HadamardRotation

F32 = NDArray[np.float32]

LEVELS: tuple[str, ...]
DISTANCES: tuple[str, ...]

def layout(dim: int, squared_l2: bool) -> tuple[int, int, int]: ...

class Coder:
    dim: int
    squared_l2: bool
    levels: str
    distance: str
    rotation: HadamardRotation | None
    words: int
    size: int
    stride: int
    def __init__(
        self,
        dim: int,
        squared_l2: bool,
        levels: str,
        distance: str,
        mean: F32,
        rotation: HadamardRotation | None,
    ) -> None: ...
    @property
    def mean(self) -> F32: ...
    def scratch(self, workers: int) -> NDArray[np.uint8]: ...
