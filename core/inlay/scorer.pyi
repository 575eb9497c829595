class Scorer:
    n_queries: int

class LinkScorer:
    lanes: int
    blocks: int
