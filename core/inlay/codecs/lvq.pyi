from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rotation import HadamardRotation
from ..tables import Table
from .codec import Codec, Codes, Scorer

F32 = NDArray[np.float32]

FORMS: dict[str, tuple[int, int]]
TRAINING_ROWS: int
ROWS_A_MEAN: int
MEANS_ITERATIONS: int
PROBE_ROWS: int
CLUSTERED_ENERGY: float
CLUSTERED: int
ROTATION_GAIN: float
DRIFT_ROWS: int
DRIFT_GAIN: float

class LVQCodes(Codes):
    lines: int
    def __init__(self, tables: dict[str, Table], lines: int) -> None: ...

class LVQCodec(Codec):
    bits: int
    residual_bits: int
    n_means: int
    rotation: HadamardRotation | None
    may_drop_rotation: bool
    centre: F32 | None
    means: F32 | None
    drift: Drift | None
    lines: int
    residual_bytes: int
    def __init__(
        self,
        dim: int,
        squared_l2: bool,
        bits: int,
        residual_bits: int,
        n_means: int,
        rotation_seed: int | None,
        may_drop_rotation: bool = False,
    ) -> None: ...

def mean_of(rows: F32) -> F32: ...
def is_clustered(residuals: F32) -> bool: ...

class Drift:
    level: float
    count: int
    squares: float
    energy: float
    sums: NDArray[np.float64]
    def __init__(self, dim: int, level: float) -> None: ...
    def notices(self, rows: F32, energy: F32) -> bool: ...
    def take_mean(self) -> F32 | None: ...
    def state(self) -> tuple[dict[str, Any], NDArray[np.float64]]: ...
    @classmethod
    def restored(cls, fields: dict[str, Any], sums: NDArray[np.float64]) -> Drift: ...

class LVQScorer(Scorer):
    def __init__(self, codec: LVQCodec, queries: F32, codes: LVQCodes, workers: int) -> None: ...
    def decode_into(self, slots: NDArray[np.int64], out: F32) -> None: ...
