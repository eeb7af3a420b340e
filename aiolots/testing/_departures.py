"""R01 to R05: writers that give up, by a timeout, a cancellation or a signal, and what they leave behind."""

from __future__ import annotations

import itertools
import signal
import threading
import time

from aiolots.testing._adapter import Mode, Offer
from aiolots.testing._registry import scenario
from aiolots.testing._waiting import Broken, Hang, NotApplicable, settle
from aiolots.testing._world import Attempt, TaskAttempt, World, in_thread, outcome

SHARED = Offer.SHARED
BEHIND = "a reader behind a writer that has given up does not get in, though only a reader is in"


class Census:
    """Who is inside now; Broken when somebody is who must not be."""

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._readers = self._writers = 0

    def enter(self, mode: Mode) -> None:
        """One more is in."""
        self._count(mode, 1)

    def leave(self, mode: Mode) -> None:
        """One is about to leave."""
        self._count(mode, -1)

    def _count(self, mode: Mode, by: int) -> None:
        with self._door:
            if mode == "read":
                self._readers += by
            else:
                self._writers += by
            if self._writers > 1 or (self._writers and self._readers):
                raise Broken(f"{self._writers} writers and {self._readers} readers are in at the same time")


def behind_a_writer(world: World, timeout: bool) -> tuple[Attempt, Attempt, Attempt]:
    """Let a reader in, park a writer that is going to leave, and a reader behind it."""
    first = world.attempt("read")
    first.enters("a free lock has no room for a reader")
    for seconds in (0.15, 0.6, 2.4):  # on a machine so slow that the writer is gone too early: again
        writer = world.attempt("write", seconds if timeout else None)
        writer.settle()
        reader = world.attempt("read")
        reader.settle()
        if not writer.done() or reader.done():
            break
        reader.enters(BEHIND)
        reader.release()
    return first, writer, reader


def see_off(writer: Attempt) -> None:
    """Let the writer leave."""
    if isinstance(writer, TaskAttempt) and not writer.done():
        writer.cancel()
    elif writer.result("a timed acquire of a writer does not end"):
        raise Broken("a writer is let in while a reader is in")


# --- R01 --------------------------------------------------------------------------------------------------------------


@scenario("R01", "thread", "task", "mixed", needs=SHARED, timed=True)
def a_timed_out_writer_and_the_last_reader(world: World) -> None:
    for third, delay in itertools.product((False, True), (0.0, 0.008, 0.01, 0.012, 0.03)):
        first = world.attempt("read")
        first.enters("a free lock has no room for a reader")
        writer = world.attempt("write", 0.01)
        began = time.monotonic()
        reader = world.attempt("read") if third else None
        while time.monotonic() < began + delay:
            time.sleep(0.001)
        first.release()
        if writer.result("a timed acquire of a writer does not end"):
            writer.release()
        if reader:
            reader.enters("a reader behind a writer that timed out does not get in, though nobody is in")
            reader.release()


@scenario("R01", "thread", needs=SHARED, timed=True)
def timeouts_race_with_readers(world: World) -> None:
    census, end, adapter = Census(), time.monotonic() + 0.6, world.adapter

    def loop(mode: Mode, timeout: float | None) -> None:
        while time.monotonic() < end:
            if (held := adapter.acquire(world.lock, mode, timeout)) is not None:
                census.enter(mode)
                census.leave(mode)
                adapter.release(world.lock, mode, held)

    readers = [in_thread(lambda: loop("read", None)) for _ in range(4)]
    writers = [in_thread(lambda: loop("write", 2e-5)) for _ in range(3)]
    for thread in readers + writers:
        outcome(thread, "readers and timed writers block each other for ever", 6)


# --- R02 --------------------------------------------------------------------------------------------------------------


@scenario("R02", "thread", "task", "mixed", needs=SHARED, timed=True)
def no_writer_is_refused_for_ever(world: World) -> None:
    for _ in range(5):
        reader = world.attempt("read")
        reader.enters("after writers that timed out no reader gets in")
        for _ in range(2):
            if world.attempt("write", 0.001).result("a timed acquire of a writer does not end"):
                raise Broken("a writer is let in while a reader is in")
        reader.release()
    end = time.monotonic() + 3
    while not (writer := world.attempt("write", 0.05)).result("a timed acquire of a writer does not end"):
        if time.monotonic() > end:
            raise Broken("timed writers are refused for ever, though nobody is in")
    writer.release()


