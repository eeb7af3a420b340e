"""Which of them lies: a lock's word, its queues, or the guards that are alive.

Each look reads the word, the lot's queues, the holders, and the word again. Where the word differs, the look says nothing: the
lock was in use just then. A word that no sequence of operations leads to is certain at once. All else is reported only if
every look of half a second says so, for who is amid an acquire or a release is through with it by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiolots import _transitions, _troubles
from aiolots._lib import FAIR_MUTEX, MUTEX, QUEUED, READ, READ_RECURSIVE, UPGRADABLE, UPGRADE, WRITE
from aiolots._transitions import Transition
from aiolots._waiters import MODE_NAMES, _Info, _infos, _word_of, contended
from aiolots._word import PARKED, WRITER, WRITER_PARKED, DecodedWord, decode
from aiolots._word import UPGRADABLE as UPGRADABLE_BIT

if TYPE_CHECKING:
    from aiolots._front import LockBase

_SHARES = (READ, READ_RECURSIVE, UPGRADABLE)
_ALONE = (WRITE, UPGRADE, MUTEX, FAIR_MUTEX)
_LOOKS, _PAUSE = 25, 0.02  # all of them: half a second
_ENOUGH = 5  # of them have to be of a lock at rest


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a lock; `str()` says it in a sentence, and below that the last few transitions.

    Attributes:
        kind: "impossible word", "parked without a queue", "a queue without parked", "held by nobody", "more readers than
            guards", "more guards than readers", "a guard of a free lock" or "nobody will wake them".
        lock: which lock: `<aiolots.RwLock 'catalog'>`.
        lock_name: its name, or None.
        word: its word, decoded, as it was at the last look.
        holders: the modes of the guards that are alive and hold it.
        waiting: how many wait in its queues.
        explanation: what contradicts what.
        transitions: the last steps that the lock went through where somebody had to wait for it, in their order; 16 at most.
    """

    kind: str
    lock: str
    lock_name: str | None
    word: DecodedWord
    holders: tuple[str, ...]
    waiting: int
    explanation: str
    transitions: tuple[Transition, ...] = ()

    def __str__(self) -> str:
        state = "" if self.word.problems else f" ({self.word})"
        last = "".join(f"\n    {line}" for line in _transitions.lines(self.transitions, self.word.word))
        return f"{self.lock}, word {self.word.word:#x}{state}: {self.kind}: {self.explanation}{last}"


@dataclass(frozen=True)
class _Look:
    word: int
    infos: tuple[_Info, ...]
    modes: tuple[int, ...]  # of the holders that are known
    address: int

    def queue(self, phase: int) -> list[_Info]:
        """Who is queued to get in (0), or waits for readers to leave (1)."""
        return [i for i in self.infos if i.state == QUEUED and i.key == self.address + phase]

    @property
    def someone_is_woken(self) -> bool:
        """Whether a task has a wake, perhaps with the lock, that it has not taken up."""
        return any(i.state != QUEUED for i in self.infos)


def audit(*locks: LockBase[Any]) -> list[Finding]:
    """Compare word, queues and guards of these locks, or of all that anybody ever had to wait for. Empty: all is well.

    Takes no lock. Returns at once if nothing looks wrong; else it looks again for half a second, in which the thread sleeps:
    in a task run it by `asyncio.to_thread`. What is not known to it, it takes for nobody: locks that native code holds
    through the C headers, and guards that gc.freeze() has put away.
    """
    suspects = [(lock, found) for lock in locks or list(contended.values()) if (found := _suspicions(lock, _look(lock)))]
    certain = [(lock, found) for lock, found in suspects if set(found) == {"impossible word"}]
    doubtful = [suspect for suspect in suspects if suspect not in certain]
    return [_finding(lock, kind, text) for lock, found in certain + _confirmed(doubtful) for kind, text in found.items()]


def _confirmed(suspects: list[tuple[LockBase[Any], dict[str, str]]]) -> list[tuple[LockBase[Any], dict[str, str]]]:
    looks = [0] * len(suspects)
    for _ in range(_LOOKS if suspects else 0):
        time.sleep(_PAUSE)
        for i, (lock, found) in enumerate(suspects):
            if (look := _look(lock)) is not None:
                looks[i] += 1
                again = _suspicions(lock, look)
                suspects[i] = lock, {kind: again[kind] for kind in found if kind in again}
    return [suspect for suspect, often in zip(suspects, looks, strict=True) if often >= _ENOUGH]


