import numpy as np
from numpy.typing import NDArray

from ..scorer import LinkScorer, Scorer
from .rabitq import LinkCoder

BOOL = NDArray[np.bool_]
F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]
U8 = NDArray[np.uint8]

def near(scorer: Scorer, query: int, slots: U32, worker: int = 0) -> F32: ...
def rows_at(scorer: Scorer, query: int, slots: U32, worker: int = 0) -> F32: ...
def apart(pairs: Scorer, slot: int, slots: U32, worker: int = 0) -> F32: ...
def link_code(
    coder: LinkCoder, to: F32, centre: F32, squared_l2: bool, more: float = 0
) -> tuple[U8, np.float32, np.float32]: ...
def link_tables(coder: LinkCoder, y: F32) -> tuple[U8, np.float32, np.float32]: ...
def link_scores(
    ahead: LinkScorer, query: int, vertex: int, score: float, worst: float
) -> tuple[F32, BOOL]: ...
