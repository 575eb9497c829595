import numpy as np
import numpy.typing as npt

def negate(scores: npt.NDArray[np.float32]) -> None: ...
