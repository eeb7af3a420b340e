"""R32, R33: a detector must not be wrong, nor lock what it looks at. Asked of every lock; one without a detector passes.

The programs of R32 all end, if nobody interferes. So who is refused, by an exception or otherwise, was refused wrongly. A
detector that looks only after a while is given MOMENT to be wrong in.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Generator

from aiolots.testing._adapter import Mode, Offer
from aiolots.testing._nested import Nested, attempt, pairs_of
from aiolots.testing._registry import scenario
from aiolots.testing._ticks import pairs
from aiolots.testing._waiting import PATIENCE, Broken, Hang, NotApplicable, settle, turns, wait_until
from aiolots.testing._world import World, in_thread, outcome

ALL = ("thread", "task", "mixed", "loops")
MOMENT = 0.15  # seconds
REFUSED = "is refused, though nobody waits for ever"


def refused(what: str, error: BaseException) -> Broken:
    return Broken(f"{what} {REFUSED}: {error!r}".partition("\n")[0])


@contextlib.contextmanager
def legal(what: str) -> Generator[None]:
    """Around what a lock has no reason to refuse."""
    try:
        yield
    except (Broken, Hang):
        raise
    except Exception as error:  # noqa: BLE001 whatever it is refused with
        raise refused(what, error) from None


# --- R32 --------------------------------------------------------------------------------------------------------------


@scenario("R32", *ALL)
def one_holds_and_another_waits(world: World) -> None:
    """In the world of tasks both are of one thread."""
    for kind, other in pairs_of(world):
        for hold, wait in pairs(world):
            holder = Nested(world, kind, hold, None)
            holder.enters()
            waiting = attempt(world, other, wait)
            waiting.settle()
            time.sleep(MOMENT)
            if waiting.done():
                with legal("who waits for another"):
                    got = waiting.result()
                raise Broken("two are in at the same time, one of them a writer" if got else "who waits for another gives up")
            holder.goes_on()
            waiting.enters("the holder has left; who waited for it does not get in")
            waiting.release()
            holder.ends("a release does not end")


@scenario("R32", *ALL, needs=Offer.SHARED)
def two_locks_read_in_two_orders(world: World) -> None:
    """As two mutexes it would be a deadlock; readers keep no readers out."""
    one, two = world.lock, world.adapter.make()
    for kind, other in pairs_of(world):
        first = Nested(world, kind, "read", "read", inner=two)
        world.lock = two
        second = Nested(world, other, "read", "read", inner=one)
        world.lock = one
        for reader in (first, second):
            reader.enters()
        for reader in (first, second):
            reader.goes_on()
        for reader in (first, second):
            reader.is_let_in("two readers of two locks, in two orders: one does not get in")


@scenario("R32", *ALL)
def two_orders_one_after_the_other(world: World) -> None:
    one, two = world.lock, world.adapter.make()
    for kind, other in pairs_of(world):
        for outer, inner, who in ((one, two, kind), (two, one, other)):
            world.lock = outer
            writer = Nested(world, who, "write", "write", inner=inner)
            writer.enters()
            writer.goes_on()
            writer.is_let_in("two locks in one order, and later in the other: somebody does not get in")
        world.lock = one


@scenario("R32", *ALL, timed=True)
def a_cycle_that_a_timeout_ends(world: World) -> None:
    """Two hold a lock each, and want the other's; one gives up after a while."""
    one, two = world.lock, world.adapter.make()
    for kind, other in pairs_of(world):
        patient = Nested(world, kind, "write", "write", inner=two)
        world.lock = two
        timed = Nested(world, other, "write", "write", inner=one, timeout=2 * MOMENT)
        world.lock = one
        for owner in (patient, timed):
            owner.enters()
        patient.goes_on()
        patient.settle()
        timed.goes_on()
        timed.ends("a timed acquire of a lock that is held does not end")
        if timed.refusal is not None:
            raise refused("a timed acquire", timed.refusal)
        if timed.got and not patient.done():
            raise Broken("two writers are in at the same time")
        patient.is_let_in("the other one has timed out, and left; who waited for it does not get in")


