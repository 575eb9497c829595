"""LoRANN again, in plain NumPy: a cluster's model by the singular vectors that define it, and scores."""

import numpy as np
import numpy.typing as npt

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
U8 = npt.NDArray[np.uint8]


def scores(
    codes: U8,
    values: I8,
    scales: F32,
    firsts: F32,
    steps: F16,
    row_firsts: F16,
    norms: F32 | None,
    bits: int,
) -> F32:
    """Return steps * (scales * <values, codes - half>) + row_firsts * firsts (+ norms), (n_queries, n).

    codes : (n, length), one byte each; values : (n_queries, length). Floats in the order of the kernel.
    """
    products = values.astype(np.int64) @ (codes.astype(np.int64) - 2 ** (bits - 1)).T
    rest = row_firsts.astype(np.float32) * firsts[:, None]
    if norms is not None:
        rest = rest + norms
    return steps.astype(np.float32) * (scales[:, None] * products.astype(np.float32)) + rest


def reduced_rank(rows: F64, queries: F64, rank: int) -> tuple[F64, F64]:
    """Return (A, B) of the best |T F^T - T A B|: B the first right singular vectors, A = F^T B^T."""
    right = np.linalg.svd(queries @ rows.T, full_matrices=False)[2][:rank]
    return rows.T @ right.T, right


def loss(rows: F64, queries: F64, left: F64, right: F64) -> float:
    """Return |T F^T - T A B|."""
    return float(np.linalg.norm(queries @ (rows.T - left @ right)))


def least_loss(rows: F64, queries: F64, rank: int) -> float:
    """Return the least loss there can be: the singular values that a rank leaves out."""
    values = np.linalg.svd(queries @ rows.T, compute_uv=False)
    return float(np.sqrt(np.square(values[rank:]).sum()))


def rounded(vector: F64, bits: int) -> F64:
    """Return a vector rounded to the grid that just holds its largest number."""
    most = 2 ** (bits - 1) - 1
    step = np.abs(vector).max() / most
    return np.clip(np.floor(vector / step + 0.5), -most - 1, most) * step if step > 0 else vector
