"""The contract of ReentrantMutex: its owners and levels; and what threading.RLock does, it does."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Generator
from typing import Any

import pytest

from aiolots import DeadlockError, ReentrantMutex, lowlevel
from tests import tasks
from tests.onces import WORLDS
from tests.test_contract_mutex import CALLS
from tests.test_scenarios_fork import in_child
from tests.test_scenarios_loops import PROMPTLY, no_revocation
from tests.worlds import (
    LOOPS,
    Attempt,
    LoopThread,
    World,
    assert_idle,
    in_thread,
    on_every_loop,
    until_parked,
    wait_until,
    wait_until_parked,
)

__all__ = ["no_revocation"]  # a fixture

each_world = pytest.mark.parametrize("kind", WORLDS)


class Nested:
    """Several levels that one owner takes, made to look like a request and its guard."""

    def __init__(self, mutex: ReentrantMutex[Any], levels: int) -> None:
        self._mutex = mutex
        self._levels = levels
        self._guards: list[Any] = []

    def acquire(self) -> Nested:
        self._guards += [self._mutex.lock().acquire() for _ in range(self._levels)]
        return self

    def __await__(self) -> Generator[Any, None, Nested]:
        for _ in range(self._levels):
            guard = yield from self._mutex.lock().__await__()
            self._guards.append(guard)
        return self

    def release(self) -> None:
        """First the one that came first."""
        for guard in self._guards:
            assert self._mutex.locked()
            guard.release()


def release_each(attempts: list[Attempt]) -> None:
    """Release them as they come to have it."""
    left = list(attempts)
    while left:
        wait_until(lambda: any(attempt.done() for attempt in left))
        entered = next(attempt for attempt in left if attempt.done())
        entered.release()
        left.remove(entered)


# --- the owner ----------------------------------------------------------------------------------------------------------


def test_a_thread_takes_it_again() -> None:
    mutex = ReentrantMutex([1], name="m")
    with mutex.lock() as outer:
        assert (outer.depth, outer.value, mutex.is_owned()) == (1, [1], True)
        with mutex, mutex.lock(timeout=0) as inner:
            assert (inner.depth, outer.depth) == (3, 3)
            assert mutex.acquire(timeout=0)
            tried = mutex.try_lock()
            assert tried is not None
            assert tried.depth == 5
            tried.release()
            mutex.release()
        assert outer.depth == 1
        assert mutex.word == 8
    assert not mutex.is_owned()
    assert_idle(mutex)


@on_every_loop
async def test_a_task_takes_it_again_in_any_colour() -> None:
    mutex = ReentrantMutex(name="m")
    async with mutex.lock() as outer:
        async with mutex:
            with mutex.lock() as inner:
                assert inner.depth == 3
                with mutex:
                    assert outer.depth == 4
        assert outer.depth == 1
        await tasks.pause()
        assert mutex.is_owned()
    with mutex:
        async with mutex.lock() as guard:
            assert guard.depth == 2
    await mutex
    mutex.release()
    assert_idle(mutex)


@on_every_loop
async def test_two_tasks_of_a_loop_are_two_owners() -> None:
    mutex = ReentrantMutex()

    async def other() -> None:
        assert not mutex.is_owned()
        assert mutex.try_lock() is None
        assert not mutex.acquire(blocking=False)
        with pytest.raises(RuntimeError, match="does not own"):
            mutex.release()
        async with mutex:
            assert mutex.is_owned()

    async with mutex:
        task = tasks.start(other())
        await until_parked(mutex, 1)
        assert not task.done()
    await task
    assert_idle(mutex)


@on_every_loop
async def test_a_plain_acquire_behind_a_task_of_the_loop_is_refused() -> None:
    mutex = ReentrantMutex(name="m")

    async def other() -> None:
        for acquire in (mutex.acquire, mutex.lock().acquire):
            with pytest.raises(DeadlockError, match="'m'"):
                acquire()
        assert mutex.try_lock_for(0).acquire() is None

    async with mutex:
        await tasks.start(other())
    async with mutex.lock():
        await tasks.start(other())
    with mutex:  # in the thread's colour, but to be released by this task alone
        await tasks.start(other())
    assert_idle(mutex)


@on_every_loop
async def test_a_thread_and_the_task_that_it_runs_are_two_owners() -> None:
    mutex = ReentrantMutex()
    async with mutex:
        assert not await tasks.in_a_thread(mutex.acquire, False)
        assert not await tasks.in_a_thread(mutex.is_owned)
    assert_idle(mutex)


def test_what_a_loop_runs_inside_of_its_threads_lock_is_refused() -> None:
    mutex = ReentrantMutex()

    async def main() -> None:
        assert not mutex.is_owned()
        with pytest.raises(DeadlockError):
            mutex.acquire()
        with pytest.raises(RuntimeError, match="does not own"):
            mutex.release()

    with mutex:
        asyncio.run(main())
        assert mutex.is_owned()
    assert_idle(mutex)


def test_an_ident_that_is_used_again_is_no_owner() -> None:
    """R35: a thread ends while it holds. Later threads, of the same number mostly, do not own what it held."""
    mutex = ReentrantMutex()
    guards: list[Any] = []
    first = in_thread(lambda: guards.append(mutex.lock().acquire()))
    first.join()
    for _ in range(20):
        thread = in_thread(lambda: (mutex.is_owned(), mutex.acquire(False)))
        assert thread.join() == (False, False)
    guards[0].release()
    assert_idle(mutex)


@on_every_loop
async def test_a_task_whose_number_is_used_again_is_no_owner() -> None:
    mutex = ReentrantMutex()
    guards: list[Any] = []

    async def takes() -> None:
        guards.append(await mutex.lock())

    async def asks() -> bool:
        return mutex.is_owned() or mutex.acquire(False)

    await tasks.start(takes())
    for _ in range(100):
        gc.collect(0)
        assert not await tasks.start(asks())
    guards[0].release()
    assert_idle(mutex)


def test_the_owners_loop_is_dropped(no_revocation: None) -> None:
    """Its task is collected, and with it the guard, which releases the lock."""
    mutex = ReentrantMutex(name="m")

    async def takes() -> None:
        async with mutex.lock(), mutex.lock():
            await tasks.for_ever()

    def lose() -> None:
        loop = LOOPS["asyncio"]()
        task: Any = loop.create_task(takes())
        loop.run_until_complete(tasks.pause())
        task._log_destroy_pending = False
        loop.close()

    in_thread(lose).join()
    waiting = in_thread(mutex.acquire)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        wait_until(lambda: gc.collect() >= 0 and waiting.done())
    assert not mutex.is_owned()


def test_fork_by_the_owner() -> None:
    mutex, others = ReentrantMutex(), ReentrantMutex()
    go, taken = threading.Event(), threading.Event()

    def hold() -> None:
        with others:
            taken.set()
            go.wait()

    thread = in_thread(hold)
    taken.wait()

    def child() -> None:
        assert mutex.is_owned()
        with mutex.lock() as guard:
            assert guard.depth == 2
        mutex.release()
        assert in_thread(mutex.acquire, False).join()
        assert not others.acquire(False)

    with mutex:
        in_child(child)
    go.set()
    thread.join()
    assert_idle(mutex, others)


# --- exclusion ----------------------------------------------------------------------------------------------------------


@each_world
def test_the_others_wait_until_all_levels_are_released(kind: str) -> None:
    mutex = ReentrantMutex()
    with World(kind) as world:
        holder = world.attempt(lambda: Nested(mutex, 3))
        levels = holder.guard()
        behind = [world.attempt(lambda: Nested(mutex, 2)) for _ in range(4)]
        wait_until_parked(mutex, 4)
        for guard in levels._guards[:2]:
            holder.do(guard.release)
            assert mutex.locked()
            assert lowlevel.waiters(mutex)
        holder.do(levels._guards[2].release)
        release_each(behind)
    assert_idle(mutex)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_threads_and_loops_exclude_each_other(kind: str) -> None:
    mutex = ReentrantMutex(0)
    rounds = 200

    def thread() -> None:
        for _ in range(rounds):
            with mutex, mutex.lock() as guard:
                before = guard.value
                with mutex.lock() as again:
                    again.value = before + 1

    async def task() -> None:
        for _ in range(rounds):
            async with mutex.lock() as guard:
                before = guard.value
                await tasks.pause()
                async with mutex, mutex.lock() as again:
                    again.value = before + 1

    with LoopThread(kind) as loop, LoopThread("asyncio") as other:
        futures = [on.submit(task()) for on in (loop, other) for _ in range(3)]
        threads = [in_thread(thread) for _ in range(3)]
        for future in futures:
            future.result(60)
        for one in threads:
            one.join(60)
    assert mutex.get_mut() == 9 * rounds
    assert_idle(mutex)


def test_the_owner_goes_deeper_while_another_thread_releases_its_last_guard() -> None:
    """It keeps the mutex, or asks for it anew; never both, never neither."""
    mutex = ReentrantMutex()
    for _ in range(300):
        guard = mutex.lock().acquire()
        barrier = threading.Barrier(2)
        thread = in_thread(lambda barrier=barrier, guard=guard: (barrier.wait(), guard.release()))
        barrier.wait()
        with mutex.lock() as deeper:
            thread.join()
            assert deeper.depth == 1
            assert mutex.is_owned()
            assert not in_thread(mutex.acquire, False).join()
        assert_idle(mutex)


# --- as threading.RLock -------------------------------------------------------------------------------------------------


def outcome(call: Callable[[Any], Any], lock: Any) -> Any:
    try:
        result = call(lock)
    except Exception as error:  # noqa: BLE001
        return type(error)
    return result


RLOCK_CALLS = {name: call for name, call in CALLS.items() if name != "locked"}


@pytest.mark.parametrize("call", RLOCK_CALLS.values(), ids=RLOCK_CALLS)
@pytest.mark.parametrize("state", ["free", "mine", "another's"])
def test_it_does_what_an_rlock_does(call: Callable[[Any], Any], state: str) -> None:
    class Stdlib:
        """An RLock with locked(), which the calls ask of what another may hold."""

        def __init__(self) -> None:
            self._lock: Any = threading.RLock()
            self.held = state == "another's"

        def locked(self) -> bool:
            return self.held

        def __getattr__(self, name: str) -> Any:
            return getattr(self._lock, name)

        def __enter__(self) -> Any:
            return self._lock.__enter__()

        def __exit__(self, *error: object) -> None:
            self._lock.__exit__(*error)

    results = []
    for lock in (Stdlib(), Ours(held=state == "another's")):
        go, taken = threading.Event(), threading.Event()

        def hold(lock: Any = lock, go: Any = go, taken: Any = taken) -> None:
            with lock:
                taken.set()
                go.wait()

        holder = in_thread(hold) if state == "another's" else None
        if holder:
            taken.wait()
        if state == "mine":
            lock.acquire()
        results.append(outcome(call, lock))
        go.set()
        if holder:
            holder.join()
    assert results[0] == results[1]


class Ours(ReentrantMutex[None]):
    """With a locked() that the table's calls ask: whether another holds it."""

    __slots__ = ("held",)

    def __init__(self, *, held: bool) -> None:
        super().__init__()
        self.held = held

    def locked(self) -> bool:
        return self.held


