class Scorer:
    n_queries: int
