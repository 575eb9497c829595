import numpy as np
from numpy.typing import NDArray

from ..clusters.lists import Lists

F32 = NDArray[np.float32]

class Placed:
    lists: Lists
    def __init__(
        self,
        lists: Lists,
        squared_l2: bool,
        queries: F32 | None = None,
        centres: F32 | None = None,
        by_slot: bool = False,
    ) -> None: ...
