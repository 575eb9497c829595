"""Codecs: how rows become codes, and how codes are scored against queries.

A `Codec` turns float rows into `Codes`, the tables that hold one kind of code for n rows, and back. A
`Scorer` is a batch of queries prepared against such codes; it scores runs of rows or named rows without the
GIL. All scores are *smaller is nearer*; the index turns them back into its metric's own values.
"""
