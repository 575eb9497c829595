"""Transforms of vectors: linear ones and a few others, by themselves or before an index (`pretransform`)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from inlay.codecs.pq import PQCodec, principal
from inlay.contents import Sections, field
from inlay.rotation import HadamardRotation as _Hadamard

from .arrays import F32, as_int, as_matrix, output
from .attributes import Declared
from .errors import DimensionError, IndexOperationError, operation

# Rows that are multiplied together, so that their rounding is always the same.
TOGETHER = 16


class VectorTransform(Declared, ABC):
    """A transform of vectors from d_in to d_out dimensions.

    Attributes
    ----------
    d_in, d_out : int
    is_trained : bool
        Whether it can be applied.
    """

    d_in: int
    d_out: int
    is_trained: bool = True
    verbose: bool = False
    own_fields: bool = False

    #: What makes such a transform again, and the arrays that it learns.
    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in", "d_out")
    LEARNS: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init__(self, d_in: int, d_out: int) -> None:
        self.d_in, self.d_out = as_int(d_in, "d_in", 1), as_int(d_out, "d_out", 1)

    @property
    @abstractmethod
    def factory_string(self) -> str:
        """What `index_factory` takes for it."""

    @abstractmethod
    def _forward(self, x: F32) -> F32:
        """Return transformed rows."""

    def _back(self, x: F32) -> F32:
        raise IndexOperationError(f"{type(self).__name__} cannot be undone")

    def _learn(self, x: F32) -> None:
        """Learn from rows; most transforms learn nothing."""

    def train(self, x: npt.ArrayLike) -> None:
        """Learn from rows (n, d_in)."""
        rows = as_matrix(x, self.d_in)
        if not np.isfinite(rows).all() or not len(rows):
            raise IndexOperationError("training data hold NaN or infinite values, or nothing at all")
        self._learn(rows)

    def apply(self, x: npt.ArrayLike) -> F32:
        """Return transformed rows, float32 (n, d_out)."""
        rows = as_matrix(x, self.d_in)
        self._check_trained()
        return np.ascontiguousarray(self._forward(rows), np.float32)

    apply_py = apply

    def reverse_transform(self, x: npt.ArrayLike) -> F32:
        """Return rows (n, d_in) whose transforms are nearest to these (n, d_out)."""
        rows = as_matrix(x, self.d_out)
        self._check_trained()
        return np.ascontiguousarray(self._back(rows), np.float32)

    def apply_noalloc(self, x: npt.ArrayLike, xt: F32) -> None:
        """Write transformed rows into an array (n, d_out)."""
        rows = self.apply(x)
        output(xt, rows.shape, np.float32, "xt")[:] = rows

    def check_identical(self, other: "VectorTransform") -> None:
        """Raise a RuntimeError unless the other does the same."""
        mine, others = self.state(), other.state()
        same = mine[0] == others[0] and all(np.array_equal(mine[1][n], others[1][n]) for n in mine[1])
        if type(self) is not type(other) or not same:
            raise IndexOperationError("the transforms are different")

    def _check_trained(self) -> None:
        if not self.is_trained:
            raise IndexOperationError(f"{type(self).__name__} must be trained first: call train(x)")

    # Files

    def state(self) -> tuple[dict[str, Any], dict[str, F32]]:
        """Return header fields and arrays for a file."""
        fields = {"made": {name: getattr(self, name) for name in self.MADE_OF}, "trained": self.is_trained}
        arrays = {name: getattr(self, f"_{name}") for name in self.LEARNS} if self.is_trained else {}
        return fields, arrays

    def restore(self, fields: Mapping[str, Any], sections: Sections) -> None:
        """Take what `state` gave, as read from a file; all of it is looked at, so all is verified."""
        sections.verify()
        self.is_trained = field(fields, "trained", bool)
        for name, shape in self.LEARNS.items() if self.is_trained else ():
            array = sections.take(name, np.float32, tuple(getattr(self, size) for size in shape))
            if not np.isfinite(array).all():
                raise sections.fault(name, "holds a NaN or infinite value")
            setattr(self, f"_{name}", array)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.factory_string!r}, {self.d_in} -> {self.d_out})"


class LinearTransform(VectorTransform):
    """A x + b.

    Parameters
    ----------
    d_in, d_out : int
    have_bias : bool
        Whether there is a b.

    Attributes
    ----------
    A : float32 (d_out * d_in,), b : float32 (d_out,)
        May be set, with as many numbers; then it is trained. Numbers may be copied into them as well, which
        leaves it to the caller to set `is_trained`.
    is_orthonormal : bool
        Whether the rows of A are of length 1 and at right angles, as `set_is_orthonormal` found.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in", "d_out", "have_bias")
    LEARNS: ClassVar[Mapping[str, tuple[str, ...]]] = {"matrix": ("d_out", "d_in"), "bias": ("d_out",)}

    have_bias: bool
    is_orthonormal: bool = False

    def __init__(self, d_in: int, d_out: int, have_bias: bool = False) -> None:
        super().__init__(d_in, d_out)
        self.have_bias = bool(have_bias)
        self.is_trained = False

    @property
    def factory_string(self) -> str:
        """None of its own: a matrix is given, or learned by a class below."""
        return f"Linear{self.d_out}"

    # Neither takes memory before it is needed: a file may lie about dimensions.

    @cached_property
    def _matrix(self) -> F32:
        return np.zeros((self.d_out, self.d_in), np.float32)

    @cached_property
    def _bias(self) -> F32:
        return np.zeros(self.d_out, np.float32)

    @property
    def A(self) -> F32:
        """The matrix, row after row."""
        return self._matrix.reshape(-1)

    @A.setter
    def A(self, value: npt.ArrayLike) -> None:
        matrix = np.array(value, np.float32)
        if matrix.size != self.d_out * self.d_in or not np.isfinite(matrix).all():
            raise DimensionError(f"A must be {self.d_out} x {self.d_in} finite numbers, not {matrix.shape}")
        self._matrix, self.is_trained = matrix.reshape(self.d_out, self.d_in), True

    @property
    def b(self) -> F32:
        """What is added; zeros without have_bias."""
        return self._bias

    @b.setter
    def b(self, value: npt.ArrayLike) -> None:
        bias = np.array(value, np.float32)
        if bias.shape != (self.d_out,) or not np.isfinite(bias).all():
            raise DimensionError(f"b must be {self.d_out} finite numbers, not {bias.shape}")
        self._bias, self.have_bias = bias, True

    def _forward(self, x: F32) -> F32:
        with np.errstate(over="ignore", invalid="ignore"):  # rows that are not finite stay so
            y = product(x, self._matrix)
            return np.asarray(y + self._bias if self.have_bias else y, np.float32)

    def _back(self, x: F32) -> F32:
        inverse: F32 = np.linalg.pinv(self._matrix.astype(np.float64)).astype(np.float32)
        return np.asarray((x - self._bias if self.have_bias else x) @ inverse.T, np.float32)

    def _set(self, matrix: npt.NDArray[Any], bias: npt.NDArray[Any] | None = None) -> None:
        self._matrix = np.ascontiguousarray(matrix, np.float32)
        if bias is not None:
            self._bias, self.have_bias = np.ascontiguousarray(bias, np.float32), True
        self.is_trained = True

    def set_is_orthonormal(self) -> None:
        """Look whether the rows of A are of length 1 and at right angles."""
        wide = self._matrix.astype(np.float64)
        self.is_orthonormal = bool(np.allclose(wide @ wide.T, np.eye(self.d_out), atol=4e-5))

    def transform_transpose(self, x: npt.ArrayLike) -> F32:
        """Return A^T (x - b), float32 (n, d_in)."""
        rows = as_matrix(x, self.d_out)
        self._check_trained()
        return np.asarray((rows - self._bias) @ self._matrix, np.float32)


