"""What a LoRANN model of a cluster is, and how it is fitted: reduced-rank regression.

The scores of a cluster's m rows X are a linear function of the query, X q. In the coordinates of a
projection (`projection`), f = G^T x and t = G^T q, this is F t, and the m x s matrix F is replaced by one of
rank r:

    score of row i   ~  <A^T t, b_i>          A: s x r, of the cluster; b_i: r coefficients, of the row

which costs s r + r m multiplications instead of s m. Over training queries T (l x s) that come to the cluster
the best such matrix in the sense of least squares, |T F^T - T A B|, is known: with V the first r right
singular vectors of T F^T, A = F^T V and B = V^T (Izenman, Reduced-rank regression for the multivariate linear
model, 1975). The singular vectors come from a symmetric matrix no larger than s x s:

    S = T^T T + a little = L L^T      H = F^T F      K = L^T H L = U diag(lam) U^T
    W = L U lam^(-1/2)                V = F W        A = H W

So V is linear in the rows, too: a row's coefficients are b = W^T f = (A^T S A)^-1 A^T S f, the best in the
sense of the queries, and a new row gets its own by the same formula. Where queries are like the rows (T = F)
K and H have the same vectors: this is the singular value decomposition of F, and b the plain least-squares
coefficients of f over the columns of A.

Sources: Jaasaari, Hyvonen and Roos, LoRANN: Low-rank matrix factorization for approximate nearest
neighbor search, NeurIPS 2024. Differs in: eigenvectors of small matrices instead of a randomised
decomposition; rows stand for queries within their own cluster alone; coefficients are fitted again to A as
it is stored.
"""

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

# Rows that a projection is made from.
PROJECTION_ROWS = 16_384
# What is added to the diagonal of S, as a share of its mean: queries that span less than s dimensions.
RIDGE = 1e-6
# Of eigenvectors: where fewer than one in so many is wanted these are iterated, with some more beside them.
FEW_OF = 4
SPARE = 8
ITERATIONS = 4
# Squared singular values below this share of the largest are rounding errors.
LEAST = 1e-12


def projection(rows: F32, size: int, seed: int) -> F32:
    """Return G, orthonormal columns that keep the most of the rows' squared lengths.

    Parameters
    ----------
    rows : float32 (n, dim)
        Queries, or rows that stand for them. Not centred: the first column is about the direction of their
        mean.
    size : int, 1 .. dim
    seed : int
        Of a rotation within all columns but the first. These then have numbers of like size, so that one
        step of a grid suits all.

    Returns
    -------
    float32 (dim, size)
    """
    rng = np.random.default_rng(seed)
    if len(rows) > PROJECTION_ROWS:
        rows = rows[np.sort(rng.choice(len(rows), PROJECTION_ROWS, replace=False))]
    # Rows of any size: what is decided here is a direction.
    sample = rows / max(float(np.abs(rows).max(initial=0.0)), 1e-30)
    _, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    basis = vectors[:, ::-1][:, :size]
    return np.ascontiguousarray(basis @ apart(size, rng), np.float32)


def apart(size: int, rng: np.random.Generator) -> F64:
    """Return a random rotation (size, size) that leaves the first coordinate as it is."""
    rotation = np.eye(size)
    rotation[1:, 1:] = np.linalg.qr(rng.standard_normal((size - 1, size - 1)))[0]
    return rotation


def reduced_rank(rows: F64, moments: F64 | None, rank: int) -> F64:
    """Return A of the best scores <A^T t, b> of rows f and queries t, b being the rows' `coefficients`.

    Parameters
    ----------
    rows : float64 (m, s)
    moments : float64 (s, s), or None
        T^T T of the queries t; None: they are like the rows.
    rank : int
        Columns beyond what the rows span are zero.

    Returns
    -------
    float64 (s, rank)
        By falling singular value. Coefficients have a root mean square of 1 at most.
    """
    gram = rows.T @ rows
    left = np.zeros((len(gram), rank))
    kept = min(rank, len(gram))
    if moments is None:
        values, vectors = _leading(gram, kept)
        left[:, :kept] = vectors * np.sqrt(values)
    else:
        root = np.linalg.cholesky(_ridged(moments, RIDGE))
        values, vectors = _leading(root.T @ gram @ root, kept)
        inverse = np.divide(1.0, np.sqrt(values), out=np.zeros(kept), where=values > 0)
        left[:, :kept] = gram @ (root @ vectors * inverse)
    left /= np.sqrt(max(len(rows), 1))
    return left


def coefficients(left: F64, rows: F64, moments: F64 | None) -> tuple[F64, F64]:
    """Return (b, G): the coefficients of rows that lose least of their scores, and what loss is measured by.

    b = G^-1 A^T S f with G = A^T S A, S being the queries' moments, or the identity. For the rows that A was
    fitted to, and A as `reduced_rank` gives it, these are the rows of V; for all others, too, they are W^T f.

    Parameters
    ----------
    left : float64 (s, rank)
        A, as it is stored.
    rows : float64 (m, s)
    moments : float64 (s, s), or None

    Returns
    -------
    float64 (m, rank), float64 (rank, rank)
    """
    weighed = left if moments is None else _ridged(moments, RIDGE) @ left
    metric = left.T @ weighed
    solved = np.linalg.solve(_ridged(metric, 1e-9), weighed.T @ rows.T)
    return np.ascontiguousarray(solved.T), metric


def _ridged(matrix: F64, share: float) -> F64:
    """Return a matrix with a share of its mean diagonal added to the diagonal."""
    more = share * np.trace(matrix) / len(matrix)
    return matrix + (more if more > 0 else 1.0) * np.eye(len(matrix))


def _leading(matrix: F64, kept: int) -> tuple[F64, F64]:
    """Return the largest eigenvalues (kept,) of a symmetric matrix, falling, and their vectors."""
    if len(matrix) < FEW_OF * kept:
        values, vectors = np.linalg.eigh(matrix)
    else:
        # All of 192 would take 3.7 ms, 33 by iterated products 1.3; they hold 0.9998 of what those hold.
        block = matrix[:, : kept + SPARE]
        for _ in range(ITERATIONS):
            basis = np.linalg.qr(block)[0]
            block = matrix @ basis
        values, turn = np.linalg.eigh(basis.T @ block)
        vectors = basis @ turn
    values, vectors = values[::-1][:kept], vectors[:, ::-1][:, :kept]
    return np.where(values > LEAST * max(values[0], 0.0), values, 0.0), vectors
