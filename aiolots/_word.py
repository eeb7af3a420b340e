"""The 64-bit lock word, decoded. Its bits are csrc/lock_word.h's; tests/test_lock_word.py holds the two together."""

from __future__ import annotations

from dataclasses import dataclass

PARKED = 1
WRITER_PARKED = 2
UPGRADABLE = 4
WRITER = 8
ONE_READER = 16

# No process has so many holders: a count above this is what a borrow or a stray write leaves behind.
_MOST_READERS = 1 << 32


@dataclass(frozen=True)
class DecodedWord:
    """A lock word, field by field. `problems` names what makes it impossible; empty when all is well."""

    word: int
    readers: int
    writer: bool
    upgradable: bool
    parked: bool
    writer_parked: bool
    problems: tuple[str, ...]

    @property
    def write_locked(self) -> bool:
        """Whether a writer is in (one that still waits for readers to leave is not)."""
        return self.writer and not self.readers

    @property
    def writer_waiting(self) -> bool:
        """Whether a writer owns WRITER and waits for the readers to leave."""
        return self.writer and bool(self.readers)

    def __str__(self) -> str:
        if self.problems:
            return f"impossible word {self.word:#018x}: {'; '.join(self.problems)}"
        parts = [f"readers={self.readers}"] if self.readers else []
        if self.write_locked:
            parts.append("write-locked")
        if self.writer_waiting:
            parts.append("writer-waiting")
        if self.upgradable:
            parts.append("upgradable")
        if self.parked:
            parts.append("parked")
        return " ".join(parts) or "unlocked"


def decode(word: int) -> DecodedWord:
    """Decode a lock word, as `lock.word` gives it. Raises ValueError if it does not fit in 64 bits. Never waits."""
    if not 0 <= word < 1 << 64:
        raise ValueError(f"a lock word has 64 bits: {word:#x}")
    readers = word // ONE_READER
    writer, upgradable = bool(word & WRITER), bool(word & UPGRADABLE)
    problems: list[str] = []
    if readers > _MOST_READERS:
        problems.append(f"{readers:,} readers: a count that was decremented below zero, or overwritten")
    if writer and upgradable:
        problems.append("WRITER and UPGRADABLE are both set: no mode holds both")
    if upgradable and not readers:
        problems.append("UPGRADABLE is set without a reader, but its holder counts as one")
    if word & WRITER_PARKED and not writer:
        problems.append("WRITER_PARKED is set without WRITER: only the owner of WRITER waits for readers to leave")
    return DecodedWord(word, readers, writer, upgradable, bool(word & PARKED), bool(word & WRITER_PARKED), tuple(problems))
