"""Parts of FAISS's own additions: data sets, evaluation, file formats of vectors, PyTorch."""
