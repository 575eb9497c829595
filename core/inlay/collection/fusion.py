"""Several rankings of one collection made into one: of its vectors and of its texts, for a hybrid search.

    "rank"     Σ over the rankings of   weight / (60 + position)         positions count from 1
    "score"    Σ over the rankings of   weight · (value − worst) / (best − worst)

By rank, what a ranking's values are does not matter, only their order. By score, a document far ahead of the
others stays far ahead. A document that a ranking does not have gets nothing from it; of documents that come
out equal the older one is first.

Source of the first: Cormack, Clarke and Büttcher, SIGIR 2009, from where the 60 is.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ..arrays import as_count
from .ranking import F64, Ranking

_K0 = 60.0


def _by_rank(values: F64) -> F64:
    positions: F64 = np.arange(1.0, len(values) + 1)
    shares: F64 = 1.0 / (_K0 + positions)
    return shares


def _by_score(values: F64) -> F64:
    best, worst = values.max(initial=-np.inf), values.min(initial=np.inf)
    if best <= worst:  # all equal: as good as the best
        return np.ones(len(values))
    scaled: F64 = (values - worst) / (best - worst)
    return scaled


METHODS: dict[str, Callable[[F64], F64]] = {"rank": _by_rank, "score": _by_score}


def check(method: str) -> None:
    """Refuse a method that there is not."""
    if method not in METHODS:
        raise ValueError(f"fusion must be one of {', '.join(METHODS)}, not {method!r}")


def depth(k: int, fetch_k: int | None) -> int:
    """Return how many of each ranking are fused, at least k: by default 4 k, and at least 50."""
    return max(4 * k, 50) if fetch_k is None else max(k, as_count(fetch_k, "fetch_k", -(2**62)))


def fuse(rankings: Sequence[Ranking], weights: Sequence[float], k: int, method: str) -> Ranking:
    """Return the k best of several rankings together.

    Parameters
    ----------
    rankings : sequence of (values, rows)
        Best first, values the larger the better.
    weights : sequence of float
        One for each ranking, not negative.
    k : int
    method : {"rank", "score"}

    Returns
    -------
    (values, rows)
        Fused values, best first.
    """
    shares = [weight * METHODS[method](values) for (values, _), weight in zip(rankings, weights, strict=True)]
    rows, places = np.unique(np.concatenate([rows for _, rows in rankings]), return_inverse=True)
    fused = np.bincount(places, np.concatenate(shares), len(rows)).astype(np.float64)
    order = np.lexsort((rows, -fused))[:k]
    return fused[order], rows[order]
