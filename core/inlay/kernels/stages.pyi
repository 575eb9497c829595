import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I16 = NDArray[np.int16]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

def pack_stages(codes: U8, norms: U8 | None = None, bits: int = 8) -> U8: ...
def unpack_stages(blocks: U8, n: int, stages: int, bits: int = 8) -> U8: ...
def scan_stages(
    blocks: U8,
    stored: int,
    tables: U8,
    step: float = 1,
    low: float = 0,
    norms: tuple[float, float] | None = None,
    level: str | None = None,
) -> F32: ...
def products(rows: F32, strips: F32, level: str | None = None) -> F32: ...
def short_products(
    rows: I16, row_factors: F32, strips: I16, strip_factors: F32, dim: int, level: str | None = None
) -> F32: ...
def add_words(words: F32, codes: U8, level: str | None = None) -> F32: ...
def extend(
    norms: F32, products: F32, scores: F32, crosses: F32, room: int, level: str | None = None
) -> tuple[F32, I64, I64]: ...
