"""Exact indexes: float32 rows, all of which every search reads."""

from typing import ClassVar

import inlay

from .arrays import F32
from .kind import METRIC_INNER_PRODUCT, METRIC_L2
from .stored import StoredIndex


class IndexFlat(StoredIndex):
    """Exact search over float32 rows.

    Parameters
    ----------
    d : int
    metric : int
    """

    def __init__(self, d: int, metric: int = METRIC_L2) -> None:
        super().__init__(d, metric)

    def _new_core(self, metric: str) -> inlay.Index:
        return inlay.FlatIndex(self.d, metric)

    @property
    def factory_string(self) -> str:
        """Always "Flat"."""
        return "Flat"

    def _learn(self, x: F32) -> None:
        return  # there is nothing to learn, at any time

    def get_xb(self) -> F32:
        """Return all rows, one after the other, float32 (ntotal * d,)."""
        return self.reconstruct_n().reshape(-1)


class IndexFlatL2(IndexFlat):
    """Exact search by squared L2 distance.

    Parameters
    ----------
    d : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d",)

    def __init__(self, d: int) -> None:
        super().__init__(d, METRIC_L2)


class IndexFlatIP(IndexFlat):
    """Exact search by inner product.

    Parameters
    ----------
    d : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d",)

    def __init__(self, d: int) -> None:
        super().__init__(d, METRIC_INNER_PRODUCT)
