from collections.abc import Callable

from ..scorer import Scorer
from .copies import Stored
from .graph import Graph

GROWTH: int
ROUNDS: int
FIRST: int

def link(
    graph: Graph,
    pairs: Scorer,
    first: int,
    ef: int,
    occlusion: float,
    seed: int,
    threads: int,
    step: Callable[[int], None],
    stored: Stored | None = None,
) -> None: ...
