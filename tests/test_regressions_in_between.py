"""Other threads, finalizers and forks between two steps of what has no lock: each test has them come just there."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aiolots import _certain_tasks, _console_server, _loops, lowlevel
from tests.consoles import folder
from tests.test_scenarios_fork import in_child
from tests.waiting import in_thread, wait_until


class Key:
    """A key of the lot."""


def test_who_is_moved_on_before_the_first_move_is_noted_keeps_the_last_key_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = Key(), Key(), [Key()]
    waiting = in_thread(lowlevel.park(first).acquire)
    wait_until(lambda: lowlevel.waiters(key=first))
    follow, moved = lowlevel._follow, list[Any]()

    def in_between(*keys: Any) -> None:
        if not moved:
            moved.append(None)
            moved.append(in_thread(lambda: lowlevel.requeue(second, third[0], wake=0)).join())
        follow(*keys)

    monkeypatch.setattr(lowlevel, "_follow", in_between)
    assert lowlevel.requeue(first, second, wake=0).requeued == 1
    assert moved[1].requeued == 1
    alive = weakref.ref(third.pop())
    assert alive() is not None
    assert lowlevel.unpark_one(alive())
    assert waiting.join()


def test_a_wait_that_ends_amid_a_look_at_tasks_does_not_end_all_looks() -> None:
    """A finalizer of a wait, say. Then another look is to come, as long as anybody waits who was not looked at."""
    later: list[Any] = []

    class Looked(set[int]):
        def __contains__(self, cookie: object) -> bool:
            waiting.pop(4, None)
            return super().__contains__(cookie)

    waiting: dict[int, Any] = {2: None, 4: None, 6: None}
    port: Any = SimpleNamespace(waiting=waiting, looked=Looked(), looks=True, closed=False)
    port.call_later = lambda _seconds, function: later.append(function)
    _certain_tasks._look(port, frozenset())
    assert len(later) == 1


def test_all_ports_are_closed_at_exit_though_another_thread_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Ports:
        looks = 0

        def __iter__(self) -> Iterator[Any]:
            self.looks += 1
            if self.looks == 1:
                raise RuntimeError("Set changed size during iteration")
            yield SimpleNamespace(close=lambda: closed.append(True))

    monkeypatch.setattr(_loops, "_every_port", Ports())
    _loops._close_all()
    assert closed == [True]


def test_a_child_of_a_fork_amid_serve_leaves_the_parents_socket_alone() -> None:
    """The server is there, and is not noted as the one that the child is to forget."""
    with folder() as place:
        server = _console_server.Server(place / f"{os.getpid()}.sock", lambda question: question, lambda: None)
        try:
            in_child(server.close)
            assert server.path.exists()
            assert not server._ended
        finally:
            server.close()
        assert not server.path.exists()
