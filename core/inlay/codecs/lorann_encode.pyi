import numpy as np
from numpy.typing import NDArray

F16 = NDArray[np.float16]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

def encode(vectors: F64, metric: F64 | None, bits: int) -> tuple[F16, F16, U8]: ...
def decode(firsts: F16, steps: F16, codes: U8, bits: int) -> F64: ...
