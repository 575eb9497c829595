import numpy as np
from numpy.typing import NDArray

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
    def put(self, places: I64, vectors: F64, metric: F64 | None = None) -> None: ...

class Coarse:
    size: int
    dim: int
    n_lists: int
    scale: float
    directions: LorannCodes
    centres: LorannCodes
    def __init__(self, directions: F32, centres: F32, squared_l2: bool) -> None: ...
    @property
    def nbytes(self) -> int: ...

def held(directions: F32) -> F32: ...
def packed(codes: U8, bits: int) -> U8: ...
def put_rows(codes: U8, places: I64, blocks: U8, bits: int) -> None: ...
def unpacked(blocks: U8, n: int, length: int, bits: int) -> U8: ...
