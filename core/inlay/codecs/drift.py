"""Drift: whether new rows lie away from the means there are, and would be coded better about their own.

Training saw the rows of its day. Of every later batch whose energy about the means is higher than theirs was,
count, sum and squares are kept, which is all it takes to know the energy of these rows about their own mean:

    1/n sum |x|^2 - |1/n sum x|^2
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contents import field

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

# A new mean is added once this many rows came and their energy about it would be a tenth lower than about
# the old.
DRIFT_ROWS = 1_000
DRIFT_GAIN = 0.9


class Drift:
    """Watches whether new rows lie away from the means there are.

    Parameters
    ----------
    dim : int
    level : float
        Mean |r|^2 of the rows the means were made from.
    """

    def __init__(self, dim: int, level: float) -> None:
        self.level = level
        self._clear(dim)

    def _clear(self, dim: int) -> None:
        self.count = 0
        self.sums: F64 = np.zeros(dim)
        self.squares = 0.0
        self.energy = 0.0

    def notices(self, rows: F32, energy: F32) -> bool:
        """Take in rows (n, dim) with |r|^2 (n,) when they lie far out; True once there are enough of them."""
        total = float(energy.sum(dtype=np.float64))
        if total * DRIFT_GAIN <= self.level * len(rows):
            return False
        self.count += len(rows)
        # Not in place: a copy of this watch, to go back to when adding rows fails, keeps the old sums.
        self.sums = self.sums + rows.sum(axis=0, dtype=np.float64)
        self.squares += float(np.einsum("ij,ij->", rows, rows, dtype=np.float64))
        self.energy += total
        return self.count >= DRIFT_ROWS

    def take_mean(self) -> F32 | None:
        """Return the mean of the rows taken in if coding them about it pays, else None; start afresh."""
        mean = self.sums / self.count
        spread = max(self.squares / self.count - float(mean @ mean), 0.0)
        pays = spread < DRIFT_GAIN * self.energy / self.count
        if pays:
            self.level = max(self.level, spread)
        self._clear(len(mean))
        return mean.astype(np.float32) if pays else None

    def state(self) -> tuple[dict[str, Any], F64]:
        """Return (fields, sums) for a file."""
        return {name: getattr(self, name) for name in ("level", "count", "squares", "energy")}, self.sums

    @classmethod
    def restored(cls, fields: Mapping[str, Any], sums: F64) -> "Drift":
        """Return a watch in the state that a file holds."""
        watch = cls(len(sums), field(fields, "level", float))
        watch.count = field(fields, "count", int, at_least=0, at_most=2**63)
        watch.squares = field(fields, "squares", float)
        watch.energy = field(fields, "energy", float)
        watch.sums = np.array(sums)
        return watch
