"""All SIMD of the package, and nothing else: one kernel family a header, every CPU level side by side.

`table.pyx` is the only module that compiles every level. It resolves the level once (`INLAY_ISA` caps it) and
gives everybody else a table of function pointers; kernels are called a batch at a time. Its Python functions,
and those of `links.pyx`, run any kernel at any level for the tests.
"""
