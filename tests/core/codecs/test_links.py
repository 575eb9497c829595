"""What vertices keep of their links: the definition's bytes, and estimates as good as those of one step."""

from functools import cache

import numpy as np
import pytest

import reference
import reference_fastscan as fastscan
import reference_rabitq as rabitq
from inlay.codecs import probe
from inlay.codecs.links import LinkCodes, LinkQueries, lanes_of
from inlay.codecs.lvq import LVQCodec
from inlay.codecs.rabitq import PQ4, RaBitQ
from inlay.contents import Sections
from inlay.kernels import table
from tests.awkward import KINDS, at_page_end, rows

NONE = 2**32 - 1
SEED = 5
DIMS = (1, 2, 3, 31, 63, 64, 65, 1000, 1025, 4096)
metrics = pytest.mark.parametrize("squared_l2", [True, False], ids=["l2", "ip"])
# What codes links, and how many of them together.
CODERS = {
    "rabitq1": lambda dim: (RaBitQ(dim), 32),
    "rabitq1, 64": lambda dim: (RaBitQ(dim, 1, 6), 64),
    "rabitq3": lambda dim: (RaBitQ(dim, 3), 32),
    "rabitq8, 64": lambda dim: (RaBitQ(dim, 8, 6), 64),
    "pq4": lambda dim: (PQ4(dim), 32),
    "pq4 of 8": lambda dim: (PQ4(dim, 8), 32),
}
coders = pytest.mark.parametrize("name", CODERS)


class Linked:
    """Rows in LVQ codes, their links, and the codes of these."""

    def __init__(self, x, places, name, squared_l2=True, threads=1):
        self.dim, self.squared_l2, self.places = x.shape[1], squared_l2, places
        self.codec = LVQCodec(self.dim, squared_l2, 8, 0, 1, SEED, layout="rows")
        self.codec.train(x)
        self.codes = self.codec.encode(x)
        self.coder, self.lanes = CODERS[name](self.dim)
        self.links = LinkCodes(self.coder, places.shape[1])
        self.links.resize(len(x))
        self.encode(None, threads)
        # What links are coded from, and the norms that go with it.
        about = np.zeros(self.dim, np.float32) if squared_l2 else self.codec.centre
        self.rows, self.norms = rabitq.framed(self.codes.tables["codes"].rows, self.dim, about)

    def encode(self, vertices, threads=1):
        frame = self.codec.frame
        self.links.encode_links(
            self.coder, self.codes, frame, self.squared_l2, self.places, vertices, threads
        )

    @property
    def bytes(self):
        return self.links.tables["link_codes"].rows

    def blocks(self, vertex):
        size = (self.places.shape[1], self.lanes, self.coder.planes, self.coder.groups)
        return rabitq.blocks_of(self.bytes[vertex], *size)

    def definition(self, vertex, link):
        o, c, more = self.rows[link], self.rows[vertex], float(self.norms[link] - self.norms[vertex])
        if isinstance(self.coder, PQ4):
            return rabitq.pq4(o, c, self.coder.centroids, self.squared_l2, more)
        return rabitq.rabitq(o, c, self.coder.bits, self.coder.width, self.squared_l2, more)

    def ahead(self, queries, threads=1):
        near = self.codec.scorer(queries, self.codes, threads)
        return LinkQueries(self.coder, self.links, near, threads)

    def framed(self, query):
        """A query as it meets rows in their frame."""
        codec = reference.LVQ(8, 0, self.squared_l2, self.codec.centre, self.codec.means, SEED)
        return codec.centred(query)

    def exact(self, query):
        """Scores of the rows as their codes have them, float64."""
        y = rabitq.wide(self.framed(query))
        product = rabitq.wide(self.rows) @ y
        return y @ y + rabitq.wide(self.norms) - 2 * product if self.squared_l2 else -product


