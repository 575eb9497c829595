"""FAISS scripts on Inlay: `import inlay.adapters.faiss as faiss`.

The same calls with the same shapes, on indexes that can be filtered, changed and asked by many threads; five
families beside (`IndexLVQ`, `IndexRVQ`, `IndexLoRANN`, `IndexSymQG`, `IndexQuIVer`), by class or by string.
`install_as_faiss()` lets libraries that import faiss by themselves find this module instead.

What is meant where FAISS is ambiguous is said by the classes. Files are Inlay's own.
"""

import sys
from typing import TYPE_CHECKING

from inlay import __version__

from . import contrib
from .arrays import copy_array_to_vector, rev_swig_ptr, swig_ptr, vector_to_array
from .base import Index
from .clustering import Clustering, ClusteringIterationStats, ClusteringParameters, Kmeans
from .coded import (
    IndexLVQ,
    IndexPQ,
    IndexPQFastScan,
    IndexResidualQuantizer,
    IndexRVQ,
    IndexScalarQuantizer,
)
from .codes import ProductQuantizer, ResidualQuantizer, ScalarQuantizer
from .errors import DimensionError, IndexFileError, IndexOperationError, UnknownIdError
from .factory import index_factory
from .flat import IndexFlat, IndexFlatIP, IndexFlatL2
from .functions import (
    ResultHeap,
    downcast_index,
    downcast_Quantizer,
    downcast_VectorTransform,
    eval_intersection,
    extract_index_ivf,
    get_compile_options,
    get_num_gpus,
    is_similarity_metric,
    kmax,
    kmin,
    knn,
    merge_knn_results,
    normalize_L2,
    omp_get_max_threads,
    omp_get_num_threads,
    omp_set_num_threads,
    pairwise_distances,
    rand,
    rand_smooth_vectors,
    randint,
    randn,
    try_extract_index_ivf,
)
from .graphs import HNSW, IndexGraph, IndexHNSW, IndexHNSWFlat, IndexHNSWSQ, IndexQuIVer, IndexSymQG
from .hints import hint
from .idmap import IndexIDMap, IndexIDMap2
from .io import (
    IO_FLAG_MMAP,
    IO_FLAG_MMAP_IFC,
    IO_FLAG_ONDISK_SAME_DIR,
    IO_FLAG_PQ_SKIP_SDC_TABLE,
    IO_FLAG_READ_ONLY,
    IO_FLAG_SKIP_IVF_DATA,
    IO_FLAG_SKIP_PRECOMPUTE_TABLE,
    IO_FLAG_SKIP_STORAGE,
    clone_index,
    deserialize_index,
    read_index,
    read_VectorTransform,
    serialize_index,
    verify,
    write_index,
    write_VectorTransform,
)
from .ivf import (
    DirectMap,
    IndexIVF,
    IndexIVFFlat,
    IndexIVFLVQ,
    IndexIVFPQ,
    IndexIVFPQFastScan,
    IndexIVFResidualQuantizer,
    IndexIVFRVQ,
    IndexIVFScalarQuantizer,
    IndexLoRANN,
)
from .kind import METRIC_INNER_PRODUCT, METRIC_L2
from .limits import (
    get_deserialization_loop_limit,
    get_deserialization_vector_byte_limit,
    set_deserialization_loop_limit,
    set_deserialization_vector_byte_limit,
)
from .parameters import (
    IndexRefineSearchParameters,
    IVFPQSearchParameters,
    IVFSearchParameters,
    ParameterSpace,
    SearchParameters,
    SearchParametersGraph,
    SearchParametersHNSW,
    SearchParametersIVF,
    SearchParametersPQ,
    SearchParametersPreTransform,
)
from .pretransform import IndexPreTransform
from .refine import IndexRefine, IndexRefineFlat
from .selectors import (
    IDSelector,
    IDSelectorAll,
    IDSelectorAnd,
    IDSelectorArray,
    IDSelectorBatch,
    IDSelectorBitmap,
    IDSelectorNot,
    IDSelectorOr,
    IDSelectorRange,
    IDSelectorTranslated,
    IDSelectorXOr,
    PyCallbackIDSelector,
)
from .shards import IndexReplicas, IndexShards
from .statistics import cvar
from .stored import TrainingWarning
from .streams import (
    BufferedIOReader,
    BufferedIOWriter,
    FileIOReader,
    FileIOWriter,
    IOReader,
    IOWriter,
    PyCallbackIOReader,
    PyCallbackIOWriter,
    VectorIOReader,
    VectorIOWriter,
)
from .strids import StrIDMap
from .transforms import (
    CenteringTransform,
    HadamardRotation,
    LinearTransform,
    NormalizationTransform,
    OPQMatrix,
    PCAMatrix,
    RandomRotationMatrix,
    RemapDimensionsTransform,
    VectorTransform,
)

