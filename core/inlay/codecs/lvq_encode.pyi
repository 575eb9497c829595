# Nothing here is for Python: `encode_rows` is for other Cython modules.
