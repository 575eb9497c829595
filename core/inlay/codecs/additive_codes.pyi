import numpy as np
from numpy.typing import NDArray

from .codec import Codes

class StageCodes(Codes):
    bits: int
    stages: int
    def __init__(self, stages: int, bits: int, with_norms: bool) -> None: ...
    @property
    def code_size(self) -> int: ...
    def get(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]: ...