def drawn(n, degree, seed=0, *, holes=True):
    """Links to any of n vertices; some places name none."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, n, (n, degree)).astype(np.uint32)
    if holes:
        places[rng.random(places.shape) < 0.2] = NONE
        places[rng.random(places.shape) < 0.05] = n
    return places


def made(name, n=6, dim=40, blocks=1, squared_l2=True, kind="gaussian", **options):
    lanes = CODERS[name](dim)[1]
    return Linked(1 + rows(kind, n, dim), drawn(n, blocks * lanes), name, squared_l2, **options)


# The bytes are those of the definition


@coders
@metrics
@pytest.mark.parametrize("dim", DIMS)
def test_a_vertex_holds_its_links_as_they_are_coded_one_by_one(name, dim, squared_l2):
    linked = made(name, 3, dim, 1 if dim >= 1000 else 2, squared_l2)
    definition = cache(linked.definition)
    for vertex, places in enumerate(linked.places):
        for number, block in enumerate(linked.blocks(vertex)):
            for lane in range(linked.lanes):
                link = int(places[number * linked.lanes + lane])
                if link >= len(linked.codes):
                    assert (block.adds[lane], block.rescales[lane]) == (0x7F80, 0)
                    assert not block.codes[:, lane].any()
                    continue
                wanted = definition(vertex, link)
                np.testing.assert_array_equal(block.codes[:, lane], wanted.codes)
                assert block.adds[lane] == rabitq.half(wanted.add)
                assert block.rescales[lane] == rabitq.half(wanted.rescale)


@coders
@pytest.mark.parametrize("kind", ["zeros", "constant", "one outlier", "large", "tiny", "two values"])
def test_rows_of_every_kind_have_finite_factors_as_near_as_bfloat16_is(name, kind):
    linked = made(name, kind=kind)
    definition = cache(linked.definition)
    for vertex, places in enumerate(linked.places):
        for number, block in enumerate(linked.blocks(vertex)):
            for lane in range(linked.lanes):
                link = int(places[number * linked.lanes + lane])
                if link < len(linked.codes):
                    wanted = definition(vertex, link)
                    for found, exact in ((block.adds, wanted.add), (block.rescales, wanted.rescale)):
                        value = float(fastscan.widened(found)[lane])
                        assert abs(value - exact) <= 2.0**-8 * abs(exact) + 1e-40


@coders
@metrics
@pytest.mark.parametrize("dim", [7, 40, 130])
def test_bytes_are_the_same_at_every_level_and_with_any_number_of_threads(level, name, dim, squared_l2):
    found = made(name, 50, dim, 2, squared_l2, threads=2).bytes
    table.set_level("scalar")
    np.testing.assert_array_equal(found, made(name, 50, dim, 2, squared_l2).bytes)


@coders
def test_a_row_of_links_ends_in_zeros_whatever_memory_held(name):
    linked = made(name, 9, 33)
    linked.bytes[:] = 0xA5
    linked.encode(None)
    used = linked.links.degree // linked.lanes * linked.links.block
    assert linked.bytes.shape == (9, -(-used // 64) * 64)
    assert not linked.bytes[:, used:].any()


@coders
def test_only_the_vertices_named_are_coded_anew(name):
    linked = made(name, 40)
    before = linked.bytes.copy()
    linked.places[:] = drawn(40, linked.places.shape[1], 1)
    for some in ([], [3], [39, 0, 7]):
        linked.encode(np.array(some, np.uint32), 2)
    whole = linked.bytes.copy()
    linked.encode(None)
    others = np.setdiff1d(np.arange(40), [0, 3, 7, 39])
    np.testing.assert_array_equal(whole[others], before[others])
    np.testing.assert_array_equal(whole[[0, 3, 7, 39]], linked.bytes[[0, 3, 7, 39]])
    assert (whole[[0, 3, 7, 39]] != before[[0, 3, 7, 39]]).any(axis=1).all()


@coders
@metrics
def test_neither_order_nor_numbers_of_vertices_matter(name, squared_l2, rng):
    x, lanes = rows("gaussian", 30, 24), CODERS[name](24)[1]
    linked = Linked(x, drawn(30, lanes), name, squared_l2)
    before, order = linked.bytes.copy(), rng.permutation(30)
    renamed = np.append(np.argsort(order), NONE).astype(np.uint32)
    linked.places[:] = renamed[np.minimum(linked.places[order], 30)]
    linked.codes = linked.codec.encode(np.ascontiguousarray(x[order]))
    linked.encode(None, 2)
    np.testing.assert_array_equal(linked.bytes, before[order])


def test_links_over_a_file_are_copied_before_they_are_coded_anew():
    linked = made("rabitq1", 20)
    arrays = {name: at_page_end(held) for name, held in linked.links.sections(20).items()}
    before = arrays["link_codes"].copy()
    links = LinkCodes(linked.coder, linked.links.degree)
    links.restore(Sections(arrays, "a file", {}), 20)
    queries, linked.links = rows("gaussian", 1, 40), links
    found, _ = probe.link_scores(linked.ahead(queries), 0, 19, 1, np.inf)
    assert np.isfinite(found[linked.places[19] < 20]).all()
    linked.places[:] = drawn(20, linked.places.shape[1], 1)
    linked.encode(np.arange(5, dtype=np.uint32))
    np.testing.assert_array_equal(arrays["link_codes"], before)
    assert (linked.bytes[:5] != before[:5]).any(axis=1).all()
    np.testing.assert_array_equal(linked.bytes[5:], before[5:])


# Estimates


@coders
@metrics
@pytest.mark.parametrize("dim", [1, 24, 65, 300])
def test_estimates_are_the_bits_of_the_definition(level, name, dim, squared_l2):
    linked, queries = made(name, 6, dim, 2, squared_l2), rows("gaussian", 3, dim, seed=9)
    ahead = linked.ahead(queries, 2)
    assert (ahead.lanes, ahead.blocks) == (linked.lanes, 2)
    for q, query in enumerate(queries):
        tables, step, shift = probe.link_tables(linked.coder, linked.framed(query))
        for vertex in range(6):
            base = np.float32(linked.exact(query)[vertex])
            wanted = np.concatenate(
                [
                    fastscan.estimates(
                        fastscan.sums(block.codes, tables), block.adds, block.rescales, base, step, shift
                    )
                    for block in linked.blocks(vertex)
                ]
            )
            for worst in (np.inf, -np.inf, np.median(wanted[np.isfinite(wanted)])):
                found, below = probe.link_scores(ahead, q, vertex, base, worst)
                np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))
                np.testing.assert_array_equal(below, wanted < np.float32(worst))


@coders
@metrics
@pytest.mark.parametrize("kind", KINDS)
def test_where_there_is_no_link_nothing_is_below_the_worst(name, squared_l2, kind):
    linked = made(name, kind=kind, squared_l2=squared_l2)
    ahead = linked.ahead(rows(kind, 2, 40, seed=4))
    for q in range(2):
        for vertex in range(6):
            for base in (-1e30, 0, 1e30):
                found, below = probe.link_scores(ahead, q, vertex, base, np.inf)
                assert not below[linked.places[vertex] >= 6].any()
                np.testing.assert_array_equal(below, np.isfinite(found))


@coders
@metrics
def test_links_to_rows_equal_to_the_vertex_have_its_score(name, squared_l2):
    x = np.tile(rows("gaussian", 3, 33), (3, 1))
    linked = Linked(x, drawn(9, CODERS[name](33)[1], holes=False), name, squared_l2)
    ahead = linked.ahead(rows("gaussian", 1, 33, seed=1))
    for vertex in range(9):
        base = np.float32(0.1 + vertex)
        found, below = probe.link_scores(ahead, 0, vertex, base, base)
        equal = linked.places[vertex] % 3 == vertex % 3
        assert equal.any()
        assert (found[equal] == base).all()
        assert not below[equal].any()


@coders
@metrics
@pytest.mark.parametrize("query", ["zeros", "constant", "one-hot"])
def test_queries_of_every_kind_have_finite_estimates(name, squared_l2, query):
    linked = made(name, 8, 65, squared_l2=squared_l2)
    y = {"zeros": np.zeros(65), "constant": np.full(65, -3), "one-hot": 5 * np.eye(65)[64]}[query]
    y = y.astype(np.float32)
    ahead = linked.ahead(y[None])
    for vertex, places in enumerate(linked.places):
        base = linked.exact(y)[vertex]
        found, _ = probe.link_scores(ahead, 0, vertex, base, np.inf)
        assert np.isfinite(found[places < 8]).all()


@metrics
@pytest.mark.parametrize(("name", "bits"), [("rabitq1", 1), ("rabitq1, 64", 1), ("rabitq3", 3)])
def test_estimates_are_as_near_as_their_rescale_says(name, bits, squared_l2):
    """Seed 6, 9,600 links and more: floors are 1 % below what a Gaussian has within 1.9 and 3.29 deviations.

    A step leads towards other rows, and so towards queries that are drawn like them: a quarter of a query's
    squared distance lies along the step, where a code is exact.
    """
    dim, n = 128, 100
    x = np.random.default_rng(6).standard_normal((n + 3, dim), np.float32)
    degree = CODERS[name](dim)[1]
    linked = Linked(x[:n], drawn(n, degree, 6, holes=False), name, squared_l2)
    ahead, off = linked.ahead(x[n:]), []
    for q, query in enumerate(x[n:]):
        exact = linked.exact(query)
        far = np.linalg.norm(linked.rows - linked.framed(query), axis=1)
        for vertex, places in enumerate(linked.places):
            found, _ = probe.link_scores(ahead, q, vertex, exact[vertex], np.inf)
            rescales = np.concatenate([fastscan.widened(b.rescales) for b in linked.blocks(vertex)])
            deviations = rabitq.SPREAD * np.abs(rescales) * far[vertex]
            other = places != vertex
            off.append((found - exact[places])[other] / deviations[other])
    errors = np.concatenate(off)
    assert np.mean(np.abs(errors) <= 1.9) >= 0.93
    assert np.mean(np.abs(errors) <= 3.29) >= 0.997
    assert abs(errors.mean()) < 0.05
    if bits == 1:
        assert 0.8 <= errors.std() <= 0.95


def test_more_bits_estimate_better():
    x = np.random.default_rng(7).standard_normal((60, 96), np.float32)
    query, off = x[59], []
    for name in ("rabitq1", "rabitq3", "rabitq8, 64"):
        linked = Linked(x, drawn(60, 64, 7, holes=False), name)
        exact, ahead = linked.exact(query), linked.ahead(x[59:])
        found = [
            probe.link_scores(ahead, 0, v, exact[v], np.inf)[0] - exact[linked.places[v]] for v in range(60)
        ]
        off.append(np.sqrt(np.mean(np.square(found))))
    assert off[1] < 0.35 * off[0]
    assert off[2] < 0.25 * off[1]


# Batches and sizes


@coders
def test_a_query_has_the_same_estimates_in_any_batch_and_with_any_number_of_threads(name):
    linked, queries = made(name, 20), rows("gaussian", 40, 40, seed=2)
    together = linked.ahead(queries, 2)
    for q in (0, 1, 17, 39):
        alone = linked.ahead(queries[q : q + 1])
        for vertex in (0, 19):
            wanted = probe.link_scores(alone, 0, vertex, 3, 2)
            np.testing.assert_equal(probe.link_scores(together, q, vertex, 3, 2), wanted)


@coders
def test_no_queries_and_no_vertices_are_fine(name):
    linked = made(name)
    assert linked.ahead(np.empty((0, 40), np.float32)).blocks == 1
    none = LinkCodes(linked.coder, linked.lanes)
    empty = linked.codec.encode(np.empty((0, 40), np.float32))
    places = np.empty((0, linked.lanes), np.uint32)
    none.encode_links(linked.coder, empty, linked.codec.frame, True, places, None, 1)
    assert len(none) == 0
    linked.links, linked.codes = none, empty
    assert linked.ahead(rows("gaussian", 1, 40)).lanes == linked.lanes


@pytest.mark.parametrize("degree", [32, 64, 96, 128, 192, 256])
def test_links_are_scored_64_at_a_time_where_they_can_be(degree):
    lanes = lanes_of(degree, "rabitq1")
    assert lanes == (32 if degree in (32, 96) else 64)
    assert lanes_of(degree, "pq4") == 32
    coder = RaBitQ(100, 2, 4 if lanes == 32 else 6)
    links = LinkCodes(coder, degree)
    # Two planes of a nibble for four dimensions, or of six bits for six, whole fours of them; then factors.
    assert links.code == 2 * (25 * 16 if lanes == 32 else 20 * 48)
    assert links.block == links.code + 4 * lanes
    assert links.stride % 64 == 0
    assert 0 <= links.stride - degree // lanes * links.block < 64


@pytest.mark.parametrize("degree", [1, 31, 33, 48, 80])
def test_a_degree_that_no_block_holds_is_refused(degree):
    with pytest.raises(ValueError, match=f"degree must be a multiple of 32, not {degree}"):
        lanes_of(degree, "rabitq1")