class RandomRotationMatrix(LinearTransform):
    """A random rotation, or random orthogonal directions where d_in and d_out differ.

    Parameters
    ----------
    d_in, d_out : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in", "d_out")

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out)

    def init(self, seed: int) -> None:
        """Draw the directions."""
        self._set(orthogonal(self.d_out, self.d_in, as_int(seed, "seed", 0)))

    def _learn(self, x: F32) -> None:
        if not self.is_trained:
            self.init(12345)

    @property
    def factory_string(self) -> str:
        """Such as "RR64"."""
        return f"RR{self.d_out}" if self.d_out != self.d_in else "RR"


class PCAMatrix(LinearTransform):
    """Principal components about the mean.

    Parameters
    ----------
    d_in, d_out : int
    eigen_power : float
        Of the variances that components are scaled by: -0.5 whitens, 0 leaves them.
    random_rotation : bool
        Rotate components at random.

    Attributes
    ----------
    mean : float32 (d_in,), eigenvalues : float32 (d_in,)
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in", "d_out", "eigen_power", "random_rotation")
    LEARNS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **LinearTransform.LEARNS,
        "mean": ("d_in",),
        "eigenvalues": ("d_in",),
    }

    eigen_power: float
    random_rotation: bool

    def __init__(
        self, d_in: int, d_out: int, eigen_power: float = 0.0, random_rotation: bool = False
    ) -> None:
        super().__init__(d_in, d_out, True)
        if self.d_out > self.d_in:
            raise DimensionError(f"{d_in} dimensions have no {d_out} principal components")
        self.eigen_power, self.random_rotation = float(eigen_power), bool(random_rotation)
        self._mean = self._eigenvalues = np.empty(0, np.float32)

    @property
    def mean(self) -> F32:
        """The mean of what it was trained with."""
        return self._mean

    @property
    def eigenvalues(self) -> F32:
        """Variances along the components, falling."""
        return self._eigenvalues

    def _learn(self, x: F32) -> None:
        mean = x.mean(axis=0, dtype=np.float64)
        values, vectors = principal(x - mean)
        matrix = vectors[: self.d_out]
        if self.eigen_power:
            # Directions without any variance would be scaled by infinity.
            floor = max(values[0], 1e-30) * 1e-9
            matrix = matrix * (np.maximum(values[: self.d_out], floor) ** self.eigen_power)[:, None]
        if self.random_rotation:
            matrix = orthogonal(self.d_out, self.d_out, 1234) @ matrix
        self._set(matrix, -(matrix @ mean))
        self._mean, self._eigenvalues = mean.astype(np.float32), values.astype(np.float32)

    @property
    def factory_string(self) -> str:
        """Such as "PCA64", with "W" for whitening and "R" for rotation."""
        return f"PCA{'W' if self.eigen_power else ''}{'R' if self.random_rotation else ''}{self.d_out}"