@scenario("R32", "task")
async def a_cycle_that_is_cancelled_from_outside(world: World) -> None:
    """The same with asyncio.timeout() around the wait: what the lock's own timeouts do not cover."""
    adapter, one, two = world.adapter, world.lock, world.adapter.make()
    got: list[str] = []

    async def patient(told: asyncio.Event) -> None:
        held = await adapter.acquire_task(one, "write", None)
        await told.wait()
        more = await adapter.acquire_task(two, "write", None)
        got.append("patient")
        await adapter.release_task(two, "write", more)
        await adapter.release_task(one, "write", held)

    async def timed(told: asyncio.Event) -> None:
        held = await adapter.acquire_task(two, "write", None)
        await told.wait()
        try:
            async with asyncio.timeout(2 * MOMENT):
                await adapter.acquire_task(one, "write", None)
                got.append("timed")
        except TimeoutError:
            pass
        await adapter.release_task(two, "write", held)

    told = asyncio.Event()
    tasks = [asyncio.create_task(each(told)) for each in (patient, timed)]
    await turns()
    told.set()
    await world.ends("one of two that wait for each other is timed from outside; they do not end", *tasks)
    for task in tasks:
        with legal("who waits, and is timed from outside, or waits for such a one,"):
            task.result()
    if got != ["patient"]:
        raise Broken("two writers are in at the same time")


@scenario("R32", "task")
async def a_child_waits_and_is_awaited_after_the_release(world: World) -> None:
    held = await world.acquire("write")
    child = asyncio.create_task(world.through("write"))
    await asyncio.sleep(MOMENT)
    await world.release("write", held)
    await world.ends("a task's parent has released; the task does not get in", child)
    with legal("a task that waits for its parent"):
        await child


@scenario("R32", "thread")
def a_child_waits_and_is_joined_after_the_release(world: World) -> None:
    adapter, lock = world.adapter, world.lock

    errors: list[BaseException] = []

    def child() -> None:
        try:
            world.sync_through("write")
        except Exception as error:  # noqa: BLE001 it is raised below
            errors.append(error)

    def parent() -> None:
        held = adapter.acquire(lock, "write", None)
        thread = threading.Thread(target=child, daemon=True)
        thread.start()
        time.sleep(MOMENT)
        adapter.release(lock, "write", held)
        thread.join()

    outcome(in_thread(parent), "a thread's parent has released, and joins it; the thread does not get in")
    for error in errors:
        raise refused("a thread that waits for its parent", error)


@scenario("R32", "thread", needs=Offer.HANDOVER)
def handed_over_and_asked_for_again(world: World) -> None:
    """Who has given away what it held waits for another, though it acquired it."""
    adapter, lock, box = world.adapter, world.lock, list[object]()
    native_id: list[int] = []

    def owner() -> None:
        native_id.append(threading.get_native_id())
        box.append(adapter.acquire(lock, "write", None))
        with legal("who has handed over what it held, and asks again,"):
            more = adapter.acquire(lock, "write", None)
        adapter.release(lock, "write", more)

    over = in_thread(owner)
    wait_until(lambda: box, "a free lock has no room")
    settle(native_id[0])
    time.sleep(MOMENT)
    if over.done():
        over.result()
        raise Broken("two writers are in at the same time")
    adapter.release(lock, "write", box.pop())
    outcome(over, "what was handed over is released; who asked again does not get in")


@scenario("R32", "task", needs=Offer.HANDOVER)
async def handed_to_another_task_and_asked_for_again(world: World) -> None:
    box: list[object] = []

    async def owner() -> None:
        box.append(await world.acquire("write"))
        await world.through("write")

    task = asyncio.create_task(owner())
    await turns()
    await asyncio.sleep(MOMENT)
    if not task.done():
        await world.release("write", box.pop())
    await world.ends("what was handed over is released; who asked again does not get in", task)
    with legal("who has handed over what it held, and asks again,"):
        task.result()


