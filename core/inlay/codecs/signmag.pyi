from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scorer import Scorer
from .codec import Codec, Codes
from .signmag_coder import DISTANCES, LEVELS, Coder
from .signmag_trial import TRANSFORMS

__all__ = ["DISTANCES", "LEVELS", "TRANSFORMS", "SignMagCodec"]

F32 = NDArray[np.float32]

TRAINING_ROWS: int

class SignMagCodec(Codec):
    transform: str | None
    levels: str
    distance: str
    seed: int
    coder: Coder | None
    report: dict[str, Any]
    def __init__(
        self,
        dim: int,
        squared_l2: bool,
        transform: str | None = None,
        levels: str = "1:3",
        distance: str = "corrected",
        seed: int = 0,
    ) -> None: ...
    def fine(self, queries: F32, codes: Codes, workers: int) -> Scorer: ...
