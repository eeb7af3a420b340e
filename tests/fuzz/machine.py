"""The rules: one step of the public API each. After every step the stage is calm, and must agree with the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.fuzz import model
from tests.fuzz.model import Action, Op, Program, State
from tests.fuzz.stage import HERE, IN, LATE, LOOPS, OUT, THREADS, Attempt, Place, Stage
from tests.fuzz.subject import AIOLOTS, Subject, request_of, timed_request_of
from tests.worlds import WATCHDOG, Stuck, outcome_of, wait_until

TASKS = 3  # that wait on one loop, at most
SHORT = 0.003  # seconds, of a wait that must time out
LONG = 5 * WATCHDOG  # seconds, of a wait that must not

T = TypeVar("T")
Step = Callable[[], object]


class Picks:
    """Choices out of what there is at the time.

    Hypothesis wants to draw the same again when the same steps are taken again, and two runs of the same steps may find the
    locks in different states, both right. So it draws bytes, whatever the state is, and they are read by the state.
    """

    def __init__(self, drawn: bytes) -> None:
        self._drawn = iter(drawn)

    def __repr__(self) -> str:
        return "..."

    def of(self, options: Sequence[T]) -> Any:
        """Choose one of them; None if there is none."""
        number = next(self._drawn, 0)
        return options[number % len(options)] if options else None

    def whether(self) -> bool:
        return bool(self.of([False, True]))


PICKS = st.binary(min_size=24, max_size=24).map(Picks)


class Seen(NamedTuple):
    """What a model and a lock must agree in."""

    word: int
    holders: frozenset[int]
    queue: list[int]
    drains: int | None


def seen_of(state: State) -> Seen:
    return Seen(state.word, state.holders, state.queue, state.writer if state.drains else None)


class Machine(RuleBasedStateMachine):
    """Acquires by threads and tasks, in every form; releases, cancellations, timeouts; each alone and several at once."""

    subject: ClassVar[Subject] = AIOLOTS
    examples: ClassVar[int] = 0
    failures: ClassVar[list[str]]
    patience: ClassVar[float] = WATCHDOG
    _stage: ClassVar[Stage | None] = None  # lives on from example to example

    def __init__(self) -> None:
        super().__init__()
        cls = type(self)
        cls._stage = cls._stage or Stage(self.subject, self.patience)
        self.stage = cls._stage
        self.locks = [kind.make(0, name=f"lock {i}") for i, kind in enumerate(self.subject.kinds)]
        self.states = [State() for _ in self.locks]
        self.values = [0 for _ in self.locks]
        self.ops: dict[int, Op] = {}
        self.held: dict[int, Attempt] = {}
        self.released: list[Attempt] = []
        self.leaving: dict[int, str] = {}  # who may end without the lock, and how
        self.calm = True
        self.story: list[str] = []

    def says(self, what: str) -> None:
        """Note what is about to be done: it is told if it goes wrong."""
        self.story.append(what)
        self.calm = False

    def told(self, what: str) -> str:
        message = "\n  ".join([what, "after", *self.story])
        type(self).failures.append(message)
        return message

    # --- between the rules ------------------------------------------------------------------------------------------

    def check(self, programs: dict[int, list[Program]] | None = None) -> None:
        """Let all come to rest, and hold the locks to the model. `programs` is what was done, by lock."""
        try:
            ended, queues = self.stage.settle(self.locks)
        except Stuck as stuck:
            raise Stuck(self.told(str(stuck))) from None
        for attempt in ended:
            outcome = attempt.outcome.result()  # raises what it should not have raised
            if outcome == IN:
                assert attempt.mode == model.DROP_IN or attempt.guard is attempt.request, "the request is the guard"
                self.held[attempt.op] = attempt
            else:
                assert self.leaving.get(attempt.op) == outcome, self.told(f"{attempt} {outcome}")
        owners = {attempt.owner: attempt.op for attempt in self.stage.pending}
        for kind, queue in enumerate(queues):
            drains = [owners[waiter.owner] for waiter in queue if waiter.draining]
            seen = Seen(
                self.locks[kind].word,
                frozenset(op for op, attempt in self.held.items() if attempt.kind == kind),
                [owners[waiter.owner] for waiter in queue if not waiter.draining],
                drains[0] if drains else None,
            )
            done = (programs or {}).get(kind, [])
            allowed = model.outcomes(self.states[kind], done, self.ops)
            found = [state for state in allowed if seen_of(state) == seen]
            assert found, self.told(self._difference(kind, allowed, seen))
            self.states[kind] = found[0]
        for attempt in self.held.values():
            if attempt.mode != model.DROP_IN:
                assert attempt.guard.is_held(), self.told(f"not held: {attempt}")
                assert attempt.guard.value == self.values[attempt.kind], self.told(f"another value: {attempt}")
        self.calm = True

    def _difference(self, kind: int, allowed: set[State], seen: Seen) -> str:
        ways = "".join(f"\n    {seen_of(state)}" for state in allowed)
        return f"lock {kind} was {seen_of(self.states[kind])}\n  may be{ways}\n  but is\n    {seen}"

    def idle(self) -> list[Place]:
        """Return where something can be acquired: the threads that wait for nothing, the loops."""
        busy = {attempt.place.thread for attempt in self.stage.pending}
        crowded = [sum(attempt.place.loop == loop for attempt in self.stage.pending) >= TASKS for loop in range(len(LOOPS))]
        threads = [Place(thread=thread) for thread in range(THREADS) if thread not in busy]
        return threads + [Place(loop=loop) for loop, full in enumerate(crowded) if not full]

    def free(self) -> list[Place]:
        """Return where something can be done that does not wait."""
        threads = [place for place in self.idle() if place.thread is not None]
        return [HERE, *threads, *(Place(loop=loop) for loop in range(len(LOOPS)))]

    def modes(self, *, drop_in: bool = True) -> list[tuple[int, str]]:
        kinds = enumerate(self.subject.kinds)
        return [(i, mode) for i, kind in kinds for mode in kind.modes if drop_in or mode != model.DROP_IN]

    def new(self, kind: int, mode: str, place: Place, request: Any) -> Attempt:
        op = len(self.ops)
        self.ops[op] = Op(mode, place.loop)
        return Attempt(op, kind, mode, place, request)

    def asks(self, pick: Picks, place: Place) -> tuple[Attempt, Step]:
        """Choose a new acquire at that place, of any mode and form."""
        kind, mode = pick.of(self.modes())
        form = pick.of(["plain", "timeout", "for"]) if mode != model.DROP_IN else "plain"
        lock = self.locks[kind]
        request = request_of(lock, mode) if form == "plain" else timed_request_of(lock, mode, form, LONG)
        attempt = self.new(kind, mode, place, request)
        self.says(f"{attempt}: {form}")
        return attempt, self.stage.begin(attempt, enter=pick.whether() and mode != model.DROP_IN)

    def lets_go(self, attempt: Attempt, *, fair: bool) -> Step:
        """Return what releases it."""
        self.says(f"release{'_fair' * fair} {attempt}")
        del self.held[attempt.op]
        self.released = [attempt, *self.released[:3]]
        release: Step = attempt.guard.release_fair if fair else attempt.guard.release
        return release

    def gives_up(self, attempt: Attempt) -> Step:
        """Return what cancels its task."""
        self.says(f"cancel {attempt}")
        assert attempt.task is not None
        self.leaving[attempt.op] = OUT
        attempt.leaves = True
        return attempt.task.cancel

    # --- acquire ----------------------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def request(self, pick: Picks) -> None:
        for _ in range(pick.of([1, 2, 3])):
            if place := pick.of(self.idle()):
                attempt, begin = self.asks(pick, place)
                self.stage.post(place, begin)
                self.check({attempt.kind: [Program(place.loop, (Action("request", attempt.op),))]})

    @rule(pick=PICKS)
    def try_now(self, pick: Picks) -> None:
        """Each of the three forms that never wait."""
        place = pick.of(self.free())
        kind, mode = pick.of(self.modes())
        lock, expected = self.locks[kind], self.states[kind].can_have(mode)
        form = pick.of(["now", "timeout", "for"])
        self.says(f"try {mode} at {place}: {form}")
        if mode == model.DROP_IN:
            attempt = self.new(kind, mode, place, request_of(lock, mode))
            attempt.guard = attempt.request if self.stage.do(place, lambda: lock.acquire(blocking=False)) else None
            attempt.is_task = False
        elif form == "now":
            attempt = self.new(kind, mode, place, None)
            attempt.request = attempt.guard = self.stage.do(place, getattr(lock, f"try_{mode}"))
            attempt.is_task = False
        else:
            attempt = self.new(kind, mode, place, timed_request_of(lock, mode, form, 0))
            self.stage.do(place, self.stage.begin(attempt, enter=pick.whether()))
            self.stage.pending.remove(attempt)
            wait_until(lambda: attempt.done, f"with a timeout of 0 it waits: {attempt}", self.patience)
            assert attempt.outcome.result() in (IN, LATE)
        assert (attempt.guard is not None) == expected, self.told(f"{attempt} got {attempt.guard}")
        if expected:
            self.held[attempt.op] = attempt
        self.check({kind: [Program(place.loop, (Action("request", attempt.op),))]} if expected else None)

    @rule(pick=PICKS)
    def expire(self, pick: Picks) -> None:
        """A wait that times out, and others that came behind it in time, or just too late."""
        place = pick.of(self.idle())
        found = pick.of([(kind, mode) for kind, mode in self.modes(drop_in=False) if not self.states[kind].can_have(mode)])
        if place is None or found is None:
            return
        kind, mode = found
        late = self.new(kind, mode, place, timed_request_of(self.locks[kind], mode, pick.of(["timeout", "for"]), SHORT))
        self.says(f"{late}: times out")
        late.leaves = True
        self.leaving[late.op] = LATE
        programs: dict[int, list[Program]] = {i: [] for i in range(len(self.locks))}
        programs[kind] += [
            Program(place.loop, (Action("request", late.op),)),
            Program(place.loop, (Action("expire", late.op),)),
        ]
        self.stage.post(place, self.stage.begin(late, enter=pick.whether()))
        wait_until(
            lambda: late.done or late.owner in [w.owner for w in self.subject.waiters(self.locks[kind])], seconds=self.patience
        )
        for _ in range(pick.of(range(3))):
            if place := pick.of(self.idle()):
                attempt, begin = self.asks(pick, place)
                self.stage.post(place, begin)
                programs[attempt.kind].append(Program(place.loop, (Action("request", attempt.op),)))
        self.check(programs)

    # --- release and cancel -----------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def release(self, pick: Picks) -> None:
        if attempt := pick.of(list(self.held.values())):
            place = pick.of(self.free())
            fair = pick.whether() and attempt.mode != model.DROP_IN
            self.says(f"at {place}:")
            self.stage.do(place, self.lets_go(attempt, fair=fair))
            self.check({attempt.kind: [Program(place.loop, (Action("release", attempt.op, fair),))]})

    @rule(pick=PICKS)
    def release_again(self, pick: Picks) -> None:
        """Refused, and nothing has changed (W6)."""
        if attempt := pick.of([attempt for attempt in self.released if attempt.mode != model.DROP_IN]):
            place = pick.of(self.free())
            self.says(f"at {place}: release {attempt} again")
            self.refuses(place, RuntimeError, attempt.guard.release_fair if pick.whether() else attempt.guard.release)
            self.check()

    def refuses(self, place: Place, error: type[Exception], step: Step) -> None:
        try:
            got = self.stage.do(place, step)
        except error:
            return
        raise AssertionError(self.told(f"no {error.__name__}, but {got!r}"))

    @rule(pick=PICKS)
    def cancel(self, pick: Picks) -> None:
        if attempt := pick.of(self.stage.pending):
            if attempt.task is not None:
                self.stage.do(attempt.place, self.gives_up(attempt))
            else:
                self.says(f"interrupt {attempt}")
                self.leaving[attempt.op] = OUT
                self.stage.interrupt(attempt)
            what = "withdraw" if attempt.task is None else "cancel"
            self.check({attempt.kind: [Program(attempt.place.loop, (Action(what, attempt.op),))]})

    def acts(self, pick: Picks, place: Place) -> tuple[Attempt, Action, Step] | None:
        """Choose something to do at a place: release what is held, cancel a task of this loop, or ask."""
        held = list(self.held.values())
        tasks = [a for a in self.stage.pending if a.place == place and a.task is not None and not a.leaves]
        whats = ["release"] * bool(held) + ["cancel"] * bool(tasks) + ["request"] * (place in self.idle())
        what = pick.of(whats)
        if what is None:
            return None
        if what == "request":
            attempt, step = self.asks(pick, place)
            return attempt, Action("request", attempt.op), step
        attempt = pick.of(held if what == "release" else tasks)
        if what == "cancel":
            return attempt, Action("cancel", attempt.op), self.gives_up(attempt)
        fair = pick.whether() and attempt.mode != model.DROP_IN
        return attempt, Action("release", attempt.op, fair), self.lets_go(attempt, fair=fair)

    @rule(pick=PICKS)
    def in_one_callback(self, pick: Picks) -> None:
        """Several things between two steps of a loop's tasks: a wake, and its task cancelled before it runs (R06 to R08)."""
        place = Place(loop=pick.of(range(len(LOOPS))))
        self.says(f"in one callback of {place}:")
        steps: list[Step] = []
        actions: dict[int, list[Action]] = {i: [] for i in range(len(self.locks))}
        for _ in range(pick.of([2, 3, 4])):
            if chosen := self.acts(pick, place):
                attempt, action, step = chosen
                steps.append(step)
                actions[attempt.kind].append(action)
        self.stage.do(place, lambda: [step() for step in steps])
        self.check({kind: [Program(place.loop, tuple(those))] for kind, those in actions.items() if those})

    @rule(pick=PICKS)
    def at_once(self, pick: Picks) -> None:
        """Several things in several places, nobody waiting for anybody else."""
        self.says("at once, each in its place:")
        places = [place for place in self.free() if place != HERE]
        steps: list[tuple[Place, Action, Step]] = []
        programs: dict[int, list[Program]] = {i: [] for i in range(len(self.locks))}
        for _ in range(min(pick.of([2, 3]), len(places))):
            place = pick.of(places)
            places.remove(place)
            if chosen := self.acts(pick, place):
                attempt, action, step = chosen
                steps.append((place, action, step))
                programs[attempt.kind].append(Program(place.loop, (action,)))
        futures = [(place, action, self.stage.post(place, step)) for place, action, step in steps]
        for place, action, future in futures:
            if place.loop is not None or action.what != "request":  # what parks a thread is waited for by check()
                outcome_of(future)
        self.check(programs)

    # --- the end ----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not self.calm:  # a failure is on its way; whoever hangs keeps the stage
            if not type(self).failures:
                self.told("it went wrong, or hangs,")
            type(self).end_stage(broken=True)
            return
        while self.held:
            op, attempt = next(iter(self.held.items()))
            self.stage.do(HERE, self.lets_go(attempt, fair=False))
            self.check({attempt.kind: [Program(None, (Action("release", op),))]})
        assert not self.stage.pending
        assert self.states == [State() for _ in self.locks]
        for lock in self.locks:
            assert lock.word == 0
            assert self.subject.waiters(lock) == []

        type(self).examples += 1

    @classmethod
    def play(cls, settings: settings) -> None:
        """Run examples. AssertionError with the story of the first that fails, whether it fails again or not."""
        cls.failures, cls.examples = [], 0
        try:
            run_state_machine_as_test(cls, settings=settings)
        except Exception as error:
            if cls.failures:
                raise AssertionError(cls.failures[0]) from error
            raise
        finally:
            cls.end_stage()

    @classmethod
    def end_stage(cls, *, broken: bool = False) -> None:
        """End the threads and loops that the examples shared."""
        if cls._stage is not None:
            cls._stage.close(broken=broken)
            cls._stage = None
