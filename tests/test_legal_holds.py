"""What holds a lock like a `with` statement of this thread, and is another's to end: whoever asks for it waits, and gets it.

Each program asks for a lock that its own thread has acquired. It must wait; then somebody else ends the hold, and it goes on.
What is refused: test_certain_shapes.py. More that is legal: test_legal_waits.py.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiolots import FairMutex, Mutex, RwLock
from aiolots.compat import threading as compat
from tests.worlds import assert_idle, in_thread, wait_until, wait_until_parked

End = Callable[[], object]
Program = Callable[[Any, "list[End]"], None]
MUTEX: Any = None


class Owner:
    """A lock that is an attribute, and may be another one later."""

    def __init__(self, lock: Any = None) -> None:
        self.mutex: Any = Mutex() if lock is None else lock
        self.condition: Any = None

    def ask(self) -> None:
        with self.mutex:
            pass

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with self.mutex:
            yield

    def generator(self) -> Iterator[None]:
        with self.mutex:
            yield

    async def coroutine(self, suspend: Any) -> None:
        with self.mutex:
            await suspend


class Suspend:
    def __await__(self) -> Iterator[None]:
        yield


# --- who holds it -------------------------------------------------------------------------------------------------------


def acquired(lock: Any) -> End:
    lock.acquire()
    return lock.release  # type: ignore[no-any-return]


def entered(lock: Any) -> End:
    lock.__enter__()
    return lambda: lock.__exit__(None, None, None)


def entered_by_a_class(lock: Any) -> End:
    type(lock).__enter__(lock)
    return lambda: type(lock).__exit__(lock, None, None, None)


def entered_on_a_stack(lock: Any) -> End:
    stack = contextlib.ExitStack()
    stack.enter_context(lock)
    return stack.close


def suspended_in_a_generator(lock: Any) -> End:
    generator = Owner(lock).generator()
    next(generator)
    return generator.close  # type: ignore[attr-defined]


def suspended_in_a_manager(lock: Any) -> End:
    manager = Owner(lock).locked()
    manager.__enter__()
    return lambda: manager.__exit__(None, None, None)


def suspended_in_a_coroutine(lock: Any) -> End:
    coroutine = Owner(lock).coroutine(Suspend())
    coroutine.send(None)
    return coroutine.close


def guarded(lock: Any) -> End:
    return lock.lock().acquire().release  # type: ignore[no-any-return]


HOLDS: list[Callable[[Any], End]] = [
    acquired,
    entered,
    entered_by_a_class,
    entered_on_a_stack,
    suspended_in_a_generator,
    suspended_in_a_manager,
    suspended_in_a_coroutine,
    guarded,
]


# --- who asks -----------------------------------------------------------------------------------------------------------


def ask_plainly(lock: Any) -> None:
    with lock:
        pass


def ask_inside_of_a_with_that_was_its(lock: Any) -> None:
    """Its name leads to the lock by now, as if it had been entered by it."""
    self = Owner()
    with self.mutex:
        self.mutex = lock
        self.ask()


def ask_inside_of_a_local_one(lock: Any) -> None:
    other = Mutex()
    mine = other
    with mine:
        mine = lock
        with mine:
            pass


def ask_inside_of_a_global_one(lock: Any) -> None:
    global MUTEX  # noqa: PLW0603
    MUTEX = Mutex()
    with MUTEX:
        MUTEX = lock
        with MUTEX:
            pass


def ask_inside_of_an_item(lock: Any) -> None:
    locks = {"it": Mutex()}
    key = "it"
    with locks[key]:
        locks[key] = lock
        with locks[key]:
            pass


def ask_inside_of_a_call(lock: Any) -> None:
    self = Owner()
    with getattr(self, "mut" + "ex"):
        self.mutex = lock
        self.ask()


def ask_inside_of_one_of_two(lock: Any) -> None:
    first, other = Mutex(), lock
    with first if lock else other:
        with lock:
            pass


def ask_inside_of_the_first_of_two(lock: Any) -> None:
    first, other = Mutex(), lock
    with first or other:
        with lock:
            pass


def ask_inside_of_a_generator(lock: Any) -> None:
    self = Owner()

    def items() -> Iterator[None]:
        with self.mutex:
            self.mutex = lock
            self.ask()
            yield

    next(items())


ASKS: list[Callable[[Any], None]] = [
    ask_plainly,
    ask_inside_of_a_with_that_was_its,
    ask_inside_of_a_local_one,
    ask_inside_of_a_global_one,
    ask_inside_of_an_item,
    ask_inside_of_a_call,
    ask_inside_of_one_of_two,
    ask_inside_of_the_first_of_two,
    ask_inside_of_a_generator,
]


def assert_waits(lock: Any, program: Program) -> None:
    """It waits until somebody else ends the hold."""
    ends: list[End] = []
    asks = in_thread(program, lock, ends)
    wait_until_parked(lock, 1)
    assert not asks.done()
    ends.pop()()
    asks.join()
    assert_idle(lock)


@pytest.mark.parametrize("make", [Mutex, FairMutex, compat.Lock])
@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("hold", HOLDS)
def test_a_hold_that_others_may_end(hold: Callable[[Any], End], ask: Callable[[Any], None], make: Callable[[], Any]) -> None:
    def program(lock: Any, ends: list[End]) -> None:
        ends.append(hold(lock))
        ask(lock)

    assert_waits(make(), program)


@pytest.mark.parametrize("make", [Mutex, FairMutex])
@pytest.mark.parametrize("ask", ASKS)
def test_while_others_wait_for_it_in_a_with(ask: Callable[[Any], None], make: Callable[[], Any]) -> None:
    """Each has an `__exit__` ready that nothing refers to, as a statement that holds it has."""
    lock = make()
    ends: list[End] = []
    go = threading.Event()

    def program() -> None:
        ends.append(entered(lock))
        go.wait()
        ask(lock)

    def other() -> None:
        with lock:
            pass

    asks = in_thread(program)
    wait_until(lock.locked)
    others = [in_thread(other) for _ in range(2)]
    wait_until_parked(lock, 2)
    go.set()
    wait_until_parked(lock, 3)
    ends.pop()()
    for thread in (asks, *others):
        thread.join()
    assert_idle(lock)


def items(owner: Owner, ask: bool, lock: Any) -> Iterator[None]:
    with owner.mutex:
        if ask:
            owner.mutex = lock
            owner.ask()
        yield


async def steps(owner: Owner, ask: bool, lock: Any) -> None:
    with owner.mutex:
        if ask:
            owner.mutex = lock
            owner.ask()
        await Suspend()


@pytest.mark.parametrize("kind", [items, steps])
@pytest.mark.parametrize("same_owner", [False, True])
def test_another_call_of_the_generator_holds_it(kind: Any, same_owner: bool) -> None:
    """The same instruction has entered both locks, and both blocks are open."""
    lock = Mutex()

    def program(lock: Any, ends: list[End]) -> None:
        first, second = Owner(lock), Owner()
        holder = kind(first, False, None)
        holder.send(None)
        if same_owner:
            second = first
            second.mutex = Mutex()
        ends.append(holder.close)
        asker = kind(second, True, lock)
        asker.send(None)
        asker.close()

    assert_waits(lock, program)


# --- signals ------------------------------------------------------------------------------------------------------------


def test_a_signal_after_its_with_has_ended() -> None:
    def program(lock: Any, ends: list[End]) -> None:
        self = Owner(lock)
        for _ in range(3):
            with self.mutex:
                pass
        ends.append(self.mutex.release)
        self.mutex.acquire()
        self.mutex.acquire()
        self.mutex.release()

    for make in (Mutex, FairMutex, compat.Lock):
        assert_waits(make(), program)


def test_a_signal_inside_of_a_lock_of_threading() -> None:
    def program(lock: Any, ends: list[End]) -> None:
        self = Owner(lock)
        ends.append(self.mutex.release)
        with self.mutex:
            self.mutex.acquire()

    assert_waits(compat.Lock(), program)


def test_a_signal_in_the_block_of_another() -> None:
    def program(lock: Any, ends: list[End]) -> None:
        self, other = Owner(lock), Owner()
        ends.append(self.mutex.release)
        with other.mutex, RwLock().write():
            self.mutex.acquire()
            self.mutex.acquire()
            self.mutex.release()

    assert_waits(Mutex(), program)


def test_a_guard_that_was_passed_on_in_the_block_of_another() -> None:
    def program(lock: Any, ends: list[End]) -> None:
        self, other = Owner(lock), Owner()
        with other.mutex:
            ends.append(self.mutex.lock().acquire().release)
            self.ask()

    assert_waits(Mutex(), program)


def test_who_has_a_limit_or_only_tries() -> None:
    self = Owner()

    def program() -> None:
        with self.mutex:
            assert not self.mutex.acquire(False)
            assert not self.mutex.acquire(timeout=0.01)
            assert self.mutex.try_lock() is None
            with self.mutex.try_lock_for(0.01) as guard:
                assert guard is None

    in_thread(program).join()
    assert_idle(self.mutex)


def test_other_threads_wait_in_the_same_statement() -> None:
    self = Owner()
    go = threading.Event()

    def program() -> None:
        with self.mutex:
            go.wait()

    threads = [in_thread(program) for _ in range(4)]
    wait_until_parked(self.mutex, 3)
    go.set()
    for thread in threads:
        thread.join()
    assert_idle(self.mutex)
