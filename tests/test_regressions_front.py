"""What the review of the front found, a test for each: drains, deadlocks, handlers that raise."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import DeadlockError, Mutex, RwLock, _blocking, _front, _lib, _loops, _waiters, lowlevel
from aiolots._lib import ffi, lib
from tests import modes
from tests.modes import Mode, name_of
from tests.test_regressions_native import Interrupt, MeddledLoop, interrupt, run_meddled
from tests.test_scenarios_loops import PROMPTLY, no_revocation, policy, take, take_in_task
from tests.test_scenarios_reentry import Injected, at_check, at_every_check
from tests.worlds import (
    LOOP_KINDS,
    LOOPS,
    LoopThread,
    assert_idle,
    in_thread,
    on_each_loop,
    outcome_of,
    until_parked,
    wait_until,
    wait_until_parked,
)

__all__ = ["no_revocation"]  # a fixture


class Lib:
    """The core, but for the functions that a test gives it."""

    def __init__(self, real: Any, **functions: Callable[..., Any]) -> None:
        self.__dict__.update(functions)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


# --- drains ------------------------------------------------------------------------------------------------------------

# Where a handler may run inside of a drain. The native one has but one such place: it calls nothing else of Python's.
SPOTS = ["as it schedules a task"] if _front.NATIVE else ["as it schedules a task", "as the mailbox turns out to be empty"]


@pytest.mark.parametrize("spot", SPOTS)
def test_a_release_inside_of_a_drain(spot: str, monkeypatch: pytest.MonkeyPatch, no_revocation: None) -> None:
    """A signal handler releases what a task of this loop waits for, while the mailbox is being drained: that mail counts."""
    lock, other = RwLock(), Mutex()

    async def body(loop: MeddledLoop) -> None:
        kept = other.try_lock()
        assert kept is not None
        before = signal.signal(signal.SIGUSR1, lambda *_: kept.release())
        waiting = [asyncio.ensure_future(take_in_task(other.lock))]
        await until_parked(other, 1)
        guard = lock.try_write()
        assert guard is not None
        if spot == SPOTS[0]:
            waiting.append(asyncio.ensure_future(take_in_task(lock.write)))
            await until_parked(lock, 1)
            loop.meddle = lambda: signal.raise_signal(signal.SIGUSR1)
            guard.release()
        else:
            drain = _loops.lib.lots_mailbox_drain

            def drain_and_signal(*arguments: Any) -> Any:
                taken = drain(*arguments)
                if taken == 0 and kept.is_held() and threading.current_thread() is threading.main_thread():
                    signal.raise_signal(signal.SIGUSR1)
                return taken

            # A task of another loop: a release wakes it, but leaves no mail here. A thread that a signal reaches is not parked
            # for a moment.
            with LoopThread() as there:
                woken = there.submit(take_in_task(lock.write))
                wait_until_parked(lock, 1)
                with monkeypatch.context() as patch:
                    patch.setattr(_loops, "lib", Lib(_loops.lib, lots_mailbox_drain=drain_and_signal))
                    guard.release()
                outcome_of(woken)
        assert not kept.is_held()
        await asyncio.wait_for(asyncio.gather(*waiting), PROMPTLY)
        signal.signal(signal.SIGUSR1, before)

    run_meddled(body)
    assert_idle(lock, other)


@pytest.fixture
def soon_revoked() -> Iterator[None]:
    before = lowlevel.set_revoke_after(0.01)
    yield
    lowlevel.set_revoke_after(before)


@on_each_loop
async def test_mail_that_got_lost_is_rung_for_anew(soon_revoked: None) -> None:
    """An exception came between the core and the task: taken out of the mailbox, the mail reached nobody."""
    lock = RwLock()
    guard = await lock.write()
    waiting = [asyncio.ensure_future(take_in_task(lock.write)) for _ in range(2)]
    await until_parked(lock, 2)
    soon = lowlevel.set_revoke_after(60)  # not before the mail is lost: its revocation brings new mail
    in_thread(guard.release).join()
    port = _loops.own_port()
    assert port is not None
    assert lib.lots_mailbox_drain(port.mailbox, ffi.new("uint64_t[]", 8), 8, True) == 1
    lowlevel.set_revoke_after(soon)
    await asyncio.wait_for(asyncio.gather(*waiting), PROMPTLY)
    assert_idle(lock)


@on_each_loop
async def test_an_exception_as_a_drain_begins(monkeypatch: pytest.MonkeyPatch, soon_revoked: None) -> None:
    """Ctrl-C between a release and its drain: whoever was woken runs all the same, told by the keeper."""
    lock = RwLock()
    guard = await lock.write()
    waiting = [asyncio.ensure_future(take_in_task(lock.write)) for _ in range(2)]
    await until_parked(lock, 2)
    left = []
    with monkeypatch.context() as patch:
        patch.setattr(_loops.Port, "drain", interrupt)
        try:
            guard.release()
        except Interrupt:
            left.append(True)
    assert bool(left) != _front.NATIVE  # whose release calls no Python here
    await asyncio.wait_for(asyncio.gather(*waiting), PROMPTLY)
    assert_idle(lock)


# --- deadlocks that are none, and those that are ----------------------------------------------------------------------


@on_each_loop
async def test_a_holder_that_lets_go_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks of the detector a thread releases X and waits for Y, which a task of this loop holds: no cycle."""
    x, y = RwLock(), RwLock()
    held, go = threading.Event(), threading.Event()

    def x_then_y() -> None:
        guard = x.write().acquire()
        held.set()
        go.wait()
        guard.release()
        take(y.write)

    find = _blocking.waiters_of_thread

    def find_later(token: int) -> Any:
        go.set()
        wait_until_parked(y, 1)
        return find(token)

    async with y.write():
        thread = in_thread(x_then_y)
        held.wait()
        with monkeypatch.context() as patch, policy("allow"):
            patch.setattr(_blocking, "waiters_of_thread", find_later)
            take(x.write)
    await asyncio.to_thread(thread.join)
    assert_idle(x, y)


