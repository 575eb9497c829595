from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress
from ..scorer import Scorer
from .additive_codes import StageCodes
from .basis import Basis
from .books import Books
from .codec import Codec, Codes

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

ROWS_A_WORD: int
FEWEST_TRAINING_ROWS: int
MEASURED_ROWS: int
MOST_STAGES: int
LARGEST: float

class AdditiveCodec(Codec):
    stages: int
    bits: int
    shared: bool
    residual: bool
    layout: str
    beam: int
    basis: Basis
    books: Books
    levels: tuple[float, float]
    distortion: F64 | None
    bounds: F64 | None
    def __init__(
        self,
        dim: int,
        squared_l2: bool,
        stages: int,
        bits: int,
        shared: bool,
        residual: bool,
        beam: int,
        layout: str = "blocks",
    ) -> None: ...
    @property
    def entries(self) -> int: ...
    @property
    def with_norms(self) -> bool: ...
    @property
    def code_size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def train(
        self, rows: F32, *, seed: int = 0, progress: Progress = None, origins: F32 | None = None
    ) -> None: ...
    def _basis(self, sample: F32) -> Basis: ...
    def _learn(self, y: F32, seed: int, progress: Progress) -> Books: ...
    def new_codes(self) -> StageCodes: ...
    def encode(self, rows: F32, codes: Codes | None = None, origins: F32 | None = None) -> Codes: ...
    def errors(self, rows: F32) -> F32: ...
    def decode(self, codes: Codes, slots: NDArray[np.int64] | None = None) -> F32: ...
    def scorer(self, queries: F32, codes: Codes, workers: int, stages: int | None = None) -> Scorer: ...
    def pairs(self, codes: Codes, workers: int, most: bool = False) -> Scorer: ...
    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]: ...

def check_size(rows: F32) -> None: ...
def distortion(basis: Basis, books: Books, rows: F32, codes: NDArray[np.uint8]) -> F64: ...
def bound(variances: F64, bits: float) -> float: ...
