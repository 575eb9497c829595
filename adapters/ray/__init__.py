"""Ray: `ShardedCollection`, a collection over several processes or machines."""

try:
    import ray  # noqa: F401
except ImportError as missing:
    raise ImportError("Ray adapter: pip install 'inlay[ray]'") from missing

from .calls import DeadlineExceeded
from .collection import ShardedCollection
from .moving import Move, Plan
from .searching import Hits

__all__ = ["DeadlineExceeded", "Hits", "Move", "Plan", "ShardedCollection"]
