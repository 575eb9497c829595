"""A metric's own value, which is what `Hit.distance` holds, as a similarity: the larger the nearer.

cosine   cos
l2       1 / (1 + d²)
ip       q·x
"""

from collections.abc import Callable


def _itself(value: float) -> float:
    return value


def of_squares(value: float) -> float:
    """Return 1 for a squared distance of 0, and less the larger it is."""
    return 1.0 / (1.0 + value)


SIMILARITIES: dict[str, Callable[[float], float]] = {"cosine": _itself, "l2": of_squares, "ip": _itself}