def test_release_is_for_the_owner() -> None:
    mutex = ReentrantMutex(name="m")
    with pytest.raises(RuntimeError, match="'m'"):
        mutex.release()
    with mutex:
        with pytest.raises(RuntimeError, match="does not own"):
            in_thread(mutex.release).join()
        assert mutex.is_owned()
    with mutex.lock() as guard:
        with pytest.raises(RuntimeError, match="only guards"):
            mutex.release()
        assert guard.is_held()
    assert_idle(mutex)


def test_a_condition_of_the_stdlib_takes_it() -> None:
    mutex = ReentrantMutex()
    condition = threading.Condition(mutex)  # type: ignore[arg-type]
    done: list[int] = []

    def waits() -> None:
        with condition, condition:
            while not done:
                assert condition.wait(PROMPTLY * 10)
            assert mutex.is_owned()

    thread = in_thread(waits)
    wait_until(lambda: condition._waiters)  # type: ignore[attr-defined]
    with condition:
        done.append(1)
        condition.notify()
    thread.join()
    assert_idle(mutex)


def test_a_condition_does_not_release_what_guards_hold() -> None:
    mutex = ReentrantMutex()
    condition = threading.Condition(mutex)  # type: ignore[arg-type]
    with mutex.lock(), condition, pytest.raises(RuntimeError, match="guards hold it"):
        condition.wait(0)
    assert_idle(mutex)
