"""How much searches of this process looked at: `cvar.indexIVF_stats` and `cvar.hnsw_stats`."""


class IndexIVFStats:
    """Counters of inverted lists.

    Attributes
    ----------
    nq, nlist, ndis : int
        Queries, lists that `nprobe` named for them, and rows in as many lists of average length.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin again with 0."""
        self.nq = self.nlist = self.ndis = 0

    def count(self, nq: int, nprobe: int, rows_a_list: float) -> None:
        """Add searches."""
        self.nq += nq
        self.nlist += nq * nprobe
        self.ndis += round(nq * nprobe * rows_a_list)


class HNSWStats:
    """Counters of graphs.

    Attributes
    ----------
    n1, nhops, ndis : int
        Queries, rows whose links were followed, and rows that were scored.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin again with 0."""
        self.n1 = self.nhops = self.ndis = 0

    def count(self, nq: int, hops: int, scored: int) -> None:
        """Add searches."""
        self.n1 += nq
        self.nhops += hops
        self.ndis += scored


class Counters:
    """All counters, where FAISS has them."""

    def __init__(self) -> None:
        self.indexIVF_stats = IndexIVFStats()
        self.hnsw_stats = HNSWStats()


cvar = Counters()
