"""What is kept of n rows coded in stages.

    StageBlocks    ceil(n / 64) blocks of 64 rows, stage after stage, then a byte of norm each where scores
                   need one (kernels/stages.hpp), for scans
    StageRows      row after row, a byte a stage or two codes of 4 bits, then the norm's byte, for walks, which
                   would touch as many cache lines of a block as there are stages

Either way M * bits / 8 (+ 1) bytes a row, all of which a search reads.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

from ..kernels.table cimport get_code, kStageRows, prefetch_bytes, put_code, stage_bytes

from ..tables import Table


cdef class StageCodes(Codes):
    """Codes of n rows: what both layouts have in common.

    Parameters
    ----------
    stages : int
    bits : {4, 8}
        Of a code.
    with_norms : bool
    size : int
        Bytes of a row of the table.
    """

    def __init__(self, Py_ssize_t stages, int bits, bint with_norms, Py_ssize_t size):
        self.stages, self.bits, self.with_norms = stages, bits, with_norms
        super().__init__({"codes": Table(np.uint8, (size,))})

    @property
    def code_size(self):
        """Bytes a row."""
        return (self.stages * self.bits + 7) // 8 + self.with_norms

    cdef uint8_t* where(self) except? NULL:
        if self.moved:
            self.at = <uint8_t*>self.address("codes")
            self.moved = False
        return self.at

    cdef void put(self, size_t slot, const uint8_t* codes, uint8_t norm) noexcept nogil:
        pass

    cdef void read(self, size_t slot, uint8_t* codes) noexcept nogil:
        pass

    cdef uint8_t norm(self, size_t slot) noexcept nogil:
        return 0

    cdef void fetch(self, size_t slot) noexcept nogil:
        pass

    def gather(self, name, slots):
        """Return what is kept of rows, each by itself: a byte a stage, and that of the norm."""
        codes, norms = self.get(np.ascontiguousarray(slots, np.int64))
        return np.concatenate([codes, norms[:, None]], axis=1) if self.with_norms else codes

    def scatter(self, name, slots, rows):
        """Let the rows of slots hold what `gather` gave."""
        cdef const int64_t[::1] slot = np.ascontiguousarray(slots, np.int64)
        cdef const uint8_t[:, ::1] row = rows
        cdef Py_ssize_t i
        self.where()
        for i in range(slot.shape[0]):
            self.put(slot[i], &row[i, 0], row[i, self.stages] if self.with_norms else 0)

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
        self.where()
        for i in range(target.shape[0]):
            self.put(target[i], NULL, 0)

    def get(self, const int64_t[::1] slots):
        """Return the codes (n, stages) of rows, a byte each, and their norms' codes (n,), zero for none."""
        cdef Py_ssize_t i
        codes, norms = np.empty((slots.shape[0], self.stages), np.uint8), np.zeros(slots.shape[0], np.uint8)
        cdef uint8_t[:, ::1] code = codes
        cdef uint8_t[::1] norm = norms
        self.where()
        for i in range(slots.shape[0]):
            self.read(slots[i], &code[i, 0])
            norm[i] = self.norm(slots[i])
        return codes, norms


cdef class StageBlocks(StageCodes):
    """Codes of n rows in blocks of 64, stage after stage.

    Parameters
    ----------
    stages : int
    bits : {4, 8}
        Of a code.
    with_norms : bool
    """

    def __init__(self, Py_ssize_t stages, int bits, bint with_norms):
        cdef size_t size = stage_bytes(bits, stages)
        self.shape.stored = self.shape.used = stages
        self.shape.norms = size if with_norms else 0
        self.shape.stride = size + (kStageRows if with_norms else 0)
        super().__init__(stages, bits, with_norms, self.shape.stride)

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
            self.where()
            for row in range(n, len(table) * kStageRows):
                self.put(row, NULL, 0)
        self.n = n

    cdef uint8_t* block(self, size_t slot) noexcept nogil:
        return self.at + slot // kStageRows * self.shape.stride

    cdef void put(self, size_t slot, const uint8_t* codes, uint8_t norm) noexcept nogil:
        cdef uint8_t* block = self.block(slot)
        cdef size_t place = slot % kStageRows, stage
        for stage in range(self.shape.stored):
            put_code(self.bits, block, self.shape.stored, place, stage, 0 if codes == NULL else codes[stage])
        if self.with_norms:
            block[self.shape.norms + place] = norm

    cdef void read(self, size_t slot, uint8_t* codes) noexcept nogil:
        cdef const uint8_t* block = self.block(slot)
        cdef size_t stage
        for stage in range(self.shape.stored):
            codes[stage] = get_code(self.bits, block, self.shape.stored, slot % kStageRows, stage)

    cdef uint8_t norm(self, size_t slot) noexcept nogil:
        return self.block(slot)[self.shape.norms + slot % kStageRows] if self.with_norms else 0

    cdef void fetch(self, size_t slot) noexcept nogil:
        # A code lies in as many lines as there are stages.
        cdef size_t stage, apart = kStageRows if self.bits == 8 else 16
        for stage in range(self.shape.stored):
            prefetch_bytes(self.block(slot) + stage * apart, 1)


cdef class StageRows(StageCodes):
    """Codes of n rows, row after row.

    Parameters
    ----------
    stages : int
    bits : {4, 8}
        Of a code.
    with_norms : bool
    """

    def __init__(self, Py_ssize_t stages, int bits, bint with_norms):
        super().__init__(stages, bits, with_norms, (stages * bits + 7) // 8 + with_norms)
        self.stride = self.code_size

    cdef uint8_t* row(self, size_t slot) noexcept nogil:
        return self.at + slot * <size_t>self.stride

    cdef void put(self, size_t slot, const uint8_t* codes, uint8_t norm) noexcept nogil:
        cdef uint8_t* row = self.row(slot)
        cdef Py_ssize_t stage
        memset(row, 0, self.stride)
        if codes == NULL:
            return
        if self.bits == 8:
            memcpy(row, codes, self.stages)
        else:
            for stage in range(self.stages):
                row[stage // 2] |= codes[stage] << 4 * (stage % 2)
        if self.with_norms:
            row[self.stride - 1] = norm

    cdef void read(self, size_t slot, uint8_t* codes) noexcept nogil:
        cdef const uint8_t* row = self.row(slot)
        cdef Py_ssize_t stage
        if self.bits == 8:
            memcpy(codes, row, self.stages)
            return
        for stage in range(self.stages):
            codes[stage] = row[stage // 2] >> 4 * (stage % 2) & 15

    cdef uint8_t norm(self, size_t slot) noexcept nogil:
        return self.row(slot)[self.stride - 1] if self.with_norms else 0

    cdef void fetch(self, size_t slot) noexcept nogil:
        prefetch_bytes(self.row(slot), self.stride)
