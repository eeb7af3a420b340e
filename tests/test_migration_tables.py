"""docs/migration.md: no cell is empty, what it calls ours exists, and nothing that one may come from is left out."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import aiolots

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")


def kind_of(request: Any) -> type:
    """Return the class that a guard has at run time: those that are exported say what it looks like, for both fronts."""
    guard: object
    with request as guard:
        return type(guard)


# What the page calls an instance, and whose attributes it has then: of one of these.
RECEIVERS: dict[str, list[type]] = {
    "mutex": [aiolots.Mutex],
    "lock": [aiolots.RwLock],
    "guard": [
        kind_of(aiolots.Mutex().lock()),
        kind_of(aiolots.RwLock().read()),
        kind_of(aiolots.RwLock().upgradable_read()),
        kind_of(aiolots.RwLock().write()),
    ],
    "condvar": [aiolots.Condvar],
    "semaphore": [aiolots.Semaphore],
    "event": [aiolots.Event],
    "barrier": [aiolots.Barrier],
    "once": [aiolots.Once],
    "cell": [aiolots.OnceCell],
    "reentrant": [aiolots.ReentrantMutex],
    "level": [kind_of(aiolots.ReentrantMutex().lock())],
    "result": [aiolots.lowlevel.ParkResult, aiolots.lowlevel.UnparkResult],
    "waiter": [aiolots.lowlevel.Waiter],
}
MODULES = ("aiolots", "asyncio", "faulthandler", "threading", "time")

# The public items of parking_lot 0.12, lock_api 0.4 and parking_lot_core 0.9, as their sources have them.
PARKING_LOT = """
    Mutex MutexGuard MappedMutexGuard ArcMutexGuard RawMutex const_mutex
    new const_new from_raw into_inner lock try_lock get_mut is_locked force_unlock force_unlock_fair raw data_ptr
    try_lock_for try_lock_until lock_arc try_lock_arc try_lock_arc_for try_lock_arc_until into_arc
    mutex map try_map unlocked unlock_fair unlocked_fair bump leak
    RwLock RwLockReadGuard RwLockWriteGuard RwLockUpgradableReadGuard MappedRwLockReadGuard MappedRwLockWriteGuard
    ArcRwLockReadGuard ArcRwLockWriteGuard ArcRwLockUpgradableReadGuard RawRwLock const_rwlock
    read write try_read try_write try_read_for try_read_until try_write_for try_write_until is_locked_exclusive
    read_recursive try_read_recursive try_read_recursive_for try_read_recursive_until
    upgradable_read try_upgradable_read try_upgradable_read_for try_upgradable_read_until
    force_unlock_read force_unlock_read_fair force_unlock_write force_unlock_write_fair read_arc write_arc
    rwlock downgrade downgrade_to_upgradable upgrade try_upgrade try_upgrade_for try_upgrade_until
    with_upgraded try_with_upgraded try_with_upgraded_for try_with_upgraded_until bump_exclusive
    ReentrantMutex ReentrantMutexGuard MappedReentrantMutexGuard ArcReentrantMutexGuard RawReentrantMutex RawThreadId
    GetThreadId const_reentrant_mutex is_owned_by_current_thread remutex
    FairMutex FairMutexGuard MappedFairMutexGuard RawFairMutex const_fair_mutex
    Condvar WaitTimeoutResult timed_out wait wait_for wait_until wait_while wait_while_for wait_while_until
    notify_one notify_all
    Once OnceState call_once call_once_force state New Poisoned InProgress Done poisoned done
    check_deadlock DeadlockedThread thread_id backtrace acquire_resource release_resource
    park unpark_one unpark_all unpark_filter unpark_requeue ParkToken UnparkToken ParkResult UnparkResult is_unparked
    FilterOp RequeueOp SpinWait DEFAULT_PARK_TOKEN DEFAULT_UNPARK_TOKEN
    send_guard serde owning_ref arc_lock hardware-lock-elision nightly deadlock_detection
"""

# Of the Python libraries: which classes the page is to speak of, with all of their public attributes.
PEERS = {
    "threading": "Lock RLock Condition Event Semaphore BoundedSemaphore Barrier",
    "asyncio": "Lock Condition Event Semaphore BoundedSemaphore Barrier",
    "anyio": "Lock Condition Event Semaphore CapacityLimiter ResourceGuard",
    "aiologic": "Lock RLock Condition Event REvent CountdownEvent Semaphore BoundedSemaphore BinarySemaphore "
    "BoundedBinarySemaphore Barrier RBarrier Latch CapacityLimiter RCapacityLimiter ResourceGuard Flag",
    "aiorwlock": "RWLock",
}


class Row(NamedTuple):
    """One row of a table, below which heading."""

    chapter: str
    line: int
    cells: list[str]

    @property
    def ours(self) -> str:
        return self.cells[-1]


def rows(page: str) -> Iterator[Row]:
    """Yield the rows of all tables, without their heads. Each table's last column is ours."""
    chapter, columns = "", 0
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("## "):
            chapter = line[3:]
        if not line.startswith("|"):
            columns = 0
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if columns == 0:
            columns = len(cells)
            assert cells[-1] == "aiolots", f"line {number}: the last column is ours"
            assert all(cells), f"line {number}: a column without a name"
        elif not set(line) <= set("|-: "):
            assert len(cells) == columns, f"line {number}: {len(cells)} cells, but the table has {columns} columns"
            yield Row(chapter, number, cells)


