"""The smallest index whose rows refer to each other, so that removed ones are buried."""

from typing import Any, ClassVar

import numpy as np
from core.indexes.forms import Form

import inlay

EMPTY = np.empty(0, np.int64)


class Linked(inlay.FlatIndex):
    """Rows in a ring, each with the slot of the next: live ones lead through dead ones until it is healed."""

    __slots__ = ("_before", "_links")
    MOVES_ROWS: ClassVar[bool] = False

    def __init__(self, dim, metric="l2", *, seed=0):
        super().__init__(dim, metric, seed=seed)
        self._links = EMPTY
        self._before = None

    def _live(self):
        alive, n = self._ids.alive, self._ids.n_slots
        if alive is None:
            return np.arange(n)
        return np.flatnonzero(np.unpackbits(alive.array.view(np.uint8), bitorder="little"))

    def _store(self, rows, step):
        self._before = self._links.copy()
        super()._store(rows, lambda n: None)
        last = self._live()[-1] if len(self) else None
        for first in range(0, len(rows), 100):
            n = len(self._links)
            new = np.arange(n, n + len(rows[first : first + 100]))
            links = np.append(new[1:], new[0] if last is None else self._links[last])
            if last is not None:
                self._links[last] = new[0]
            self._links = np.concatenate([self._links, links])
            last = new[-1]
            step(len(new))

    def _commit(self):
        self._before = None

    def _truncate(self, n):
        super()._truncate(n)
        self._links = self._links[:n] if self._before is None else self._before
        self._before = None

    def _heal(self, alive):
        links, live = self._links.copy(), self._live()
        assert (len(live), len(links)) == (alive.count, alive.n)
        links[live] = np.roll(live, -1)
        self._links = links

    def _move(self, sources, targets):
        super()._move(sources, targets)
        names = np.arange(len(self._links))
        names[sources] = targets
        self._links[targets] = self._links[sources]
        self._links = names[self._links]

    def _clear(self):
        super()._clear()
        self._links = EMPTY

    def _search(self, queries, k, allowed, effort):
        self.check(allowed)
        return super()._search(queries, k, allowed, effort)

    def _range(self, queries, radii, allowed):
        self.check(allowed)
        return super()._range(queries, radii, allowed)

    def _state(self):
        fields, sections = super()._state()
        return fields, {**sections, "links": self._links}

    def _restore(self, header, sections, n):
        super()._restore(header, sections, n)
        self._links = sections.take("links", np.int64, (n,)).copy()

    def check(self, allowed=None):
        """The ring leads past every live row, and a search is never told of a dead one."""
        live, n = self._live().tolist(), self._ids.n_slots
        assert self._before is None
        assert len(self._links) == n
        assert len(self) == len(live)
        assert self._ids.alive is None or allowed is not None
        if allowed is not None and self._ids.alive is not None:
            assert not (allowed.array & ~self._ids.alive.array).any()
        passed = []
        at = live[0] if live else None
        while at is not None and (not passed or at != live[0]):
            passed.append(at)
            at = int(self._links[at])
            assert 0 <= at < n
            assert len(passed) <= n
        assert set(live) <= set(passed)

    @property
    def n_dead(self):
        """How many slots are dead."""
        return self._ids.n_slots - len(self)


class LinkedForm(Form):
    """Makes such indexes where forms of the families are expected."""

    def untrained(self, dim: int, metric: str = "l2") -> Any:
        return Linked(dim, metric)


LINKED = LinkedForm("Linked", exact=True)
