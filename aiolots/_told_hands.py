"""The guards that tasks have in hand, where there is no GIL: as the threads of their loops have told (_told.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from aiolots._holds import _MODES, Hold, InHand, Node
from aiolots._lib import MUTEX
from aiolots._refusals import place
from aiolots._told import Hand, Told, ToldLoop


class ToldHands(InHand):
    """The guards that those tasks have in hand. `loops`: all of these were told, and are the only ones if it is `complete`.

    If there are others, one of their tasks may have the guard too, that could release it: so a hold that was taken by a task
    is believed only of a guard that nothing refers to but the tasks that were told.
    """

    def __init__(self, loops: Iterable[ToldLoop], waits_for: Callable[[Any], int], *, complete: bool) -> None:
        super().__init__((), waits_for)
        self._complete = complete
        self._told: dict[int, tuple[Hand, list[Node]]] = {}
        self._tokens = {loop.token for loop in loops}
        for loop in loops:
            for key, task in loop.tasks.items():
                self._look_at_told(task, ("task", key), waits_for(key))

    def _look_at_told(self, task: Told, node: Node, awaited: int) -> None:
        for hand in task.hands:
            owners = self._told.setdefault(hand.identity, (hand, []))[1]
            owners.append(node)
        for address, count in task.exits:
            if count > (address == awaited):  # as InHand has it
                self._bare.setdefault(address, []).append(node)

    def of(self, lock: Any) -> list[Hold]:
        """Return the holds of a lock that tasks have in hand."""
        found: list[Hold] = []
        for hand, owners in self._told.values():
            guard = hand.guard() if hand.lock is lock else None
            if guard is not None and guard._holds():
                mode = _MODES.get(type(guard).__name__, MUTEX)
                colour = bool(getattr(guard, "_of_task", True))
                identity = ("guard", hand.identity, mode)
                found.append(Hold(lock, mode, tuple(owners), place(guard._site), False, colour, identity))
        return found + super().of(lock)  # the mutexes without a guard

    def believes(self, hold: Hold) -> bool:
        """Whether nobody else could end that hold, for all that is known."""
        kind = hold.identity[0]
        if self._complete or kind == "owned" or not hold.of_task:
            return True
        if kind == "guard":
            return self._told[hold.identity[1]][0].alone
        return kind == "bare" and any(holder.thread in self._tokens for holder in hold.lock._holder_list())