def code(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def empty_cells(page: str) -> list[int]:
    return [row.line for row in rows(page) if not all(re.search(r"\w", cell) for cell in row.cells)]


def resolves(path: str) -> bool:
    """Import as much of a dotted name as is a module, and look the rest up: whether that leads somewhere."""
    done, *parts = path.split(".")
    found: Any = importlib.import_module(done)
    for part in parts:
        done += f".{part}"
        try:
            found = getattr(found, part) if hasattr(found, part) else importlib.import_module(done)
        except ImportError:
            return False
    return True


def exists(name: str) -> bool:
    """Whether a dotted name of the page, a module's or an instance's, leads somewhere."""
    receiver, _, rest = name.partition(".")
    if receiver in RECEIVERS:
        return any(hasattr(kind, rest) or rest in getattr(kind, "__dataclass_fields__", ()) for kind in RECEIVERS[receiver])
    if receiver == "lowlevel":
        return resolves(f"aiolots.{name}")
    return receiver in MODULES and resolves(name)


def names(text: str) -> set[str]:
    """Return the dotted names in the code of a cell, but for those of files."""
    spans = [span for span in code(text) if not re.search(r"\w/\w", span)]
    return {name for span in spans for name in re.findall(r"(?<![\w.])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", span)}


def unknown_names(page: str) -> list[str]:
    return [f"line {row.line}: {name}" for row in rows(page) for name in sorted(names(row.ours)) if not exists(name)]


def spoken_of(chapter: str) -> set[str]:
    """Return the words in the code of all cells of a chapter that are not ours."""
    cells = (cell for row in rows(PAGE) if row.chapter.startswith(chapter) for cell in row.cells[:-1])
    return {word for cell in cells for span in code(cell) for word in [span, *re.findall(r"[\w-]+", span)]}


def test_there_are_tables() -> None:
    assert {row.chapter for row in rows(PAGE)} >= {"parking_lot 0.12", *PEERS}
    assert len(list(rows(PAGE))) > 100


def test_no_cell_is_empty() -> None:
    assert empty_cells(PAGE) == []


def test_every_name_of_ours_exists() -> None:
    assert unknown_names(PAGE) == []


def test_nothing_of_parking_lot_is_left_out() -> None:
    assert sorted(set(PARKING_LOT.split()) - spoken_of("parking_lot")) == []


@pytest.mark.parametrize("peer", PEERS)
def test_nothing_of_the_other_libraries_is_left_out(peer: str) -> None:
    module = pytest.importorskip(peer)
    wanted = set(PEERS[peer].split())
    for name in PEERS[peer].split():
        made = getattr(module, name)
        wanted |= {attribute for attribute in dir(made if isinstance(made, type) else made()) if not attribute.startswith("_")}
    assert sorted(wanted - {"core"} - spoken_of(peer)) == []  # core: aiorwlock's own


def test_the_page_speaks_of_all_that_is_ours() -> None:
    """What nobody finds in a table who comes from elsewhere would have to be explained elsewhere."""
    explained_elsewhere = {"DecodedWord", "Guard", "LockCorruption", "LoopBlockPolicy", "LoopBlockedWarning", "Request"}
    explained_elsewhere |= {"loop_block_policy", "set_loop_block_policy", "deadlock", "lowlevel", "telemetry", "tracking"}
    explained_elsewhere |= {"SuspendPolicy", "SuspendedGuardWarning", "set_suspend_policy", "suspend_policy"}
    explained_elsewhere |= {"Transition", "console", "watchdog"}
    found = {name.removeprefix("aiolots.") for row in rows(PAGE) for name in names(row.ours)}
    assert sorted(set(aiolots.__all__) - explained_elsewhere - found) == []


@pytest.mark.parametrize("page", ["migration.md", "semantics.md"])
def test_the_files_that_a_page_names_exist(page: str) -> None:
    named = re.findall(r"\b(?:docs|examples|tests)/[\w/]+\.\w+", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


HEAD = "| x | aiolots |\n|---|---|\n"


@pytest.mark.parametrize(
    ("row", "empty", "unknown"),
    [
        ("| a | `aiolots.Mutex` and `guard.value` |", 0, 0),
        ("| a |  |", 1, 0),
        ("| - | `mutex.lock()` |", 1, 0),
        ("| a | `aiolots.Mutexx` |", 0, 1),
        ("| a | `aiolots.lowlevel.parks` or `aiolots.nowhere.at` |", 0, 2),
        ("| a | `with mutex.locks() as guard:` |", 0, 1),
        ("| a | `guard.upgrade()`, `guard.upgraded()` |", 0, 1),
        ("| a | `max(0, moment - time.monotonics())` |", 0, 1),
        ("| a | `nobody.knows()` |", 0, 1),
    ],
)
def test_the_checks_bite(row: str, empty: int, unknown: int) -> None:
    assert (len(empty_cells(HEAD + row)), len(unknown_names(HEAD + row))) == (empty, unknown)
