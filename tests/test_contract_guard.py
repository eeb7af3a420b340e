"""The contract of guards: the value that they give access to, who may use them, and how they read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aiolots import DeadlockError, RwLock, lowlevel, set_loop_block_policy
from tests import modes
from tests.modes import READER, WRITER, Mode, name_of
from tests.worlds import LoopThread, assert_idle, on_every_loop, run_on

each_guarded = pytest.mark.parametrize("mode", modes.GUARDED, ids=name_of)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [modes.WRITE, modes.LOCK], ids=name_of)
def test_an_exclusive_guard_rebinds_the_value(mode: Mode) -> None:
    lock = mode.make({"a": 1})
    with mode.request(lock) as guard:
        assert guard.value == {"a": 1}
        guard.value = {"b": 2}
        assert guard.value == {"b": 2}
    with mode.request(lock) as guard:
        assert guard.value == {"b": 2}
    with pytest.raises(RuntimeError, match="not held"):
        _ = guard.value
    with pytest.raises(RuntimeError, match="not held"):
        guard.value = {}
    with mode.request(lock) as guard:
        assert guard.value == {"b": 2}


@pytest.mark.parametrize("mode", [modes.READ, modes.READ_RECURSIVE], ids=name_of)
def test_a_read_guard_does_not_rebind_the_value(mode: Mode) -> None:
    value: list[int] = []
    lock = mode.make(value)
    with mode.request(lock) as guard:
        assert guard.value is value
        with pytest.raises(AttributeError):
            guard.value = [1]
        assert guard.value is value
    with pytest.raises(RuntimeError, match="not held"):
        _ = guard.value


@each_guarded
def test_a_pending_request_has_no_value(mode: Mode) -> None:
    lock = mode.make(1)
    request = mode.request(lock)
    with pytest.raises(RuntimeError, match="not held"):
        _ = request.value
    request.acquire().release()


# --- colour -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [modes.WRITE, modes.LOCK], ids=name_of)
@on_every_loop
async def test_a_guard_of_a_try_has_the_colour_of_a_thread(mode: Mode) -> None:
    """And `await try_x_for(0)` gives that of a task: what blocks the loop can never end only if a task of it holds."""
    lock = mode.make()
    policy = set_loop_block_policy("raise")
    try:
        guard = mode.try_(lock)()
        with pytest.raises(RuntimeError) as refused:
            mode.request(lock).acquire()
        assert "a task of this loop holds" not in str(refused.value)
        guard.release()
        guard = await mode.try_(lock, "_for")(0)
        with pytest.raises(DeadlockError, match="a task of this loop holds"):
            mode.request(lock).acquire()
    finally:
        set_loop_block_policy(policy)
    assert lock.word == WRITER
    guard.release()
    assert_idle(lock)


@pytest.mark.parametrize("mode", modes.WAITS, ids=name_of)
def test_to_wait_in_a_task_needs_a_loop(mode: Mode) -> None:
    lock = mode.make()
    with pytest.raises(StopIteration) as end:
        next(mode.request(lock).__await__())  # free, it waits for nothing
    end.value.value.release()
    hindrance = mode.hinder(lock)
    word = lock.word
    with pytest.raises(RuntimeError, match="needs a running event loop"):
        next(mode.request(lock).__await__())
    assert lock.word == word
    assert lowlevel.waiters(lock) == []
    hindrance.release()
    assert_idle(lock)


@each_guarded
def test_guards_cross_from_thread_to_task(mode: Mode) -> None:
    lock = mode.make()
    with LoopThread() as loop:

        async def release(guard: Any) -> None:
            guard.release()

        async def take() -> Any:
            return await mode.request(lock)

        loop.run(release(mode.request(lock).acquire()))
        assert_idle(lock)
        loop.run(take()).release()
        assert_idle(lock)


# --- repr -------------------------------------------------------------------------------------------------------------


@each_guarded
def test_repr_of_requests_and_guards(mode: Mode) -> None:
    lock = mode.make(name="catalog")
    request = mode.request(lock)
    assert re.fullmatch(rf"<aiolots {mode.name} request pending of <aiolots\.\w+ 'catalog' unlocked>>", repr(request))
    request.acquire()
    assert f"{mode.name} guard held of" in repr(request)
    request.release()
    assert f"{mode.name} request released of" in repr(request)


def test_requests_live_in_any_loop_kind() -> None:
    async def use(lock: RwLock[None]) -> None:
        async with lock.read(), lock.read():
            assert lock.word == 2 * READER

    lock = RwLock(None)
    for kind in ("asyncio", "uvloop", "asyncio"):
        run_on(kind, use(lock))
        assert_idle(lock)
