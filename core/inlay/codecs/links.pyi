import numpy as np
from numpy.typing import NDArray

from ..scorer import LinkScorer, Scorer
from .codec import Codes
from .lvq_codes import Frame, LVQRows
from .rabitq import LinkCoder

U32 = NDArray[np.uint32]

def lanes_of(degree: int, code: str) -> int: ...

class LinkCodes(Codes):
    dim: int
    degree: int
    lanes: int
    code: int
    block: int
    stride: int
    def __init__(self, coder: LinkCoder, degree: int) -> None: ...
    def encode_links(
        self,
        coder: LinkCoder,
        rows: LVQRows,
        frame: Frame | None,
        squared_l2: bool,
        places: U32,
        vertices: U32 | None,
        threads: int,
    ) -> None: ...

class LinkQueries(LinkScorer):
    def __init__(self, coder: LinkCoder, codes: LinkCodes, queries: Scorer, workers: int) -> None: ...
