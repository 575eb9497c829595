"""Kinds of codes, each with what FAISS calls it, what the core does, and what `index.pq` and the like show.

A scalar quantiser here is LVQ: each row has a grid of its own, so that no row's numbers are clipped.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

import inlay
from inlay.codecs.additive import AdditiveCodec
from inlay.indexes.coded import CodedIndex

from .arrays import F32, as_int
from .errors import IndexOperationError

# FAISS's numbers, and the LVQ code that keeps as much: 6 bits are kept in 8; halves, and whole numbers as
# they are, in two levels of 8.
QT = {
    "QT_8bit": 0,
    "QT_4bit": 1,
    "QT_8bit_uniform": 2,
    "QT_4bit_uniform": 3,
    "QT_fp16": 4,
    "QT_8bit_direct": 5,
    "QT_6bit": 6,
    "QT_bf16": 7,
    "QT_8bit_direct_signed": 8,
}
LVQ_OF = {
    "QT_8bit": "LVQ8",
    "QT_4bit": "LVQ4",
    "QT_8bit_uniform": "LVQ8",
    "QT_4bit_uniform": "LVQ4",
    "QT_fp16": "LVQ8x8",
    "QT_8bit_direct": "LVQ8x8",
    "QT_6bit": "LVQ8",
    "QT_bf16": "LVQ8x8",
    "QT_8bit_direct_signed": "LVQ8x8",
}
# What `index_factory` calls them. Uniform quantisers, of one grid in FAISS, are what the others are here.
SQ_NAMES = {
    "QT_8bit": "SQ8",
    "QT_4bit": "SQ4",
    "QT_8bit_uniform": "SQ8",
    "QT_4bit_uniform": "SQ4",
    "QT_fp16": "SQfp16",
    "QT_8bit_direct": "SQ8_direct",
    "QT_6bit": "SQ6",
    "QT_bf16": "SQbf16",
    "QT_8bit_direct_signed": "SQ8_direct_signed",
}
# Those that know how to code rows without having seen any.
BORN_TRAINED = ("QT_fp16", "QT_8bit_direct", "QT_bf16", "QT_8bit_direct_signed")


class ScalarQuantizer:
    """What a scalar quantiser was made with.

    Parameters
    ----------
    d : int
    qtype : int
        One of the constants below.
    """

    QT_8bit = QT["QT_8bit"]
    QT_4bit = QT["QT_4bit"]
    QT_8bit_uniform = QT["QT_8bit_uniform"]
    QT_4bit_uniform = QT["QT_4bit_uniform"]
    QT_fp16 = QT["QT_fp16"]
    QT_8bit_direct = QT["QT_8bit_direct"]
    QT_6bit = QT["QT_6bit"]
    QT_bf16 = QT["QT_bf16"]
    QT_8bit_direct_signed = QT["QT_8bit_direct_signed"]

    def __init__(self, d: int, qtype: int) -> None:
        self.d = as_int(d, "d", 1)
        self.qtype = as_int(qtype, "qtype")
        name = next((name for name, number in QT.items() if number == self.qtype), None)
        if name is None:
            raise IndexOperationError(f"scalar quantiser number {qtype} is not there; {', '.join(QT)} are")
        self.name, self.code, self.learns = SQ_NAMES[name], LVQ_OF[name], name not in BORN_TRAINED

    def prepare(self, core: inlay.Index) -> None:
        """Let an index without rows take some, where FAISS does so without training."""
        if not self.learns:
            core.train(np.zeros((1, self.d), np.float32))


def lvq_name(bits: int, residual_bits: int) -> str:
    """Return what the core calls an LVQ code."""
    return f"LVQ{bits}" + (f"x{residual_bits}" if residual_bits else "")


def of_bits(nbits: int) -> int:
    """Return the bits of a code that the core has: 4 or 8."""
    bits = as_int(nbits, "nbits")
    if bits not in (4, 8):
        raise IndexOperationError(f"codes of {bits} bits are not there; those of 4 and 8 are")
    return bits


@dataclass(frozen=True)
class ProductQuantizer:
    """What `index.pq` shows of a product quantiser.

    Attributes
    ----------
    d, M, nbits, ksub, dsub, code_size : int
        Dimensions, groups of them, bits of a group's code, codewords and dimensions a group, bytes a row.
    centroids : float32 (M * ksub * dsub,)
        Codewords, group after group; empty before training.
    """

    d: int
    M: int
    nbits: int
    centroids: F32

    @property
    def ksub(self) -> int:
        """Codewords a group."""
        return 1 << self.nbits

    @property
    def dsub(self) -> int:
        """Dimensions a group."""
        return self.d // self.M

    @property
    def code_size(self) -> int:
        """Bytes a row."""
        return (self.M * self.nbits + 7) // 8


@dataclass(frozen=True)
class ResidualQuantizer:
    """What `index.rq` shows of a residual quantiser.

    Attributes
    ----------
    d, M : int
        Dimensions, and stages.
    nbits : int array (M,)
        Bits of each stage's code.
    max_beam_size : int
        Partial codes that coding keeps.
    codebooks : float32 (M * 2^nbits, d)
        Codewords, stage after stage; empty before training.
    """

    d: int
    M: int
    nbits: Any
    max_beam_size: int
    codebooks: F32


def product_quantizer(core: inlay.Index) -> ProductQuantizer:
    """Return what `index.pq` shows of an index of the core."""
    codec = _codec(core)
    return ProductQuantizer(codec.dim, codec.stages, codec.bits, _codewords(codec).reshape(-1))


def residual_quantizer(core: inlay.Index) -> ResidualQuantizer:
    """Return what `index.rq` shows of an index of the core."""
    codec = _codec(core)
    words = _codewords(codec)
    if words.size:
        # Codewords lie in the codec's own directions, about its own centre.
        words = codec.basis.invert(words) - codec.basis.invert(np.zeros((1, words.shape[1]), np.float32))
    bits = np.full(codec.stages, codec.bits)
    return ResidualQuantizer(codec.dim, codec.stages, bits, codec.beam, words)


def _codec(core: inlay.Index) -> AdditiveCodec:
    assert isinstance(core, CodedIndex)
    codec = core.codecs[0]
    assert isinstance(codec, AdditiveCodec)
    return codec


def _codewords(codec: AdditiveCodec) -> F32:
    if not codec.is_trained:
        return np.empty((0, codec.dim), np.float32)
    books = [np.asarray(codec.books.get(stage), np.float32) for stage in range(codec.stages)]
    if len({book.shape for book in books}) > 1:
        return np.concatenate([book.reshape(-1) for book in books])
    return np.concatenate(books)
