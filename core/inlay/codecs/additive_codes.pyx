"""What is kept of n rows coded in stages.

    codes      ceil(n / 64) blocks of 64 rows, stage after stage, then a byte of norm each where scores need
               one: kernels/stages.hpp

so M * bits / 8 (+ 1) bytes a row, all of which a scan reads.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t

from ..kernels.table cimport get_code, kStageRows, put_code, stage_bytes

from ..tables import Table


cdef class StageCodes(Codes):
    """Codes of n rows.

    Parameters
    ----------
    stages : int
    bits : {4, 8}
        Of a code.
    with_norms : bool
    """

    def __init__(self, Py_ssize_t stages, int bits, bint with_norms):
        cdef size_t size = stage_bytes(bits, stages)
        self.stages, self.bits = stages, bits
        self.shape.stored = self.shape.used = stages
        self.shape.norms = size if with_norms else 0
        self.shape.stride = size + (kStageRows if with_norms else 0)
        super().__init__({"codes": Table(np.uint8, (self.shape.stride,))})

    @property
    def code_size(self):
        """Bytes a row."""
        return (self.shape.stride + kStageRows - 1) // kStageRows

    cdef uint8_t* where(self) except? NULL:
        if self.moved:
            self.blocks = <uint8_t*>self.address("codes")
            self.moved = False
        return self.blocks

    def length(self, name, Py_ssize_t n):
        """Return how many blocks n rows take."""
        return (n + kStageRows - 1) // kStageRows

    def resize(self, Py_ssize_t n):
        """Keep the first n rows, or make room for more; places without a row hold zeros."""
        self.moved = True
        table = self.tables["codes"]
        cdef Py_ssize_t had = len(table), row
        if n < self.n and n % kStageRows:
            self.own()
        table.resize(self.length("codes", n))
        if len(table) > had:
            # Every row writes the whole of its place, so only the last block can keep some without one.
            table.rows[len(table) - 1] = 0
        elif n <= self.n and n % kStageRows and not table.mapped:
            for row in range(n, len(table) * kStageRows):
                self.put(row, NULL, 0)
        self.n = n

    cdef int put(self, Py_ssize_t row, const uint8_t* codes, uint8_t norm) except -1:
        cdef uint8_t* block = self.where() + row // <Py_ssize_t>kStageRows * self.shape.stride
        cdef Py_ssize_t stage
        for stage in range(self.stages):
            put_code(
                self.bits, block, self.stages, row % kStageRows, stage, 0 if codes == NULL else codes[stage]
            )
        if self.shape.norms:
            block[self.shape.norms + row % kStageRows] = norm
        return 0

    def gather(self, name, slots):
        """Return what is kept of rows, each by itself: a byte a stage, and that of the norm."""
        codes, norms = self.get(np.ascontiguousarray(slots, np.int64))
        return np.concatenate([codes, norms[:, None]], axis=1) if self.shape.norms else codes

    def scatter(self, name, slots, rows):
        """Let the rows of slots hold what `gather` gave."""
        cdef const int64_t[::1] slot = np.ascontiguousarray(slots, np.int64)
        cdef const uint8_t[:, ::1] row = rows
        cdef Py_ssize_t i
        for i in range(slot.shape[0]):
            self.put(slot[i], &row[i, 0], row[i, self.stages] if self.shape.norms else 0)

    def pack(self, slots):
        """Return all that is kept of rows, each by itself, uint8 (n, bytes): two codes of 4 bits a byte."""
        packed = self.gather("codes", slots)
        if self.bits == 8:
            return packed
        codes = np.zeros((len(packed), self.stages + self.stages % 2), np.uint8)
        codes[:, : self.stages] = packed[:, : self.stages]
        return np.concatenate([codes[:, ::2] | codes[:, 1::2] << 4, packed[:, self.stages :]], axis=1)

    def unpack(self, packed):
        """Append rows that `pack` gave."""
        cdef Py_ssize_t first = self.n
        rows = np.ascontiguousarray(packed)
        if self.bits == 4:
            pairs, norms = np.split(rows, [(self.stages + 1) // 2], axis=1)
            codes = np.stack([pairs & 15, pairs >> 4], axis=2).reshape(len(rows), -1)
            rows = np.concatenate([codes[:, : self.stages], norms], axis=1)
        self.resize(first + len(rows))
        self.own()
        self.scatter("codes", np.arange(first, first + len(rows)), rows)

    def blank(self, targets):
        """Let the rows of targets hold zeros."""
        self.own()
        cdef const int64_t[::1] target = np.ascontiguousarray(targets, np.int64)
        cdef Py_ssize_t i
        for i in range(target.shape[0]):
            self.put(target[i], NULL, 0)

    def get(self, const int64_t[::1] slots):
        """Return the codes (n, stages) of rows, a byte each, and their norms' codes (n,), zero for none."""
        cdef uint8_t* blocks = self.where()
        cdef uint8_t* block
        cdef Py_ssize_t i, stage
        codes, norms = np.empty((slots.shape[0], self.stages), np.uint8), np.zeros(slots.shape[0], np.uint8)
        cdef uint8_t[:, ::1] code = codes
        cdef uint8_t[::1] norm = norms
        for i in range(slots.shape[0]):
            block = blocks + slots[i] // <Py_ssize_t>kStageRows * self.shape.stride
            for stage in range(self.stages):
                code[i, stage] = get_code(self.bits, block, self.stages, slots[i] % kStageRows, stage)
            if self.shape.norms:
                norm[i] = block[self.shape.norms + slots[i] % kStageRows]
        return codes, norms