# --- R33 --------------------------------------------------------------------------------------------------------------

DUMP = "somebody holds the lock and others wait; what it tells of itself does not end"


@scenario("R33", *ALL)
def told_while_others_hold_and_wait(world: World) -> None:
    """By anybody, on a loop's own thread, and by who holds it."""
    adapter, lock = world.adapter, world.lock
    for hold in ("write", "read") if world.shared else ("write",):
        mode: Mode = "read" if hold == "read" else "write"
        holder = world.attempt(mode)
        holder.enters("a free lock has no room")
        waiting = [world.attempt("write") for _ in range(2)]
        for one in waiting:
            one.settle()
        outcome(in_thread(lambda: adapter.dump(lock)), DUMP)
        for kind in world.kinds:
            if kind != "thread":
                outcome(world.loop(kind).begin(lambda: adapter.dump(lock)), DUMP)
        holder.release()
        for _ in range(2):
            wait_until(lambda: any(one.done() for one in waiting), "the lock was looked at; who waits does not get in")  # noqa: B023
            first = next(one for one in waiting if one.done())
            first.enters("the lock was looked at; who waits does not get in")
            first.release()
            waiting.remove(first)


@scenario("R33", "thread")
def told_by_who_holds(world: World) -> None:
    def play() -> None:
        for hold in ("write", "read") if world.shared else ("write",):
            mode: Mode = "read" if hold == "read" else "write"
            held = world.adapter.acquire(world.lock, mode, None)
            world.adapter.dump(world.lock)
            world.adapter.release(world.lock, mode, held)

    outcome(in_thread(play), "who holds the lock looks at it, and sleeps for ever")


@scenario("R33", "thread")
def told_out_of_a_signal_handler(world: World) -> None:
    """The main thread is in the middle of an acquire or a release of that lock."""
    if threading.current_thread() is not threading.main_thread():
        raise NotApplicable("only the main thread handles signals")
    stop, told = threading.Event(), [0]
    began: list[float] = []  # of a look that has not ended

    def contend() -> None:
        while not stop.is_set():
            world.sync_through("write")
            time.sleep(0)

    def handler(*_: object) -> None:
        if began:
            if time.monotonic() > began[0] + PATIENCE:
                raise Hang("a signal handler looks at the lock that it has interrupted somebody in, and sleeps for ever")
            return
        began.append(time.monotonic())
        world.adapter.dump(world.lock)
        began.clear()
        told[0] += 1

    signal.signal(signal.SIGALRM, handler)
    other = in_thread(contend)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        end = time.monotonic() + 0.4
        while time.monotonic() < end or (told[0] < 50 and time.monotonic() < end + 5):
            world.sync_through("write")
            if world.shared:
                world.sync_through("read")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        stop.set()
    outcome(other, "a signal handler looked at the lock; another thread sleeps in it for ever")


@scenario("R33", *ALL)
def told_while_it_changes(world: World) -> None:
    """Again and again, while others come and go."""
    end = time.monotonic() + 0.4
    modes: list[Mode] = ["write", "read"] if world.shared else ["write"]

    def in_a_thread() -> None:
        while time.monotonic() < end:
            for mode in modes:
                world.sync_through(mode)

    async def as_a_task() -> None:
        while time.monotonic() < end:
            for mode in modes:
                held = await world.acquire(mode)
                await asyncio.sleep(0)
                await world.release(mode, held)

    def tell() -> None:
        while time.monotonic() < end:
            world.adapter.dump(world.lock)
            time.sleep(0)

    users = [
        in_thread(in_a_thread) if kind == "thread" else world.loop(kind).submit(as_a_task())
        for kind in (*world.kinds, *world.kinds)
    ]
    for one in (in_thread(tell), *users):
        outcome(one, "the lock was looked at while it changes; somebody sleeps for ever", 6)
