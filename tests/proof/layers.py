"""What the proof is made of: PROOF's layers, each with its commands, and the seconds that it may take on two cores."""

from __future__ import annotations

from dataclasses import dataclass

Command = tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """One layer. `commands` are arguments of this very Python, but for NAME=value in front: the environment.

    `figure`: a regular expression; what its last match in a command's output says is the command's result.
    """

    name: str
    commands: tuple[Command, ...]
    seconds: int
    figure: str = r".*\S.*"


MODEL = Layer("model", (("-m", "pytest", "-q", "tests/test_model_lock_word.py"),), 20, r"\d+ \w+.* in .*")
BUG = Layer("bug of 2025-05-28", (("-m", "tests.explorer", "--bug", "465"),), 20, r"bug 465: .*")
CORPUS = Layer("corpus", (("-m", "tests.explorer", "--corpus"),), 40, r"corpus found .*")
ORDERS = Layer("order mutants", (("-m", "tests.explorer", "--mutant", "orders"),), 40, r"mutant found .*")
FUZZ = ("AIOLOTS_FUZZ=long", "AIOLOTS_FUZZ_EXAMPLES=1500")  # a thousand take a minute
EXPLORED = r"programs \d+ schedules .*"


def explorer(name: str, seconds: int, *arguments: Command) -> Layer:
    return Layer(name, tuple(("-m", "tests.explorer", *each) for each in arguments), seconds, EXPLORED)


def at_random(seconds: int, count: int, seeds: tuple[int, ...]) -> Layer:
    """Return the layer of the programs that are too big to exhaust; the seeds stand in its commands."""
    modes = (("--stale", "2", "--cas", "2"), ("--pct", "3", "--stale", "1"))
    commands = [("--", "--random", str(count), "--seed", str(seed), *mode) for seed in seeds for mode in modes]
    return explorer("random modes", seconds, *commands)


def stress(seconds: int, run: int) -> Layer:
    commands = tuple(("-m", "tests.stress", "--seconds", str(run), "--loop", loop) for loop in ("asyncio", "uvloop"))
    return Layer("soak stress", commands, seconds)


def full(seed: int) -> tuple[Layer, ...]:
    """Return all layers: under 30 minutes together, if each takes all of its time."""
    return (
        MODEL,
        explorer("bound 2", 50, ()),
        explorer("bound 3", 175, ("--bound", "3", "--within", "150")),
        explorer("stale loads", 60, ("--within", "40", "--", "--stale", "2")),
        explorer("weak CAS failures", 40, ("--within", "30", "--", "--cas", "1")),
        at_random(35, 20_000, (seed, seed + 1)),
        BUG,
        CORPUS,
        ORDERS,
        Layer(
            "mutants",
            (("-m", "tests.mutants", "--sample", "20", "--seed", str(seed), "--jobs", "2", "--quiet", "--least", "0.9"),),
            85,
            r"killed \d+ of \d+",
        ),
        Layer("sanitizers", (("-m", "tests.sanitizers", "--smoke"),), 520),
        Layer("fuzz", ((*FUZZ, "-m", "pytest", "-q", "tests/test_fuzz_locks.py"),), 150, r"\d+ \w+.* in .*"),
        stress(80, 35),
        Layer("coverage", (("-m", "tools.coverage"),), 150, r"all .*"),
        Layer("scoreboard", (("-m", "aiolots.testing.scoreboard"),), 330),
    )


def ci(seed: int) -> tuple[Layer, ...]:
    """Return what a CI machine repeats at every push, beside the test suite: under ten minutes."""
    return (
        MODEL,
        explorer("bound 2", 120, ()),
        explorer("stale loads", 60, ("--within", "40", "--", "--stale", "1")),
        at_random(60, 5_000, (seed,)),
        BUG,
        CORPUS,
        ORDERS,
        stress(60, 15),
    )


SLICES = {"full": full, "ci": ci}
