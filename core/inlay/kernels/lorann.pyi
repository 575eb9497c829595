import numpy as np
from numpy.typing import NDArray

F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
I8 = NDArray[np.int8]
U8 = NDArray[np.uint8]

def lorann(
    blocks: U8,
    values: I8,
    scales: F32,
    firsts: F32,
    steps: F16,
    row_firsts: F16,
    norms: F32 | None,
    bits: int,
    level: str | None = None,
) -> F32: ...
