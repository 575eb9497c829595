class Prepared: ...

class Scorer(Prepared):
    n_queries: int

class LinkScorer(Prepared):
    lanes: int
    blocks: int
