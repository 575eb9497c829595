"""Inlay beside faiss and hnswlib: commands that print recall, speed, build time and bytes side by side.

    python -m compat.run        recall against queries per second, build time, bytes; tables, page, pictures
    python -m compat.report     the same of earlier runs, of several together
    python -m compat.floors     recall of every form on small fixed data, against the floors it must keep
    python -m compat.overhead   what one call costs on an index so small that only the call is left
    python -m compat.stores     document stores, each by its LangChain adapter: ingest, latency, memory, disk
    python -m compat.kernels    nanoseconds per distance at every CPU level, against what memory allows

They run from the repository, need ``pip install 'inlay[compat]'`` and are never imported by the package.
"""
