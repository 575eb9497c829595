"""Codes in stages again, in plain NumPy: scans, products, ways on and beam search by their definitions.

Where the package promises the same bits at every CPU level the order of operations is kept, so tests compare
with `==`.
"""

import numpy as np
import numpy.typing as npt

from reference import F32, U8

I16 = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]


def scores(
    codes: U8, tables: U8, step: float, low: float, norms: U8 | None, levels: tuple[float, float]
) -> F32:
    """Return the scores (n,) of rows by as many stages as there are tables."""
    sums = tables[np.arange(len(tables)), codes[:, : len(tables)]].astype(np.int64).sum(axis=1)
    found = np.float32(step) * sums.astype(np.float32) + np.float32(low)
    if norms is not None:
        found = found + (np.float32(levels[0]) * norms.astype(np.float32) + np.float32(levels[1]))
    return found


def products(rows: F32, strips: F32) -> F32:
    """Return the products (n, words) of rows and of codewords in strips, summed coordinate by coordinate."""
    words = strips.transpose(1, 0, 2).reshape(strips.shape[1], -1)
    found = np.zeros((len(rows), words.shape[1]), np.float32)
    for j in range(rows.shape[1]):
        found += rows[:, j : j + 1] * words[j]
    return found


def short_products(rows: I16, words: I16, row_factors: F32, strip_factors: F32) -> F32:
    """Return the products (n, words) of rows (n, dim) and codewords (words, dim) in 16-bit integers."""
    sums = (rows.astype(np.int64) @ words.astype(np.int64).T).astype(np.float32)
    found: F32 = sums * (row_factors[:, None] * np.repeat(strip_factors, 16))
    return found


def extend(norms: F32, products: F32, scores: F32, crosses: F32, room: int) -> tuple[F32, I64, I64]:
    """Return (scores, parents, entries) of the best ways on, equal ones in the order of (parent, entry)."""
    found = (norms + products)[None] + scores[:, None]
    for earlier in range(crosses.shape[1]):
        found = found + crosses[:, earlier]
    flat = found.ravel()
    order = np.argsort(flat, kind="stable")
    order = order[flat[order] < np.inf][:room]
    return flat[order], order // len(norms), order % len(norms)


def beam_search(rows: F32, books: list[F32], beam: int) -> tuple[I64, npt.NDArray[np.float64]]:
    """Return codes (n, stages) and squared errors of rows, by residuals in float64, nothing tabulated."""
    all_codes, errors = np.empty((len(rows), len(books)), np.int64), np.empty(len(rows))
    for i, row in enumerate(rows.astype(np.float64)):
        left, codes = row[None], np.empty((1, 0), np.int64)
        for stage, book in enumerate(books):
            apart = np.square(left[:, None] - book.astype(np.float64)).sum(axis=2)
            best = np.argsort(apart.ravel(), kind="stable")[: beam if stage + 1 < len(books) else 1]
            parent, entry = np.divmod(best, len(book))
            left = left[parent] - book[entry]
            codes = np.hstack([codes[parent], entry[:, None]])
        all_codes[i], errors[i] = codes[0], np.square(left[0]).sum()
    return all_codes, errors


def least_squares(rows: F32, codes: U8, books: list[F32], ridge: float) -> list[F32]:
    """Return the books that leave the least squared error, plus the ridge of how far they move: densely."""
    size = len(books[0])
    z = np.concatenate([np.eye(size)[codes[:, m]] for m in range(len(books))], axis=1)
    before = np.concatenate(books).astype(np.float64)
    pull = np.sqrt(ridge) * np.eye(len(before))
    moved = np.linalg.lstsq(
        np.concatenate([z, pull]),
        np.concatenate([rows - z @ before, np.zeros_like(before)]),
        rcond=None,
    )[0]
    return list((before + moved).reshape(len(books), size, -1).astype(np.float32))
