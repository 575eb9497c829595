"""Opening a sharded collection: its map is found or made, and its keeper found or started."""

import contextlib
from typing import Any

import ray
from ray.exceptions import RayError

from inlay.collection.database import DATABASE
from inlay.collection.opening import Wanted

from .keeper import NAMESPACE, Keeper, Terms
from .routing import Map, even, load, save


def check_ray() -> None:
    """Raise RuntimeError unless this process is connected to Ray."""
    if not ray.is_initialized():
        raise RuntimeError(
            'call ray.init() first: ray.init() starts Ray here, ray.init(address="auto") joins a cluster'
        )


def running(name: str) -> Any:
    """Return the keeper of that name, None if none runs."""
    try:
        return ray.get_actor(name, NAMESPACE)
    except ValueError:
        return None


def start(home: str, terms: Terms) -> Any:
    """Start the keeper of the collection in a folder, unless somebody has done so meanwhile."""
    options = {"name": terms.name, "namespace": NAMESPACE, "lifetime": "detached", "max_restarts": -1}
    maker = ray.remote(Keeper).options(**options, get_if_exists=True, num_cpus=0)
    return maker.remote(home, terms)


def stop(keeper: Any, deadline: float) -> None:
    """End the actors of a collection that could not be opened, as far as they are there."""
    with contextlib.suppress(RayError):
        ray.get(keeper.close.remote(), timeout=deadline)
    ray.kill(keeper, no_restart=True)


def home_of(keeper: Any, deadline: float) -> str:
    """Return the folder of a keeper's collection."""
    return str(ray.get(keeper.home.remote(), timeout=deadline))


def checked(n: int, name: str) -> int:
    """Return a number of shards or replicas, if it can be one."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{name} must be an int, not {type(n).__name__}")
    if not 1 <= n <= 4096:
        raise ValueError(f"{name} must be from 1 to 4096, not {n}")
    return n


def provided(
    wanted: Wanted, shards: int | None, replicas: int | None, *, running: bool, read_only: bool
) -> Map:
    """Return the map of a collection; made if there is none.

    Raises
    ------
    ValueError
        When it has another number of shards, or, while it runs, of replicas; or when there is a collection
        without shards.
    FileNotFoundError, NotADirectoryError
        When there is none, for `read_only`; when it is a file.
    """
    home = wanted.home
    assert home is not None
    if home.exists() and not home.is_dir():
        raise NotADirectoryError(f"{home} is a file; a collection is a folder")
    n_shards = None if shards is None else checked(shards, "shards")
    n_replicas = None if replicas is None else checked(replicas, "replicas")
    try:
        map = load(home)
    except FileNotFoundError:
        if read_only:
            raise
        if (home / DATABASE).exists():
            raise ValueError(
                f"{home} holds a collection without shards; open an empty folder, and merge_from that one"
            ) from None
        home.mkdir(parents=True, exist_ok=True)
        numbers = tuple(range(n_shards or 1))
        metric, spec = wanted.metric or "cosine", wanted.index or "auto"
        map = Map(
            wanted.name,
            metric,
            spec,
            wanted.dim,
            wanted.full_text,
            n_replicas or 1,
            numbers,
            even(numbers),
            next_shard=len(numbers),
        )
        save(map, home)
        return map
    if n_shards not in (None, len(map.shards)):
        raise ValueError(
            f"shards={n_shards} was asked for but {home} has {len(map.shards)}; reshard changes that"
        )
    if n_replicas not in (None, map.replicas):
        if running:
            raise ValueError(
                f"replicas={n_replicas} was asked for but {home} runs with {map.replicas}; close it first"
            )
        map = Map(**{**vars(map), "replicas": n_replicas})
        save(map, home)
    return map
