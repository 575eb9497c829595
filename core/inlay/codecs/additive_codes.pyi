import numpy as np
from numpy.typing import NDArray

from .codec import Codes

class StageCodes(Codes):
    bits: int
    stages: int
    with_norms: bool
    @property
    def code_size(self) -> int: ...
    def get(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]: ...

class StageBlocks(StageCodes):
    def __init__(self, stages: int, bits: int, with_norms: bool) -> None: ...

class StageRows(StageCodes):
    stride: int
    def __init__(self, stages: int, bits: int, with_norms: bool) -> None: ...
