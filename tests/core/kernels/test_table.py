import numpy as np
import pytest

from inlay.kernels import table

KERNELS = {
    "scores": lambda at: table.scores(np.ones((2, 5), np.float32), np.ones((3, 5), np.float32), "ip", at),
    "scores_of": lambda at: table.scores_of(
        np.ones(5, np.float32), np.ones((3, 5), np.float32), np.array([2], np.uint32), "l2", at
    ),
    "dots": lambda at: table.dots(table.pack(np.ones((3, 5), np.uint8), 4), np.ones((1, 5), np.int8), 4, at),
    "grid": lambda at: table.grid(np.arange(5, dtype=np.float32), 4, False, at),
    "quantise": lambda at: table.quantise(np.arange(5, dtype=np.float32), 0.0, 1.0, 4, at),
    "residual": lambda at: table.residual(np.ones(5, np.float32), np.ones(5, np.uint8), 0.0, 1.0, 4, at),
    "expand": lambda at: table.expand(np.ones(5, np.uint8), None, 0.0, 1.0, 1, np.zeros(5, np.float32), at),
    "unpack_nibbles": lambda at: table.unpack_nibbles(np.ones(3, np.uint8), 5, at),
    "estimate": lambda at: table.estimate(
        np.ones(5, np.int32), *np.ones((2, 5), np.float32), None, None, 1.0, 1.0, np.zeros(1, np.float32), at
    ),
    "near": lambda at: table.near(
        table.lay(np.ones((3, 5), np.uint8), np.ones((3, 3), np.float32), 4, 20),
        *(np.ones(5, np.int8), 4, np.array([2], np.uint32), 1.0, 0.5, 0.0, 0.0, True, at),
    ),
    "quantise_query": lambda at: table.quantise_query(np.ones(5, np.float32), at),
    "signmag": lambda at: table.signmag(
        np.ones((3, 24), np.uint8),
        np.array([2], np.uint32),
        np.ones((4, 8), np.uint64),
        5,
        2,
        2,
        1.0,
        1.0,
        at,
    ),
    "hamming": lambda at: table.hamming(
        np.ones((3, 24), np.uint8), np.array([2], np.uint32), np.ones((2, 8), np.uint64), 5, at
    ),
    "measure": lambda at: table.measure(np.arange(5, dtype=np.float32), at),
    "digits": lambda at: table.digits(np.arange(5, dtype=np.float32), 1.5, 4, at),
    "top_k": lambda at: table.top_k(np.ones(5, np.float32), 2, None, None, at),
    "hadamard": lambda at: table.hadamard(np.ones(4, np.float32), at),
}


@pytest.fixture
def level_kept():
    before = table.level()
    yield before
    table.set_level(before)


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_level_named_is_the_level_in_use(kernel, level_kept):
    for name in table.levels():
        table.set_level(name)
        assert table.level() == name
        np.testing.assert_equal(KERNELS[kernel](None), KERNELS[kernel](name))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_level_this_cpu_lacks_is_refused(kernel):
    with pytest.raises(ValueError, match=r"no level 'avx1024'; it has scalar"):
        KERNELS[kernel]("avx1024")


def test_a_level_above_the_best_means_the_best(level_kept):
    for cap in table.LEVELS:
        table.set_level(cap)
        assert table.LEVELS.index(table.level()) <= table.LEVELS.index(cap)
        assert table.level() in table.levels()


def test_an_unknown_level_changes_nothing(level_kept):
    with pytest.raises(ValueError, match="unknown CPU level 'fast'"):
        table.set_level("fast")
    assert table.level() == level_kept


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_shapes_that_do_not_fit_never_reach_a_kernel(metric):
    rows = np.ones((3, 5), np.float32)
    with pytest.raises(ValueError, match="differ in their number of dimensions"):
        table.scores(np.ones((1, 4), np.float32), rows, metric)
    for query, ids in ((np.ones(4), [0]), (np.ones(5), [3]), (np.ones(5), [2**32 - 1])):
        with pytest.raises(ValueError, match="do not fit the rows"):
            table.scores_of(query.astype(np.float32), rows, np.array(ids, np.uint32), metric)


def test_blocks_are_not_read_past_what_they_hold():
    blocks = table.pack(np.ones((16, 8), np.uint8), 4)
    for n, dim in ((17, 8), (16, 9)):
        with pytest.raises(ValueError, match="fewer rows or dimensions"):
            table.unpack(blocks, 4, n, dim)
    for queries in (np.ones((2, 8), np.int8), np.ones((1, 9), np.int8)):
        with pytest.raises(ValueError, match="one or eight queries"):
            table.dots(blocks, queries, 4)
    with pytest.raises(ValueError, match="too few bytes"):
        table.unpack_nibbles(np.ones(2, np.uint8), 5)


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="power of two"):
        table.hadamard(np.ones(6, np.float32))
    with pytest.raises(ValueError, match="power of two"):
        table.hadamard(np.empty(0, np.float32))
    with pytest.raises(ValueError, match="at least 1"):
        table.top_k(np.ones(3, np.float32), 0)
