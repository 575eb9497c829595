import numpy as np
from numpy.typing import NDArray

from .codec import Codec, Scorer

class PlainScorer(Scorer):
    def __init__(self, squared_l2: bool, queries: NDArray[np.float32], rows: NDArray[np.float32]) -> None: ...

class PlainCodec(Codec): ...
