import numpy as np
from numpy.typing import NDArray

from ..rotation import HadamardRotation
from .codec import Codec
from .drift import DRIFT_ROWS, Drift
from .lvq_codes import Frame

__all__ = ["CLUSTERED", "DRIFT_ROWS", "FORMS", "TRAINING_ROWS", "Drift", "LVQCodec"]

F32 = NDArray[np.float32]

FORMS: dict[str, tuple[int, int]]
TRAINING_ROWS: int
ROWS_A_MEAN: int
MEANS_ITERATIONS: int
PROBE_ROWS: int
CLUSTERED_ENERGY: float
CLUSTERED: int
ROTATION_GAIN: float

class LVQCodec(Codec):
    bits: int
    residual_bits: int
    n_means: int
    rotation_seed: int | None
    may_drop_rotation: bool
    layout: str
    grows: bool
    residual: bool
    frame: Frame | None
    drift: Drift | None
    def __init__(
        self,
        dim: int,
        squared_l2: bool,
        bits: int,
        residual_bits: int,
        n_means: int,
        rotation_seed: int | None,
        may_drop_rotation: bool = False,
        layout: str = "blocks",
        grows: bool = True,
        residual: bool = False,
    ) -> None: ...
    @property
    def rotation(self) -> HadamardRotation | None: ...
    @property
    def most_means(self) -> int: ...
    @property
    def centre(self) -> F32: ...
    @property
    def means(self) -> F32: ...

def mean_of(rows: F32) -> F32: ...
def is_clustered(residuals: F32) -> bool: ...
