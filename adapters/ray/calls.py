"""Questions to the shards: one call a shard, to whichever replica is there, before a deadline.

A replica that was lost is asked nothing until it has answered a ping; the others of its shard answer
meanwhile. Where there are none, a question waits for the engine to bring one back, or, for who wants that,
does without.

Arguments and answers are pickled here, each in one go: the engine's own pickler asks a function in Python
about every object, 0.3 ms for a question of seven arguments and its answer, of which 0.05 are left.
"""

import contextlib
import itertools
import pickle
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from .keeper import Handles
from .routing import Map, StaleMap

T = TypeVar("T")
_PAUSE = 0.02  # seconds before a shard without a replica is tried again


class DeadlineExceeded(TimeoutError):
    """A call was not answered in time. A change may yet happen, or in part; do it again to be sure."""


class Calls:
    """The way to the shards, and to the keeper.

    Parameters
    ----------
    keeper : actor handle
    deadline : float
        Seconds for a question.
    start : float
        Seconds in which the actors must be there.

    Raises
    ------
    DeadlineExceeded
    FormatError, OSError
        When a shard cannot be opened.
    """

    def __init__(self, keeper: Any, deadline: float, start: float) -> None:
        self.keeper = keeper
        self.deadline = deadline
        self.closed = False
        self._place: tuple[Map, Handles] = self.tell("where", deadline=start)  # replicas of each shard
        self._turns = itertools.count()
        self._lost: dict[Any, Any] = {}  # replicas that were lost, and the pings that will say they are back

    @property
    def map(self) -> Map:
        """The map as it is known here."""
        return self._place[0]

    @property
    def handles(self) -> Handles:
        """The replicas of each shard."""
        return self._place[1]

    def refresh(self) -> Map:
        """Ask the keeper for the map."""
        self._place = self.tell("where")
        return self.map

    def with_map(self, ask: Callable[[Map], T]) -> T:
        """Return what `ask` returns, asked again with the new map when it meets one."""
        until = time.monotonic() + self.deadline
        while True:
            try:
                return ask(self.map)
            except StaleMap:
                if time.monotonic() > until:
                    raise DeadlineExceeded(
                        "documents moved between shards faster than they were asked"
                    ) from None
                self.refresh()

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("the collection is closed")

    # The keeper

    def tell(self, method: str, *arguments: Any, deadline: float | None = None, again: bool = True) -> Any:
        """Call the keeper.

        Parameters
        ----------
        method : str
        *arguments
        deadline : float, optional
            Seconds; by default those for a question.
        again : bool
            Whether it may be called a second time if it was lost in the middle.

        Raises
        ------
        DeadlineExceeded
            When there was no answer in time.
        """
        self._check_open()
        seconds = self.deadline if deadline is None else deadline
        until = time.monotonic() + seconds
        while True:
            try:
                return ray.get(
                    getattr(self.keeper, method).remote(*arguments), timeout=until - time.monotonic()
                )
            except RayTaskError as error:
                raise error.cause from None
            except GetTimeoutError:
                raise DeadlineExceeded(f"no answer to {method!r} in {seconds:g} s") from None
            except RayActorError:
                if not again or time.monotonic() > until:
                    raise DeadlineExceeded(
                        f"the keeper of the collection was lost during {method!r}, which may have happened"
                    ) from None
                time.sleep(_PAUSE)

    # The shards

    def processes(self) -> dict[int, list[int | None]]:
        """Return the process of each replica of each shard; None for one that is not there."""
        pings = {shard: [actor.pid.remote() for actor in actors] for shard, actors in self.handles.items()}
        found: dict[int, list[int | None]] = {}
        for shard, refs in pings.items():
            found[shard] = []
            for ref in refs:
                with contextlib.suppress(RayActorError, GetTimeoutError):
                    found[shard].append(ray.get(ref, timeout=1.0))
                    continue
                found[shard].append(None)
        return found

    def ask(
        self, method: str, arguments: Mapping[int, tuple[Any, ...]], *, partial: bool = False
    ) -> dict[int, Any]:
        """Call one replica of each shard that is named.

        Parameters
        ----------
        method : str
        arguments : mapping
            By shard.
        partial : bool
            Leave out shards of which no replica is there, instead of waiting for one.

        Raises
        ------
        StaleMap
        DeadlineExceeded
            When a shard has not answered in time.
        """
        self._check_open()
        until = time.monotonic() + self.deadline
        waiting: dict[Any, tuple[int, Any]] = {}
        for shard, given in arguments.items():
            self._send(waiting, shard, method, given, partial)
        with contextlib.suppress(RayActorError):
            refs = list(waiting)
            answers = self._got(refs, waiting, until)
            return {waiting[ref][0]: answer for ref, answer in zip(refs, answers, strict=True)}
        return self._asked(method, arguments, waiting, until, partial)

    def _asked(
        self,
        method: str,
        arguments: Mapping[int, tuple[Any, ...]],
        waiting: dict[Any, tuple[int, Any]],
        until: float,
        partial: bool,
    ) -> dict[int, Any]:
        """Collect the answers one by one; where a replica was lost, ask another."""
        answers = {}
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=max(0.0, until - time.monotonic()))
            ref = (ready or list(waiting))[0]
            try:
                (answer,) = self._got([ref], waiting, until)
                answers[waiting.pop(ref)[0]] = answer
            except RayActorError:
                shard, actor = waiting.pop(ref)
                self._lost[actor] = actor.pid.remote()
                self._send(waiting, shard, method, arguments[shard], partial)
        return answers

    def _got(self, refs: list[Any], waiting: Mapping[Any, tuple[int, Any]], until: float) -> list[Any]:
        try:
            given = ray.get(refs, timeout=max(0.0, until - time.monotonic()))
        except RayTaskError as error:
            raise error.cause from None
        except GetTimeoutError:
            late = sorted(shard for shard, _ in waiting.values())
            raise DeadlineExceeded(f"of shards {late} not all answered in {self.deadline:g} s") from None
        answers = [pickle.loads(answer) for answer in given]
        for answer in answers:
            if isinstance(answer, StaleMap):
                raise answer
        return answers

    def _send(
        self,
        waiting: dict[Any, tuple[int, Any]],
        shard: int,
        method: str,
        given: tuple[Any, ...],
        partial: bool,
    ) -> None:
        replicas = self.handles.get(shard)
        if replicas is None:
            raise StaleMap
        turn = next(self._turns)
        there = [actor for actor in replicas if self._is_there(actor)]
        if not there:
            if partial:
                return
            time.sleep(_PAUSE)
            there = replicas  # the engine keeps the call until one is back, or says that it is not
        actor = there[turn % len(there)]
        waiting[actor.answer.remote(method, pickle.dumps(given, -1))] = (shard, actor)

    def _is_there(self, actor: Any) -> bool:
        ping = self._lost.get(actor)
        if ping is None:
            return True
        if not ray.wait([ping], timeout=0)[0]:
            return False
        try:
            ray.get(ping)
        except RayActorError:
            self._lost[actor] = actor.pid.remote()
            return False
        self._lost.pop(actor, None)
        return True
