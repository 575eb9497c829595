import numpy as np
from numpy.typing import NDArray

from ..rotation import HadamardRotation
from ..tables import Table
from .codec import Codes

F32 = NDArray[np.float32]

class LVQCodes(Codes):
    dim: int
    bits: int
    residual_bits: int
    lines: int
    stride: int
    residual_bytes: int
    def __init__(
        self, dim: int, bits: int, residual_bits: int, stride: int, tables: dict[str, Table]
    ) -> None: ...

class LVQRows(LVQCodes):
    def __init__(self, dim: int, bits: int, residual_bits: int) -> None: ...
    @property
    def code_size(self) -> int: ...

class LVQBlocks(LVQCodes):
    residual: bool
    def __init__(
        self,
        dim: int,
        bits: int,
        residual_bits: int,
        with_norms: bool,
        with_selectors: bool = True,
        residual: bool = False,
    ) -> None: ...
    @property
    def code_size(self) -> int: ...

class Frame:
    rotation: HadamardRotation | None
    def __init__(self, rotation: HadamardRotation | None, centre: F32, means: F32) -> None: ...
    @property
    def centre(self) -> F32: ...
    @property
    def means(self) -> F32: ...