# --- R03, R04 ---------------------------------------------------------------------------------------------------------


def departed(world: World, timeout: bool, reader_first: bool) -> None:
    first, writer, reader = behind_a_writer(world, timeout)
    see_off(writer)
    if not reader_first:
        first.release()
    reader.enters(BEHIND if reader_first else "a reader behind a writer that has given up never gets in")
    reader.release()
    if reader_first:
        first.release()


@scenario("R03", "thread", "task", "mixed", "loops", needs=SHARED, timed=True)
def readers_behind_a_writer_that_timed_out(world: World) -> None:
    departed(world, timeout=True, reader_first=True)


@scenario("R03", "task", "mixed", "loops", needs=SHARED)
def readers_behind_a_cancelled_writer(world: World) -> None:
    departed(world, timeout=False, reader_first=True)


@scenario("R04", "thread", "task", "mixed", "loops", needs=SHARED, timed=True)
def a_writer_that_timed_out(world: World) -> None:
    departed(world, timeout=True, reader_first=False)


@scenario("R04", "task", "mixed", "loops", needs=SHARED)
def a_cancelled_writer(world: World) -> None:
    departed(world, timeout=False, reader_first=False)


# --- R05 --------------------------------------------------------------------------------------------------------------


class Bang(Exception):
    """What the signal handler raises."""


def interrupted(world: World, error: type[BaseException], hold: Mode) -> None:
    """Let a signal handler raise in the main thread while it waits to write."""
    if threading.current_thread() is not threading.main_thread():
        raise NotApplicable("only the main thread handles signals")
    main, native_id, over = threading.get_ident(), threading.get_native_id(), threading.Event()
    rings = itertools.count()
    holder = world.thread(hold)
    holder.enters("a free lock has no room")

    def handler(*_: object) -> None:
        if next(rings) == 0:
            raise error

    def ring() -> None:
        settle(native_id)
        end = time.monotonic() + 3
        while not over.is_set():  # a signal just before the sleep would be seen only after it
            signal.pthread_kill(main, signal.SIGINT)
            over.wait(0.005)
            if time.monotonic() > end and not over.is_set():
                holder.release()  # it cannot be interrupted: end the wait after all
                return

    before = signal.signal(signal.SIGINT, handler)
    try:
        bell = in_thread(ring)
        try:
            world.sync_through("write")
        except error:
            pass
        else:
            raise Hang("a signal does not end the wait of a thread")
        finally:
            over.set()
        outcome(bell, "the holder does not release")
    finally:
        signal.signal(signal.SIGINT, before)
    if hold == "read":
        reader = world.thread("read")
        reader.enters("a reader does not get in after a writer was interrupted, though only a reader is in")
        reader.release()
    holder.release()


@scenario("R05", "thread")
def ctrl_c_while_a_writer_waits(world: World) -> None:
    interrupted(world, KeyboardInterrupt, "write")


@scenario("R05", "thread", needs=SHARED)
def ctrl_c_while_a_writer_waits_for_a_reader(world: World) -> None:
    interrupted(world, KeyboardInterrupt, "read")


@scenario("R05", "thread", needs=SHARED)
def an_exception_while_a_writer_waits_for_a_reader(world: World) -> None:
    interrupted(world, Bang, "read")


# --- R07, with threads ------------------------------------------------------------------------------------------------


@scenario("R07", "thread", "mixed", timed=True)
def a_grant_races_with_a_timeout(world: World) -> None:
    for step in range(12):
        holder = world.attempt("write")
        holder.enters("no writer gets in after a release that met a timeout")
        delay, began = 0.03 * (0.8 + 0.04 * step), time.monotonic()
        first = world.attempt("write", 0.03)
        second = world.attempt("write")
        time.sleep(max(0.0, began + delay - time.monotonic()))
        holder.release()
        if first.result("a timed acquire does not end"):
            first.release()
        second.enters("a writer behind one whose timeout met the release does not get in")
        second.release()
