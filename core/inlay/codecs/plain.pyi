import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer
from .codec import Codec

F32 = NDArray[np.float32]
Rows = F32 | NDArray[np.float16]

HALF_MAX: float

class PlainReader(Scorer):
    def __init__(self, rows: Rows) -> None: ...

class PlainScorer(PlainReader):
    def __init__(self, squared_l2: bool, queries: F32, rows: Rows) -> None: ...

class PlainPairs(PlainReader):
    def __init__(self, rows: Rows, workers: int) -> None: ...

class PlainCodec(Codec):
    dtype: str
    def __init__(self, dim: int, squared_l2: bool, dtype: str = "float32") -> None: ...
