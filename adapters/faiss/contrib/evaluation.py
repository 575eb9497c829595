"""How well searches answer: against other answers, or other searches."""

import numpy as np
import numpy.typing as npt

from ..arrays import F32, I64
from ..errors import DimensionError


def sizes(lims: npt.ArrayLike) -> I64:
    """Return how many results of a range search each query has, int64 (n,)."""
    ends = np.asarray(lims).astype(np.int64)
    return ends[1:] - ends[:-1]


def knn_intersection_measure(I1: npt.ArrayLike, I2: npt.ArrayLike) -> float:
    """Return what share of labels (n, rank) each line of two results has in common, on average."""
    one, two = np.asarray(I1), np.asarray(I2)
    if one.shape != two.shape or one.ndim != 2:
        raise DimensionError(f"results must both be (n, rank), not {one.shape} and {two.shape}")
    return sum(len(np.intersect1d(a, b)) for a, b in zip(one, two, strict=True)) / one.size


def range_ground_truth(xq: F32, xb: F32, threshold: float, metric: int = 1) -> tuple[I64, F32, I64]:
    """Return (lims, D, I) of all rows nearer than a threshold, exactly; see `Index.range_search`."""
    from ..flat import IndexFlat

    index = IndexFlat(xb.shape[1], metric)
    index.add(xb)
    lims, distances, labels = index.range_search(xq, threshold)
    return lims.astype(np.int64), distances, labels


def counts(lims_ref: I64, ids_ref: I64, lims_new: I64, ids_new: I64) -> tuple[I64, I64, I64]:
    """Return how many results each query has in two range searches, and in both; int64 (n,) each."""
    if len(lims_ref) != len(lims_new):
        raise DimensionError(f"results are of {len(lims_ref) - 1} and {len(lims_new) - 1} queries")
    bounds = zip(lims_ref[:-1], lims_ref[1:], lims_new[:-1], lims_new[1:], strict=True)
    both = [len(np.intersect1d(ids_ref[a:b], ids_new[c:d])) for a, b, c, d in bounds]
    return sizes(lims_ref), sizes(lims_new), np.array(both, np.int64)


def range_PR(
    lims_ref: I64,
    Iref: I64,
    lims_new: I64,
    Inew: I64,
    mode: str = "overall",
) -> tuple[float, float]:
    """Return precision and recall of a range search against another.

    Parameters
    ----------
    lims_ref, Iref, lims_new, Inew
        What `range_search` returned, and what it should have.
    mode : {"overall", "average"}
        Of all results together, or of each query and then averaged.
    """
    ref, new, both = counts(lims_ref, Iref, lims_new, Inew)
    return counts_to_PR(ref, new, both, mode)


def counts_to_PR(ngt: I64, nres: I64, ninter: I64, mode: str = "overall") -> tuple[float, float]:
    """Return precision and recall from how many results there should be, are, and are right.

    Where there are no results precision is 1, and where there should be none recall is.
    """
    if mode == "overall":
        ngt, nres, ninter = (np.array([part.sum()]) for part in (ngt, nres, ninter))
    elif mode != "average":
        raise ValueError(f'mode must be "overall" or "average", not {mode!r}')
    precision = np.where(nres > 0, ninter / np.maximum(nres, 1), 1.0)
    recall = np.where(ngt > 0, ninter / np.maximum(ngt, 1), 1.0)
    return float(precision.mean()), float(recall.mean())


def range_PR_multiple_thresholds(
    lims_ref: I64,
    Iref: I64,
    lims_new: I64,
    Dnew: F32,
    Inew: I64,
    thresholds: npt.ArrayLike,
    mode: str = "overall",
    do_sort: str = "ref,new",
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return precision and recall, as `range_PR` does, of results below each of some thresholds.

    Parameters
    ----------
    lims_ref, Iref
        What should be found.
    lims_new, Dnew, Inew
        What `range_search` returned.
    thresholds : array_like, (n,)
    mode
        See `range_PR`.
    do_sort : str
        Accepted: the order of results does not matter.

    Returns
    -------
    precision, recall : float64 (n,)
    """
    found = [
        range_PR(lims_ref, Iref, *filter_range_results(lims_new, Dnew, Inew, threshold)[::2], mode)
        for threshold in np.asarray(thresholds)
    ]
    return np.array([precision for precision, _ in found]), np.array([recall for _, recall in found])


def filter_range_results(
    lims: I64,
    D: F32,
    I: I64,  # noqa: E741
    thresh: float,
) -> tuple[I64, F32, I64]:
    """Return those results of a range search whose distance is below a threshold."""
    below = thresh > D
    return np.concatenate([[0], np.cumsum(below)])[np.asarray(lims, np.int64)], D[below], I[below]


def sort_range_res_2(
    lims: I64,
    D: F32,
    I: I64,  # noqa: E741
) -> tuple[I64, F32]:
    """Return labels and then distances of a range search, with each query's in order of distance."""
    query = np.repeat(np.arange(len(lims) - 1), sizes(lims))
    order = np.lexsort((D, query))
    return I[order], D[order]


def sort_range_res_1(lims: I64, I: I64) -> I64:  # noqa: E741
    """Return labels of a range search with each query's in rising order."""
    query = np.repeat(np.arange(len(lims) - 1), sizes(lims))
    return I[np.lexsort((I, query))]


def check_ref_knn_with_draws(
    Dref: F32,
    Iref: I64,
    Dnew: F32,
    Inew: I64,
    rtol: float = 1e-5,
) -> None:
    """Raise an AssertionError unless results are the same, whatever the order of equal distances."""
    np.testing.assert_allclose(Dref, Dnew, rtol=rtol)
    for line, (distances, ref, new) in enumerate(zip(Dref, Iref, Inew, strict=True)):
        # The last distance may be shared with rows that did not fit.
        steps = np.flatnonzero(~np.isclose(distances[1:], distances[:-1], rtol=rtol)) + 1
        for first, last in zip([0, *steps[:-1]], steps, strict=False):
            if set(ref[first:last].tolist()) != set(new[first:last].tolist()):
                raise AssertionError(f"line {line}: {ref[first:last]} and {new[first:last]} differ")


def check_ref_range_results(
    Lref: I64,
    Dref: F32,
    Iref: I64,
    Lnew: I64,
    Dnew: F32,
    Inew: I64,
) -> None:
    """Raise an AssertionError unless results of a range search are the same, in any order."""
    np.testing.assert_array_equal(Lref, Lnew)
    for first, last in zip(np.asarray(Lref[:-1], int), np.asarray(Lref[1:], int), strict=True):
        ref, new = np.argsort(Iref[first:last]), np.argsort(Inew[first:last])
        np.testing.assert_array_equal(Iref[first:last][ref], Inew[first:last][new])
        np.testing.assert_allclose(Dref[first:last][ref], Dnew[first:last][new], rtol=1e-4, atol=1e-5)
