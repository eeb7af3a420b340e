"""Why somebody waits: what is wrong is named, each with its place.

    corruption      a word that no sequence of operations leads to
    deadlock        owners wait for each other: aiolots.deadlock
    dead owner      the thread that took the lock has ended, or the task; nobody that runs has the guard
    leaked guard    who took it lives, but has it no more: it is kept by a container or an object that nobody uses now
    stuck loop      an event loop does not come to its callbacks, so no task of it goes on
    contention      none of these: somebody holds it, and others have to wait

A guard is a capability, so who took it need not be who will release it. Dead owners and leaked guards are therefore named only
where somebody has waited for a while, and nobody who runs refers to the guard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

from aiolots import _hands, _reach, _threads, _track, _troubles, _wait_graph, deadlock
from aiolots._cycles import Cycle
from aiolots._holds import Hold, Node
from aiolots._moment import LockNow, Moment
from aiolots._pings import Ping
from aiolots._waiters import MODE_NAMES

KINDS = ("corruption", "deadlock", "dead owner", "leaked guard", "stuck loop", "contention")
AWHILE = 0.4  # seconds that a wait was seen for, before its holder is suspected


@dataclass(frozen=True)
class Cause:
    """What is wrong. `str()` is a sentence.

    Attributes:
        kind: one of KINDS.
        lock: which lock, as `<aiolots.RwLock 'catalog'>`; None of a loop, or where several are part of it.
        text: what is the matter.
        places: file, line and function: where to look first.
    """

    kind: str
    lock: str | None
    text: str
    places: tuple[str, ...] = ()

    @property
    def is_trouble(self) -> bool:
        """Whether it does not pass by itself."""
        return self.kind != "contention"

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def deadlocks(moment: Moment) -> list[tuple[Cycle, frozenset[object]]]:
    """Return the deadlocks, each with what identifies its waits."""
    return deadlock._check(lambda wait: None if wait.lock is None else moment.since.seconds(wait.identity, moment.now))


def causes(
    moment: Moment,
    cycles: list[tuple[Cycle, frozenset[object]]],
    pings: list[Ping],
    awhile: float = AWHILE,
    suspects: Collection[int] = (),
) -> list[Cause]:
    """Name what is wrong, the worst first. `suspects`: addresses of locks that were late, though nobody may wait now."""
    found = [*_corruptions(moment), *(_of_cycle(cycle) for cycle, _ in cycles)]
    stuck_keys = [cast("tuple[Any, ...]", key) for _, keys in cycles for key in keys]
    explained = {key[1] for key in stuck_keys if key[0] == "lock"}
    late = [now for now in moment.locks if _longest(now, moment) >= awhile or now.lock.address in suspects]
    late = [now for now in late if now.lock.address not in explained and not now.word.problems]
    stuck = [_Stuck(ping, moment) for ping in pings if ping.seconds() >= awhile]
    wanted = [now for now in moment.locks if now.infos or now.lock.address in suspects]
    excused = {now.lock.address for loop in stuck for now in wanted if loop.holds(now, moment)}
    found += _of_holders([now for now in late if now.lock.address not in excused], moment)
    found += [loop.cause(moment) for loop in stuck]
    return sorted(found, key=lambda cause: KINDS.index(cause.kind))


def _longest(now: LockNow, moment: Moment) -> float:
    return max((moment.since.of(info, moment.now) for info in now.infos), default=0.0)


def _corruptions(moment: Moment) -> Iterator[Cause]:
    for now in moment.locks:
        if now.word.problems:
            _troubles.corruption(now.lock, now.word.word)
            text = f"{now.label} has the word {now.word.word:#x}: {'; '.join(now.word.problems)}"
            yield Cause("corruption", now.label, text, tuple(hold.place for hold in now.holds if hold.place))


def _of_cycle(cycle: Cycle) -> Cause:
    owners = " -> ".join(str(owner) for owner in (*cycle.owners, cycle.owners[0]))
    return Cause("deadlock", None, owners, tuple(owner.waits_at for owner in cycle.owners))


class _Stuck:
    """A loop that does not come to its callbacks, and the locks that are held there and waited for."""

    def __init__(self, ping: Ping, moment: Moment) -> None:
        self._ping = ping
        frames = {ident: {id(frame) for frame in moment.look.threads.calls(ident)} for ident in moment.look.threads.frames}
        ident = ping.thread(frames)
        self._thread: Node | None = None if ident is None else ("thread", ident)
        self._locks: list[LockNow] = []

    def holds(self, now: LockNow, moment: Moment) -> bool:
        """Whether a task of it holds that lock, or its thread; it is named then."""
        tasks = moment.look.tasks
        mine = any(
            node == self._thread or (node[0] == "task" and node[1] in tasks and moment.loop_of(node) is self._ping.loop)
            for hold in now.holds
            for node in hold.owners
        )
        if mine:
            self._locks.append(now)
        return mine

    def cause(self, moment: Moment) -> Cause:
        """Say which loop it is, where its thread is, and who waits for that."""
        at = None if self._thread is None else moment.at(self._thread)
        on = "" if self._thread is None else f" on {moment.name(self._thread)}"
        where = "" if at is None else f": its thread is at {at}"
        held = "".join(f"; it holds {now.label}, {_queue(now, moment)}" for now in self._locks)
        text = f"{self._ping.loop!r}{on} has not come to its callbacks for {self._ping.seconds():.2g} s{where}{held}"
        return Cause("stuck loop", self._locks[0].label if self._locks else None, text, () if at is None else (at,))


def _of_holders(late: list[LockNow], moment: Moment) -> Iterator[Cause]:
    """Blame the holders of the locks that somebody waits for since a while."""
    guards = _hands.held_guards([now.lock for now in late]) if late else []
    reached: dict[int, Node] = {}
    if guards and _wait_graph._nothing_moves_while_we_look():
        reached = _reach.who_reaches({guard.identity for guard in guards}, moment.look.threads, moment.tasks)
    for now in late:
        mine = [guard for guard in guards if guard.address == now.lock.address]
        blamed = [found for hold in now.holds if (found := _blame(now, hold, mine, reached, moment))]
        yield from blamed or [_contention(now, mine, reached, moment)]


def _blame(now: LockNow, hold: Hold, guards: list[_hands.HeldGuard], reached: dict[int, Node], moment: Moment) -> Cause | None:
    if hold.owners and not hold.by_some_task and hold.owners[0][0] == "task":
        return None  # a task has it in hand
    ended = not hold.owners and _threads.has_ended(hold.token)
    lost = [guard for guard in guards if guard.identity not in reached]
    suspects = [guard for guard in lost if guard.token == hold.token and guard.is_task == hold.of_task]
    if not suspects and not (ended and not guards):  # without a guard nobody but its thread will release it
        return None
    if not ended and (not _wait_graph._nothing_moves_while_we_look() or not hold.owners):
        return None
    if not ended and _reach.has_an_open_with(hold.owners[0][1], moment.look.threads, in_a_task=hold.of_task):
        return None
    place = next((guard.place for guard in suspects if guard.place), None)
    asked = "" if place is None else f", asked for at {place}"
    who = moment.holder(hold)
    kind = "dead owner" if ended else "leaked guard"
    why = "" if ended else ": no function that runs and no task refers to its guard, which is kept alive by something else"
    if (dead := _tracked_and_ended(now, hold, place)) is not None:
        kind, why, who = "dead owner", "", dead
    if kind == "dead owner":
        _troubles.dead_owner(now.lock, (hold.token, hold.identity))
    text = f"{now.label} is held ({MODE_NAMES[hold.mode]}) by {who}{asked}{why}; {_queue(now, moment)}"
    return Cause(kind, now.label, text, () if place is None else (place,))


def _tracked_and_ended(now: LockNow, hold: Hold, place: str | None) -> str | None:
    """Return who took it, if that was tracked, and is a thread or task that has ended."""
    for info in _track.infos(now.lock)[0]:
        if info.remark == "has ended" and info.mode == MODE_NAMES[hold.mode] and place in (None, info.place):
            return f"{info.who.removesuffix(' (has ended)')}, which has ended"
    return None


def _contention(now: LockNow, guards: list[_hands.HeldGuard], reached: dict[int, Node], moment: Moment) -> Cause:
    places: list[str] = []
    holders: list[str] = []
    for hold in now.holds:
        at = moment.at(hold.owners[0]) if hold.owners else None
        guard = next((guard for guard in guards if guard.token == hold.token and guard.is_task == hold.of_task), None)
        asked = hold.place or (guard and guard.place)
        heir = None if guard is None else reached.get(guard.identity)
        places += [place for place in (at, asked) if place]
        text = f"{moment.holder(hold)} ({MODE_NAMES[hold.mode]})"
        text += f", asked for at {asked}" if asked else ""
        text += f", now at {at}" if at else ""
        text += f", whose guard {moment.name(heir)} has in hand" if heir and not hold.owners else ""
        holders.append(text)
    by = f"held by {'; '.join(holders[:5])}" if holders else "nobody is known to hold it"
    more = f"; and {len(holders) - 5} more" if len(holders) > 5 else ""
    return Cause("contention", now.label, f"{now.label}: {_queue(now, moment)}; {by}{more}", tuple(dict.fromkeys(places)))


def _queue(now: LockNow, moment: Moment) -> str:
    longest = _longest(now, moment)
    if not now.infos:
        return "nobody waits for it now"
    return f"{len(now.infos)} wait{'s' if len(now.infos) == 1 else ''} for it, the longest since {longest:.2g} s at least"
