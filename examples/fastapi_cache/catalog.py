"""What the lock protects: amounts, and what each is worth at one rate. It knows neither locks nor threads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalog; `worth` is always `amount * rate`."""

    amount: int
    worth: int


class Catalog:
    """Entries by key. Every change takes several steps: a reader in between would see old worths at a new rate."""

    def __init__(self) -> None:
        self.rate = 1
        self.version = 0  # how many changes there were
        self.entries: dict[str, Entry] = {}

    def set(self, key: str, amount: int) -> None:
        """Put an entry in."""
        self.entries[key] = Entry(amount, amount * self.rate)
        self.version += 1

    def add(self, key: str, amount: int) -> None:
        """Add to an entry: between the look and the change nobody else may come."""
        old = self.entries.get(key)
        self.set(key, amount if old is None else old.amount + amount)

    def at_rate(self, rate: int) -> dict[str, Entry]:
        """Compute all entries anew; changes nothing, so a reader may do it."""
        return {key: Entry(entry.amount, entry.amount * rate) for key, entry in self.entries.items()}

    def reprice(self, rate: int, entries: dict[str, Entry]) -> None:
        """Go over to another rate, with the entries that at_rate() computed."""
        self.rate = rate
        self.entries = entries
        self.version += 1
