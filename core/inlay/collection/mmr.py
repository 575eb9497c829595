"""Maximal marginal relevance: near to the query, and far from what was chosen before.

    next = argmax over the rest of   λ · cos(query, d) − (1 − λ) · max over the chosen c of cos(d, c)

Source: Carbonell and Goldstein, SIGIR 1998. The order is that of LangChain's reference: the first is the one
nearest to the query whatever λ is, and of equal ones the earlier candidate wins. Each round compares the rest
with the newest choice only, so k of n candidates cost k products of an (n, dim) matrix with a vector.
"""

import numpy as np
import numpy.typing as npt

from .vectors import F32

F64 = npt.NDArray[np.float64]


def select(query: F32, candidates: F32, k: int, lambda_mult: float) -> list[int]:
    """Choose k of the candidates.

    Parameters
    ----------
    query : float32 array (dim,)
    candidates : float32 array (n, dim)
    k : int
    lambda_mult : float, 0 to 1
        1 is the plain order by cosine, 0 the most diverse choice.

    Returns
    -------
    list of int
        min(k, n) positions among the candidates, in the order in which they were chosen.
    """
    rows = candidates.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)

    def cosines(row: F64, norm: float) -> F64:
        with np.errstate(divide="ignore", invalid="ignore"):
            similar: F64 = (rows @ row) / (norms * norm)
        similar[~np.isfinite(similar)] = 0.0
        return similar

    wanted = query.astype(np.float64)
    relevance = cosines(wanted, float(np.linalg.norm(wanted)))
    redundancy = np.full(len(rows), -np.inf)
    chosen: list[int] = []
    for _ in range(min(k, len(rows))):
        score = lambda_mult * relevance - (1 - lambda_mult) * redundancy if chosen else relevance.copy()
        score[chosen] = -np.inf
        best = int(np.argmax(score))
        chosen.append(best)
        redundancy = np.maximum(redundancy, cosines(rows[best], float(norms[best])))
    return chosen
