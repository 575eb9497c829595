# Nothing here is for Python: `explore` is for other Cython modules.