@on_each_loop
async def test_a_guard_that_was_given_away() -> None:
    """Taken here with the thread's form, it is another thread's to release: that may come."""
    for take_it in (lambda lock: lock.try_write(), lambda lock: lock.write().acquire()):
        lock = RwLock()
        guard = take_it(lock)

        def release(lock: RwLock[Any] = lock, guard: Any = guard) -> None:
            wait_until_parked(lock, 1)
            guard.release()

        thread = in_thread(release)
        with policy("allow"):
            take(lock.write)
        thread.join()
        assert_idle(lock)


@on_each_loop
async def test_a_dead_threads_lock_is_not_that_of_who_has_its_ident_now() -> None:
    """A thread took X and ended. The next thread has its ident, and waits for Y, which a task of this loop holds."""
    x, y = RwLock(), RwLock()
    taker = in_thread(lambda: (x.write().acquire(), threading.get_ident()))
    guard, ident = taker.join()
    same = []
    async with y.write():
        for _ in range(200):  # as good as always the first one

            def next_one() -> bool:
                if threading.get_ident() != ident:
                    return False
                same.append(True)
                take(y.write)
                return True

            thread = in_thread(next_one)
            wait_until(lambda thread=thread: thread.done() or same)
            if same:
                wait_until_parked(y, 1)
                break

        def release() -> None:
            wait_until_parked(x, 1)
            guard.release()

        helper = in_thread(release)
        with policy("allow"):
            take(x.write)
    await asyncio.to_thread(helper.join)
    await asyncio.to_thread(thread.join)
    assert_idle(x, y)


@pytest.mark.parametrize("kind", LOOP_KINDS)
def test_two_loops_block_on_each_other(kind: str) -> None:
    """A task of one holds A and its thread sleeps for B; a task of the other holds B, and its thread asks for A."""
    a, b = RwLock(name="A"), RwLock(name="B")

    async def hold_and_take(mine: RwLock[Any], theirs: RwLock[Any], ready: Callable[[], None]) -> None:
        async with mine.write():
            ready()
            take(theirs.write)

    with LoopThread(kind) as one, LoopThread(kind) as two, policy("allow"):
        b_is_held = threading.Event()

        def sleeps() -> None:
            b_is_held.set()
            wait_until_parked(b, 1)

        second = two.submit(hold_and_take(b, a, sleeps))
        b_is_held.wait()
        first = one.submit(hold_and_take(a, b, lambda: None))
        with pytest.raises(DeadlockError, match=r"'A' .*waits for .*'B'"):
            outcome_of(second, PROMPTLY)
        outcome_of(first, PROMPTLY)
    assert_idle(a, b)