def _look(lock: LockBase[Any]) -> _Look | None:
    word = lock.word
    infos = tuple(_infos(_word_of(lock)))
    modes = tuple(holder.mode for holder in lock._known_holders())
    return _Look(word, infos, modes, lock.address) if lock.word == word else None


def _suspicions(lock: LockBase[Any], look: _Look | None) -> dict[str, str]:
    if look is None:
        return {} if not decode(lock.word).problems else {"impossible word": "; ".join(decode(lock.word).problems)}
    if problems := decode(look.word).problems:
        return {"impossible word": "; ".join(problems)}
    return {kind: text for kind, says in _CHECKS if (text := says(look))}


def _parked_without_a_queue(look: _Look) -> str:
    if look.word & PARKED and not look.queue(0):
        return "the word says that somebody is queued to get in, and nobody is"
    if look.word & WRITER_PARKED and not look.queue(1):
        return "the word says that a writer waits for the readers to leave, and none does"
    return ""


def _a_queue_without_parked(look: _Look) -> str:
    if (queue := look.queue(0)) and not look.word & PARKED:
        return f"{len(queue)} are queued, but the word does not say so: whoever releases the lock wakes nobody"
    if look.queue(1) and not look.word & WRITER_PARKED:
        return "a writer waits for the readers to leave, but the word does not say so: the last of them wakes nobody"
    return ""


def _held_by_nobody(look: _Look) -> str:
    if look.word & WRITER and not look.queue(1) and not look.someone_is_woken and not any(m in _ALONE for m in look.modes):
        return "a writer owns it, says the word, but no guard that is alive is one"
    return ""


def _more_readers(look: _Look) -> str:
    readers, shares = decode(look.word).readers, sum(mode in _SHARES for mode in look.modes)
    if readers > shares and not look.someone_is_woken:
        return f"{readers} readers, says the word, but {shares} guards are alive that hold a share"
    return ""


def _more_guards(look: _Look) -> str:
    readers, shares = decode(look.word).readers, sum(mode in _SHARES for mode in look.modes)
    if shares > readers and not look.word & WRITER:
        return f"{shares} guards hold a share, but the word says {readers}: some share was given back twice"
    return ""


def _a_guard_of_a_free_lock(look: _Look) -> str:
    if any(mode in _ALONE for mode in look.modes) and not look.word & WRITER:
        return "a guard holds it alone, but the word has no writer: others can get in beside it"
    return ""


def _nobody_will_wake(look: _Look) -> str:
    queue = look.queue(0)
    if not queue or look.someone_is_woken or queue[0].skipped or look.queue(1):
        return ""
    mode = queue[0].mode
    keeps_out = WRITER if mode in (READ, READ_RECURSIVE, MUTEX, FAIR_MUTEX) else WRITER | UPGRADABLE_BIT
    if look.word & keeps_out:
        return ""
    return f"{len(queue)} wait, and nothing keeps the first of them ({MODE_NAMES[mode]}) out, but nobody has woken it"


_CHECKS: tuple[tuple[str, Callable[[_Look], str]], ...] = (
    ("parked without a queue", _parked_without_a_queue),
    ("a queue without parked", _a_queue_without_parked),
    ("held by nobody", _held_by_nobody),
    ("more readers than guards", _more_readers),
    ("more guards than readers", _more_guards),
    ("a guard of a free lock", _a_guard_of_a_free_lock),
    ("nobody will wake them", _nobody_will_wake),
)


def _finding(lock: LockBase[Any], kind: str, text: str) -> Finding:
    if kind == "impossible word":
        _troubles.corruption(lock, lock.word)
    return Finding(
        kind=kind,
        lock=f"<aiolots.{type(lock).__name__}{'' if lock.name is None else f' {lock.name!r}'}>",
        lock_name=lock.name,
        word=decode(lock.word),
        holders=tuple(MODE_NAMES[holder.mode] for holder in lock._known_holders()),
        waiting=len(_infos(_word_of(lock))),
        explanation=text,
        transitions=_transitions.transitions_of(lock),
    )
