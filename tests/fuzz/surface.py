"""The rest of the public API, with the machine's rules around it: what is looked at, misused, dropped, copied and closed."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis.stateful import rule

from aiolots import DeadlockError, LockStatistics, decode, set_loop_block_policy
from tests.fuzz import model
from tests.fuzz.machine import PICKS, Machine, Picks
from tests.fuzz.model import Action, Program, State
from tests.fuzz.stage import LOOPS, Attempt, Place
from tests.fuzz.subject import MUTEX, request_of
from tests.worlds import assert_idle

COPIERS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda lock: pickle.loads(pickle.dumps(lock)),
}


@contextmanager
def one_warning(kind: type[Warning]) -> Iterator[None]:
    """Exactly one warning comes, of that kind."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        if not caught:  # where it is not the count alone that frees
            gc.collect()
    assert [warning.category for warning in caught] == [kind]


class Surface(Machine):
    """Everything that Machine does, and the public API around it. For the locks of aiolots."""

    # --- looking ----------------------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def look(self, pick: Picks) -> None:
        """What a lock says of itself, asked from anywhere."""
        place = pick.of(self.free())
        self.says(f"look, at {place}")
        for kind, lock in enumerate(self.locks):
            self.stage.do(place, lambda kind=kind, lock=lock: self._compare(kind, lock, self.states[kind]))  # type: ignore[misc]
        self.check()

    def _compare(self, kind: int, lock: Any, state: State) -> None:
        writes = state.writer is not None and not state.drains
        waiting = [*state.queue, *([state.writer] if state.drains and state.writer is not None else [])]
        assert lock.is_locked() == bool(state.holders)
        if self.subject.kinds[kind] is MUTEX:
            assert lock.locked() == bool(state.holders)
        else:
            assert lock.is_locked_exclusive() == writes
            assert lock.reader_count() == len(state.readers)
        tasks = sum(self.ops[op].loop is not None for op in waiting)
        assert lock.statistics() == LockStatistics(
            locked=bool(state.holders),
            readers=len(state.readers),
            write_locked=writes,
            threads_waiting=len(waiting) - tasks,
            tasks_waiting=tasks,
        )
        word = decode(lock.word)
        assert (word.readers, word.writer, word.problems) == (len(state.readers), state.writer is not None, ())
        parts = [f"readers={len(state.readers)}"] * bool(state.readers) + ["write-locked"] * writes
        parts += ["writer-waiting"] * state.drains + ["unlocked"] * (not state.readers and state.writer is None)
        parts += [f"waiters={len(waiting)}"] * bool(waiting)
        assert repr(lock) == f"<aiolots.{type(lock).__name__} 'lock {kind}' {' '.join(parts)}>"

    @rule(pick=PICKS)
    def copies(self, pick: Picks) -> None:
        """A copy is a new lock that is free; nobody copies what is being written."""
        kind, how, place = pick.of(range(len(self.locks))), pick.of(list(COPIERS)), pick.of(self.free())
        self.says(f"{how} lock {kind} at {place}")
        lock = self.locks[kind]
        refused, twin = False, None
        try:
            twin = self.stage.do(place, lambda: COPIERS[how](lock))
        except TypeError:
            refused = True
        assert refused == (self.states[kind].writer is not None), self.told(f"{how}: {twin}")
        if twin is not None:
            assert (type(twin), twin.name) == (type(lock), lock.name)
            with request_of(twin, self.subject.kinds[kind].modes[0]) as guard:
                assert guard.value == self.values[kind]
            assert_idle(twin)
        self.check()

    # --- guards and requests ----------------------------------------------------------------------------------------

    def _guards(self) -> list[Attempt]:
        return [attempt for attempt in self.held.values() if attempt.mode != model.DROP_IN]

    def _spent(self) -> list[Attempt]:
        return [attempt for attempt in self.released if attempt.mode != model.DROP_IN]

    @rule(pick=PICKS)
    def truth(self, pick: Picks) -> None:
        """Held is true, released is false, and of a request that waits nobody can say."""
        place = pick.of(self.free())
        self.says(f"truth, at {place}")
        assert all(self.stage.do(place, lambda: [bool(attempt.guard) for attempt in self._guards()]))
        assert not any(self.stage.do(place, lambda: [bool(attempt.guard) for attempt in self._spent()]))
        assert not any(attempt.guard.is_held() for attempt in self._spent())
        for attempt in self.stage.pending:
            if attempt.mode != model.DROP_IN:
                self.refuses(place, TypeError, lambda request=attempt.request: bool(request))  # type: ignore[misc]
        self.check()

    @rule(pick=PICKS)
    def assign(self, pick: Picks) -> None:
        """The value can be rebound by who is alone."""
        if attempt := pick.of(self._guards() + self._spent()):
            place = pick.of(self.free())
            self.says(f"assign to {attempt} at {place}")
            value = self.values[attempt.kind] + 1
            step = lambda: setattr(attempt.guard, "value", value)  # noqa: E731
            if not self.ops[attempt.op].exclusive:
                self.refuses(place, AttributeError, step)
            elif attempt.op not in self.held:
                self.refuses(place, RuntimeError, step)
            else:
                self.stage.do(place, step)
                self.values[attempt.kind] = value
            self.check()

    @rule(pick=PICKS)
    def misuse(self, pick: Picks) -> None:
        """A second use, a value that is not one's own, a release before the acquire: refused, and nothing has changed."""
        place = pick.of(self.free())
        self.says(f"misuse, at {place}")
        if attempt := pick.of(self._spent()):
            self.refuses(place, RuntimeError, lambda: attempt.guard.value)
        if attempt := pick.of(self._guards() + self._spent() + [a for a in self.stage.pending if a.mode != model.DROP_IN]):
            self.says(f"use {attempt} again")
            again = [attempt.request.acquire, attempt.request.__enter__, lambda: next(attempt.request.__await__())]
            self.refuses(place, RuntimeError, pick.of(again))
        if attempt := pick.of([a for a in self.stage.pending if a.mode != model.DROP_IN]):
            self.says(f"release {attempt}, which waits")
            self.refuses(place, RuntimeError, attempt.request.release)
        for kind, lock in enumerate(self.locks):
            if self.subject.kinds[kind] is MUTEX and self.states[kind].writer is None:
                self.refuses(place, RuntimeError, lock.release)
        self.check()

    # --- dropping ---------------------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def drop_request(self, pick: Picks) -> None:
        kind, mode = pick.of(self.modes(drop_in=False))
        self.says(f"drop a request: {mode}")
        with one_warning(RuntimeWarning):
            request_of(self.locks[kind], mode)
        self.check()

    @rule(pick=PICKS)
    def drop_guard(self, pick: Picks) -> None:
        """A guard that is collected while it is held has released its lock."""
        if attempt := pick.of(self._guards()):
            self.says(f"drop {attempt}")
            del self.held[attempt.op]
            guard = weakref.ref(attempt.guard)
            with one_warning(ResourceWarning):
                attempt.forget()
            assert guard() is None
            self.check({attempt.kind: [Program(None, (Action("release", attempt.op),))]})

    # --- loops ------------------------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def close_loop(self, pick: Picks) -> None:
        """Its tasks leave every queue; what they hold stays held, and its guards can be used elsewhere."""
        index = pick.of(range(len(LOOPS)))
        self.says(f"close loop {index}")
        lost = self.stage.close_loop(index)
        for attempt in self.held.values():
            attempt.is_task &= attempt.place.loop != index  # not of the loop that is there now
        programs = {}
        for kind, state in enumerate(self.states):
            # Those who queue first: nobody is woken for a loop that is closed.
            ends = sorted((a.op for a in lost if a.kind == kind), key=lambda op: op not in state.queued)
            if ends:
                programs[kind] = [Program(None, tuple(Action("withdraw", op) for op in ends))]
        self.check(programs)

    @rule(pick=PICKS)
    def block_loop(self, pick: Picks) -> None:
        """The thread's form on a loop's thread: free if it need not wait, refused if it could never end."""
        place = Place(loop=pick.of(range(len(LOOPS))))
        kind, mode = pick.of(self.modes())
        lock, state = self.locks[kind], self.states[kind]
        expected = state.can_have(mode)
        attempt = self.new(kind, mode, place, request_of(lock, mode))
        attempt.is_task = False
        self.says(f"{attempt}, as a thread does")
        refused: RuntimeError | None = None
        before = set_loop_block_policy("raise")
        try:
            attempt.guard = self.stage.do(place, attempt.request.acquire)
        except RuntimeError as error:
            refused = error
        finally:
            set_loop_block_policy(before)
        assert (refused is None) == expected, self.told(repr(refused))
        if refused is None:
            self.held[attempt.op] = attempt
            self.check({kind: [Program(place.loop, (Action("request", attempt.op),))]})
            return
        tasks = [a for a in self.held.values() if a.is_task and a.place == place]
        never = [a for a in tasks if a.kind == kind and (self.ops[attempt.op].exclusive or self.ops[a.op].exclusive)]
        is_deadlock = isinstance(refused, DeadlockError)
        assert is_deadlock or not never, self.told(f"no DeadlockError, but {refused!r}")
        assert tasks or not is_deadlock, self.told(f"no task of that loop holds anything, but {refused!r}")
        self.check()
