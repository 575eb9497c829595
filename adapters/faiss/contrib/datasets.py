"""Data to try an index on."""

from collections.abc import Iterator

import numpy as np

from ..arrays import F32, I64, as_int
from ..errors import DimensionError
from ..functions import knn, rand_smooth_vectors
from ..kind import METRIC_INNER_PRODUCT, METRIC_L2


class Dataset:
    """Rows, rows to train with, queries, and the answers.

    Attributes
    ----------
    d, nt, nb, nq : int
        Dimensions; how many rows to train with, rows and queries there are.
    metric : str
        "L2" or "IP".
    """

    def __init__(self) -> None:
        self.d, self.nt, self.nb, self.nq = -1, 0, -1, -1
        self.metric = "L2"

    def get_queries(self) -> F32:
        """Return the queries, float32 (nq, d)."""
        raise TypeError("a data set says what its queries are")

    def get_train(self, maxtrain: int | None = None) -> F32:
        """Return rows to train with, float32 (nt, d), or so many of them."""
        raise TypeError("a data set says what it is trained with")

    def get_database(self) -> F32:
        """Return the rows, float32 (nb, d)."""
        raise TypeError("a data set says what its rows are")

    def database_iterator(self, bs: int = 128, split: tuple[int, int] = (1, 0)) -> Iterator[F32]:
        """Yield the rows, or one part of several, in blocks of at most `bs`."""
        n_parts, part = split
        rows = self.get_database()
        first, last = len(rows) * part // n_parts, len(rows) * (part + 1) // n_parts
        for at in range(first, last, bs):
            yield rows[at : min(at + bs, last)]

    def get_groundtruth(self, k: int | None = None) -> I64:
        """Return the labels of the k (100 unless told) nearest rows of each query, int64 (nq, k)."""
        metric = METRIC_L2 if self.metric == "L2" else METRIC_INNER_PRODUCT
        return knn(self.get_queries(), self.get_database(), 100 if k is None else k, metric)[1]

    def check_sizes(self) -> None:
        """Raise a `DimensionError` where arrays are not as large as the data set says."""
        sizes = {"nq": self.get_queries(), "nb": self.get_database()}
        if self.nt:
            sizes["nt"] = self.get_train()
        for name, array in sizes.items():
            if array.shape != (getattr(self, name), self.d):
                raise DimensionError(f"{name} is {getattr(self, name)}, the array has shape {array.shape}")

    def __str__(self) -> str:
        sizes = f"train {self.nt}, base {self.nb}, queries {self.nq}"
        return f"{type(self).__name__}: dimension {self.d}, metric {self.metric}, {sizes}"


class SyntheticDataset(Dataset):
    """Vectors that lie near ten dimensions of d, bent; the same for the same seed.

    Parameters
    ----------
    d, nt, nb, nq : int
        Dimensions, and how many rows to train with, rows and queries.
    metric : {"L2", "IP"}
    seed : int
    """

    def __init__(self, d: int, nt: int, nb: int, nq: int, metric: str = "L2", seed: int = 1338) -> None:
        super().__init__()
        if metric not in ("L2", "IP"):
            raise ValueError(f'metric must be "L2" or "IP", not {metric!r}')
        self.d, self.nt, self.nb, self.nq = (as_int(n, "size", 0) for n in (d, nt, nb, nq))
        self.metric = metric
        rows = rand_smooth_vectors(self.nt + self.nb + self.nq, self.d, seed)
        parts: list[F32] = np.split(rows, [self.nt, self.nt + self.nb])
        self.xt, self.xb, self.xq = parts

    def get_queries(self) -> F32:
        """Return the queries, float32 (nq, d)."""
        return self.xq

    def get_train(self, maxtrain: int | None = None) -> F32:
        """Return rows to train with, float32 (nt, d), or so many of them."""
        return self.xt[: self.nt if maxtrain is None else maxtrain]

    def get_database(self) -> F32:
        """Return the rows, float32 (nb, d)."""
        return self.xb
