"""Names of FAISS that are not here: what to say when one is asked for."""

# By how names begin; the first that fits.
HINTS = (
    ("IndexBinary", "binary vectors are not there"),
    ("index_binary", "binary vectors are not there"),
    ("read_index_binary", "binary vectors are not there"),
    ("write_index_binary", "binary vectors are not there"),
    ("Gpu", "there is no GPU here; get_num_gpus() says 0"),
    ("StandardGpu", "there is no GPU here; get_num_gpus() says 0"),
    ("index_cpu_to", "there is no GPU here; get_num_gpus() says 0"),
    ("index_gpu_to", "there is no GPU here; get_num_gpus() says 0"),
    ("IndexLSH", "see IndexQuIVer, which keeps two bits a dimension"),
    ("IndexNSG", "see IndexHNSWFlat"),
    ("IndexNNDescent", "see IndexHNSWFlat"),
    ("IndexHNSWPQ", "see IndexHNSWSQ, or IndexSymQG"),
    ("IndexHNSW2Level", "see IndexHNSWSQ"),
    ("IndexIVFPQR", "see IndexRefineFlat over an IndexIVFPQ"),
    ("MultiIndexQuantizer", "see IndexHNSWFlat as a quantizer"),
    ("IndexLattice", "see IndexLVQ"),
    ("IndexRaBitQ", "see IndexQuIVer, or IndexLVQ of 4 bits"),
    ("IndexIVFRaBitQ", "see IndexIVFLVQ of 4 bits"),
    ("IndexLocalSearch", "see IndexRVQ"),
    ("IndexIVFLocalSearch", "see IndexIVFRVQ"),
    ("IndexProduct", "see IndexRVQ"),
    ("IndexIVFProduct", "see IndexIVFRVQ"),
    ("IndexResidualQuantizerFastScan", "see IndexRVQ of 4 bits, which is one"),
    ("IndexSVS", "see IndexLVQ, and IndexHNSW over LVQ"),
    ("METRIC_", "METRIC_L2 and METRIC_INNER_PRODUCT are there"),
    ("ITQ", "see OPQMatrix"),
    ("InvertedLists", "inverted lists are not to be taken apart"),
    ("ArrayInvertedLists", "inverted lists are not to be taken apart"),
    ("OnDiskInvertedLists", "read_index(path, IO_FLAG_MMAP) leaves rows on the disk"),
    ("swigfaiss", "there is no SWIG here"),
    ("cast_integer_to", "addresses are no arguments here; give arrays"),
    ("fvec_", "see knn and pairwise_distances"),
    ("OperatingPoint", "set effort by SearchParameters or ParameterSpace"),
)


def hint(name: str, module: str) -> str:
    """Return what an AttributeError says of a name."""
    for beginning, text in HINTS:
        if name.startswith(beginning):
            return f"module {module!r} has no {name!r}: {text}"
    return f"module {module!r} has no attribute {name!r}"