__all__ = [
    "HNSW",
    "IO_FLAG_MMAP",
    "IO_FLAG_MMAP_IFC",
    "IO_FLAG_ONDISK_SAME_DIR",
    "IO_FLAG_PQ_SKIP_SDC_TABLE",
    "IO_FLAG_READ_ONLY",
    "IO_FLAG_SKIP_IVF_DATA",
    "IO_FLAG_SKIP_PRECOMPUTE_TABLE",
    "IO_FLAG_SKIP_STORAGE",
    "METRIC_INNER_PRODUCT",
    "METRIC_L2",
    "BufferedIOReader",
    "BufferedIOWriter",
    "CenteringTransform",
    "Clustering",
    "ClusteringIterationStats",
    "ClusteringParameters",
    "DimensionError",
    "DirectMap",
    "FileIOReader",
    "FileIOWriter",
    "HadamardRotation",
    "IDSelector",
    "IDSelectorAll",
    "IDSelectorAnd",
    "IDSelectorArray",
    "IDSelectorBatch",
    "IDSelectorBitmap",
    "IDSelectorNot",
    "IDSelectorOr",
    "IDSelectorRange",
    "IDSelectorTranslated",
    "IDSelectorXOr",
    "IOReader",
    "IOWriter",
    "IVFPQSearchParameters",
    "IVFSearchParameters",
    "Index",
    "IndexFileError",
    "IndexFlat",
    "IndexFlatIP",
    "IndexFlatL2",
    "IndexGraph",
    "IndexHNSW",
    "IndexHNSWFlat",
    "IndexHNSWSQ",
    "IndexIDMap",
    "IndexIDMap2",
    "IndexIVF",
    "IndexIVFFlat",
    "IndexIVFLVQ",
    "IndexIVFPQ",
    "IndexIVFPQFastScan",
    "IndexIVFRVQ",
    "IndexIVFResidualQuantizer",
    "IndexIVFScalarQuantizer",
    "IndexLVQ",
    "IndexLoRANN",
    "IndexOperationError",
    "IndexPQ",
    "IndexPQFastScan",
    "IndexPreTransform",
    "IndexQuIVer",
    "IndexRVQ",
    "IndexRefine",
    "IndexRefineFlat",
    "IndexRefineSearchParameters",
    "IndexReplicas",
    "IndexResidualQuantizer",
    "IndexScalarQuantizer",
    "IndexShards",
    "IndexSymQG",
    "Kmeans",
    "LinearTransform",
    "NormalizationTransform",
    "OPQMatrix",
    "PCAMatrix",
    "ParameterSpace",
    "ProductQuantizer",
    "PyCallbackIDSelector",
    "PyCallbackIOReader",
    "PyCallbackIOWriter",
    "RandomRotationMatrix",
    "RemapDimensionsTransform",
    "ResidualQuantizer",
    "ResultHeap",
    "ScalarQuantizer",
    "SearchParameters",
    "SearchParametersGraph",
    "SearchParametersHNSW",
    "SearchParametersIVF",
    "SearchParametersPQ",
    "SearchParametersPreTransform",
    "StrIDMap",
    "TrainingWarning",
    "UnknownIdError",
    "VectorIOReader",
    "VectorIOWriter",
    "VectorTransform",
    "__version__",
    "clone_index",
    "contrib",
    "copy_array_to_vector",
    "cvar",
    "deserialize_index",
    "downcast_Quantizer",
    "downcast_VectorTransform",
    "downcast_index",
    "eval_intersection",
    "extract_index_ivf",
    "get_compile_options",
    "get_deserialization_loop_limit",
    "get_deserialization_vector_byte_limit",
    "get_num_gpus",
    "index_factory",
    "install_as_faiss",
    "is_similarity_metric",
    "kmax",
    "kmin",
    "knn",
    "lrand",
    "merge_knn_results",
    "normalize_L2",
    "omp_get_max_threads",
    "omp_get_num_threads",
    "omp_set_num_threads",
    "pairwise_distances",
    "rand",
    "rand_smooth_vectors",
    "randint",
    "randn",
    "read_VectorTransform",
    "read_index",
    "rev_swig_ptr",
    "serialize_index",
    "set_deserialization_loop_limit",
    "set_deserialization_vector_byte_limit",
    "swig_ptr",
    "try_extract_index_ivf",
    "vector_float_to_array",
    "vector_to_array",
    "verify",
    "write_VectorTransform",
    "write_index",
]

lrand = randint
vector_float_to_array = vector_to_array


def install_as_faiss() -> None:
    """Let `import faiss` find this module, for libraries that do so by themselves.

    Call it before they do. An AttributeError of this module says what it lacks.
    """
    this = sys.modules[__name__]
    parts = [name for name in sys.modules if name == __name__ or name.startswith(f"{__name__}.contrib")]
    for name in parts:
        sys.modules["faiss" + name.removeprefix(__name__)] = sys.modules[name]
    sys.modules["faiss"] = this


if not TYPE_CHECKING:  # a type checker knows which names there are

    def __getattr__(name: str) -> object:
        raise AttributeError(hint(name, __name__))