class OPQMatrix(LinearTransform):
    """The rotation that suits product quantisation: what there is to be coded is shared out among groups.

    Parameters
    ----------
    d : int
    M : int
        Groups of dimensions.
    d2 : int
        Dimensions that are left, the principal ones; -1 for all.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in", "M", "d_out")

    M: int

    def __init__(self, d: int, M: int = 1, d2: int = -1) -> None:
        super().__init__(d, d if d2 == -1 else d2)
        self.M = as_int(M, "M", 1)
        if self.d_out > self.d_in:
            raise DimensionError(f"{d} dimensions cannot be reduced to {d2}")

    def _learn(self, x: F32) -> None:
        reduce = np.eye(self.d_in)
        if self.d_out < self.d_in:
            # As FAISS: energy about the origin, since a rotation leaves that where it is.
            reduce = principal(x)[1][: self.d_out]
        rows = np.ascontiguousarray(x @ reduce.T, np.float32)
        codec = PQCodec(self.d_out, True, min(self.M, self.d_out), 4, "opq")
        with operation():
            codec.train(rows if len(rows) >= 16 else np.resize(rows, (16, self.d_out)), seed=1234)
        rotation = codec.basis.matrix
        self._set(reduce if rotation is None else rotation.astype(np.float64) @ reduce)

    @property
    def factory_string(self) -> str:
        """Such as "OPQ16" or "OPQ16_64"."""
        return f"OPQ{self.M}" + (f"_{self.d_out}" if self.d_out != self.d_in else "")


class HadamardRotation(VectorTransform):
    """A fast random rotation, of as many dimensions as the next power of two: zeros are added before.

    `RandomRotationMatrix` leaves d as it is, and takes d multiplications for each.

    Parameters
    ----------
    d : int
    seed : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in", "seed")

    seed: int

    def __init__(self, d: int, seed: int = 12345) -> None:
        super().__init__(d, 1 << (as_int(d, "d", 1) - 1).bit_length())
        self.seed = as_int(seed, "seed", 0)

    @cached_property
    def _rotation(self) -> _Hadamard:
        """Drawn when it is needed: a file may lie about d_in."""
        return _Hadamard(self.d_out, self.seed)

    def _forward(self, x: F32) -> F32:
        return self._rotation.apply(np.pad(x, ((0, 0), (0, self.d_out - self.d_in))))

    def _back(self, x: F32) -> F32:
        return self._rotation.invert(x)[:, : self.d_in]

    @property
    def factory_string(self) -> str:
        """Such as "HR", and the seed where it is another than FAISS's."""
        return "HR" + (str(self.seed) if self.seed != 12345 else "")


