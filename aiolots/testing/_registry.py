"""The list of scenarios, each in its variants: one function may be played in several worlds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiolots.testing._adapter import Kind, Offer
from aiolots.testing._world import WORLDS, World, outcome

Play = Callable[[World], Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to play a scenario."""

    scenario: str  # "R03"
    name: str
    world: str
    needs: Offer
    kind: Kind
    play: Play

    def run(self, world: World) -> None:
        """Play it, and see whether the lock is usable afterwards; Hang, Broken or anything else if it goes wrong."""
        if inspect.iscoroutinefunction(self.play):
            outcome(world.loop().submit(self.play(world)), "the loop's thread sleeps in the lock", 15)
        else:
            self.play(world)
        if self.kind not in ("event", "barrier", "once"):
            world.usable()


VARIANTS: list[Variant] = []


def scenario(
    number: str, *worlds: str, needs: Offer = Offer.NOTHING, timed: bool = False, kind: Kind = "lock"
) -> Callable[[Play], Play]:
    """Register a function that plays a scenario, in these worlds; `timed`: it needs acquires with a timeout there."""

    def register(play: Play) -> Play:
        for world in worlds:
            _, offer, timeouts = WORLDS[world]
            name = f"{play.__name__.replace('_', ' ')} ({world})"
            VARIANTS.append(Variant(number, name, world, needs | offer | (timeouts if timed else Offer.NOTHING), kind, play))
        return play

    return register
