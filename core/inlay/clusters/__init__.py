"""Rows in clusters: `kmeans` finds centres, `lists` keeps the rows of each centre together."""

from .kmeans import KMeans, assign, kmeans, sample

__all__ = ["KMeans", "assign", "kmeans", "sample"]