class NormalizationTransform(VectorTransform):
    """Vectors of length 1; zeros stay zeros.

    Parameters
    ----------
    d : int
    norm : float
        2, the Euclidean length.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in",)

    norm: float

    def __init__(self, d: int, norm: float = 2.0) -> None:
        super().__init__(d, d)
        if norm != 2.0:
            raise IndexOperationError(f"vectors are scaled by their Euclidean length, norm 2, not {norm}")
        self.norm = 2.0

    def _forward(self, x: F32) -> F32:
        lengths = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))
        with np.errstate(invalid="ignore"):
            return np.where(lengths[:, None] > 0, x / np.where(lengths > 0, lengths, 1)[:, None], x)

    def _back(self, x: F32) -> F32:
        return x  # lengths are gone; directions are as they were

    @property
    def factory_string(self) -> str:
        """Always "L2norm"."""
        return "L2norm"


class RemapDimensionsTransform(VectorTransform):
    """Dimensions left out, or zeros put in.

    Parameters
    ----------
    d_in, d_out : int
    uniform : bool
        Spread them evenly; else the first min(d_in, d_out) are kept, in their order.

    Attributes
    ----------
    map : int array (d_out,)
        Where each dimension comes from, -1 for a zero.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in", "d_out", "uniform")

    map: Any
    uniform: bool

    def __init__(self, d_in: int, d_out: int, uniform: bool = True) -> None:
        super().__init__(d_in, d_out)
        self.uniform = bool(uniform)
        self.map = np.full(self.d_out, -1, np.int64)
        few = min(self.d_in, self.d_out)
        if not self.uniform:
            self.map[:few] = np.arange(few)
        elif self.d_in < self.d_out:
            self.map[np.arange(few) * self.d_out // self.d_in] = np.arange(few)
        else:
            self.map[:] = np.arange(few) * self.d_in // self.d_out

    def _forward(self, x: F32) -> F32:
        return np.where(self.map >= 0, x[:, self.map], np.float32(0))

    def _back(self, x: F32) -> F32:
        rows = np.zeros((len(x), self.d_in), np.float32)
        rows[:, self.map[self.map >= 0]] = x[:, self.map >= 0]
        return rows

    @property
    def factory_string(self) -> str:
        """Such as "Pad64"."""
        return f"Pad{self.d_out}"


class CenteringTransform(VectorTransform):
    """Vectors about the mean of what it was trained with.

    Parameters
    ----------
    d : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d_in",)
    LEARNS: ClassVar[Mapping[str, tuple[str, ...]]] = {"mean": ("d_in",)}

    def __init__(self, d: int) -> None:
        super().__init__(d, d)
        self.is_trained = False
        self._mean = np.empty(0, np.float32)

    @property
    def mean(self) -> F32:
        """The mean."""
        return self._mean

    def _learn(self, x: F32) -> None:
        self._mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.is_trained = True

    def _forward(self, x: F32) -> F32:
        return x - self._mean

    def _back(self, x: F32) -> F32:
        return x + self._mean

    @property
    def factory_string(self) -> str:
        """None of its own: FAISS has no string for it."""
        return "Centre"


def product(x: F32, matrix: F32) -> F32:
    """Return x matrix^T, each row as it would be by itself: BLAS rounds by how many rows come together."""
    padded = np.zeros((-(-len(x) // TOGETHER) * TOGETHER, x.shape[1]), np.float32)
    padded[: len(x)] = x
    y = np.matmul(padded.reshape(-1, TOGETHER, x.shape[1]), matrix.T)
    return np.asarray(y.reshape(-1, len(matrix))[: len(x)], np.float32)


def orthogonal(d_out: int, d_in: int, seed: int) -> npt.NDArray[np.float64]:
    """Return a random matrix (d_out, d_in) with orthogonal rows, or columns where it has fewer of these."""
    larger, smaller = max(d_out, d_in), min(d_out, d_in)
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((larger, smaller)))
    q *= np.sign(np.where(np.diag(r) == 0, 1, np.diag(r)))
    return q.T if d_out <= d_in else q