# --- diagnosis ---------------------------------------------------------------------------------------------------------


def test_who_waits_is_copied_out_of_the_core() -> None:
    """The list pointed into memory that was freed when it was returned."""
    lock = RwLock()
    guard = lock.write().acquire()
    threads = [in_thread(take, lock.write) for _ in range(3)]
    wait_until_parked(lock, 3)
    infos = _waiters._infos(_waiters._word_of(lock))
    litter = []
    for _ in range(100):
        litter.append(ffi.new("lots_waiter_info[]", 64))
        ffi.memmove(litter[-1], b"\xff" * ffi.sizeof(litter[-1]), ffi.sizeof(litter[-1]))
    assert {int(info.owner) for info in infos} == {thread.ident for thread in threads}
    assert {int(info.word) for info in infos} == {lock.address}
    guard.release()
    for thread in threads:
        thread.join()
    assert_idle(lock)


if _front.NATIVE:

    def test_a_name_is_not_deleted() -> None:
        lock = RwLock(name="catalog")
        with pytest.raises(AttributeError):
            del lock.name
        assert lock.name == "catalog"


# --- a handler raises anywhere ----------------------------------------------------------------------------------------


def raise_injected() -> None:
    raise Injected


@pytest.mark.parametrize("contended", [False, True])
def test_a_handler_raises_anywhere_in_acquire(contended: bool) -> None:
    """Ctrl-C at any point of Mutex.acquire(): nothing is held, nobody is queued."""
    mutex: Mutex[Any] = Mutex()

    def run(number: int) -> int:
        kept = mutex.try_lock() if contended else None
        seen = [0]
        try:
            with at_check(number, raise_injected) as seen:
                taken = mutex.acquire(timeout=0.0005)
            assert taken != contended
            if taken:
                mutex.release()
        except Injected:
            pass
        assert lowlevel.waiters(mutex) == []
        if kept is not None:
            kept.release()
        assert_idle(mutex)
        return seen[0]

    assert at_every_check(run) >= 0


def test_a_handler_raises_anywhere_in_release() -> None:
    """Ctrl-C at any point of Mutex.release(): released, unless it came before anything was done."""
    mutex: Mutex[Any] = Mutex()
    where = ""

    def raise_it() -> None:
        nonlocal where
        where = sys._getframe(2).f_code.co_name  # behind at_check's trace function
        raise Injected

    def run(number: int) -> int:
        mutex.acquire()
        seen = [0]
        try:
            with at_check(number, raise_it) as seen:
                mutex.release()
        except Injected:
            if where == "release" and mutex.locked():
                mutex.release()
        assert_idle(mutex)
        return seen[0]

    assert at_every_check(run) >= 0


@pytest.mark.filterwarnings("ignore:.*never (entered|awaited):RuntimeWarning")
@pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
@pytest.mark.parametrize("kind", LOOP_KINDS)
def test_a_handler_raises_anywhere_in_a_tasks_wait(kind: str, mode: Mode, soon_revoked: None) -> None:
    """Ctrl-C at any point of an await that waits: it is over, and who queued behind it gets in."""
    lock = mode.make()

    def run(number: int) -> int:
        async def body() -> int:
            hindrance = mode.hinder(lock)
            steps: Any = mode.request(lock).__await__()
            seen = [0]
            try:
                with at_check(number, raise_injected) as seen:
                    steps.send(None)
            except Injected:
                pass
            else:
                steps.close()
            assert lowlevel.waiters(lock) == []

            async def enter() -> None:
                (await mode.request(lock)).release()

            others = [asyncio.ensure_future(enter()) for _ in range(2)]
            await until_parked(lock, 2)
            hindrance.release()
            await asyncio.wait_for(asyncio.gather(*others), PROMPTLY)
            return seen[0]

        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            checks = runner.run(body())
        assert_idle(lock)
        return checks

    assert at_every_check(run) >= 0


def test_what_each_struct_is_made_of_is_found_out_at_the_import() -> None:
    """cffi finds it out at the first use, and with the GIL off two threads at once may each see the half: TSan saw it."""
    opaque = {"lots_mailbox"}
    assert {ffi.typeof(name) for name in set(ffi.list_types()[1]) - opaque} == set(_lib.STRUCTS)
