import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer
from .codec import Codes

F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

class Models(Codes):
    size: int
    rank: int
    bits: int
    def __init__(self, size: int, rank: int, bits: int) -> None: ...
    def put(self, which: int, left: F64) -> F64: ...
    def get(self, which: int) -> F64: ...

class LorannCodes(Codes):
    rank: int
    bits: int
    def __init__(self, rank: int, bits: int, with_norms: bool) -> None: ...
    def code(self, places: I64, points: F64, left: F64, moments: F64 | None) -> None: ...

class LorannScorer(Scorer):
    n_lists: int
    def __init__(
        self,
        squared_l2: bool,
        queries: F32,
        directions: F32,
        models: Models,
        codes: LorannCodes,
        workers: int,
    ) -> None: ...
    def nearest_lists(self, n: int, threads: int) -> I64: ...

def packed(codes: U8, bits: int) -> U8: ...
def put_rows(codes: U8, places: I64, blocks: U8, bits: int) -> None: ...
def unpacked(blocks: U8, n: int, length: int, bits: int) -> U8: ...
