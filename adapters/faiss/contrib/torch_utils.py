"""Tensors in, tensors out: once this is imported, `add`, `search` and the like take those of PyTorch.

A call with tensors on the CPU returns tensors; one with arrays returns arrays, as before. float32 (int64 for
ids), contiguous; nothing is copied on the way in. A call with both raises a TypeError.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ... import faiss
from ..base import Index
from ..clustering import Kmeans
from ..idmap import IndexIDMap
from ..transforms import VectorTransform

# Methods that take vectors or ids, by class.
METHODS: tuple[tuple[type[Any], tuple[str, ...]], ...] = (
    (
        Index,
        (
            *("train", "add", "add_with_ids", "upsert", "remove_ids", "contains"),
            *("search", "range_search", "assign", "search_and_reconstruct"),
            *("reconstruct_batch", "sa_encode", "sa_decode"),
        ),
    ),
    (IndexIDMap, ("add",)),
    (VectorTransform, ("train", "apply", "apply_py", "reverse_transform")),
    (Kmeans, ("train", "assign")),
)
DTYPES = (torch.float32, torch.int64, torch.int32, torch.uint8, torch.bool)


def _array(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    if value.device.type != "cpu":
        raise TypeError(f"tensors must be on the CPU, not on {value.device}")
    if value.dtype not in DTYPES or not value.is_contiguous():
        raise TypeError(f"tensors must be contiguous float32 or int64, not {value.dtype}")
    return value.detach().numpy()


def _tensors(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_tensors(part) for part in result)
    if isinstance(result, np.ndarray):
        # There are no unsigned tensors of 64 bits: limits of range searches become signed.
        return torch.from_numpy(result.astype(np.int64) if result.dtype == np.uint64 else result)
    return result


def taking_tensors(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that answers tensors with tensors."""

    @functools.wraps(call)
    def wrapped(*args: Any, **options: Any) -> Any:
        given = [*args, *options.values()]
        if not any(isinstance(value, torch.Tensor) for value in given):
            return call(*args, **options)
        if any(isinstance(value, np.ndarray) for value in given):
            raise TypeError("tensors and arrays in one call: which should the results be?")
        arrays = {name: _array(value) for name, value in options.items()}
        return _tensors(call(*map(_array, args), **arrays))

    return wrapped


for _kind, _names in METHODS:
    for _name in _names:
        setattr(_kind, _name, taking_tensors(getattr(_kind, _name)))
faiss.knn = taking_tensors(faiss.knn)
