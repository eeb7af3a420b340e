"""aiolots/_word.py and csrc/lock_word.h say the same of the lock word: its fields, its legal states, its impossible ones."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from aiolots import Mutex, RwLock, _lib, _word, decode

HEADER = (Path(__file__).resolve().parent.parent / "csrc" / "lock_word.h").read_text(encoding="utf-8")

FIELDS = ("PARKED", "WRITER_PARKED", "UPGRADABLE", "WRITER", "ONE_READER")

LEGAL = {
    0: "unlocked",
    1: "parked",
    8: "write-locked",
    9: "write-locked parked",
    16: "readers=1",
    17: "readers=1 parked",
    3 * 16: "readers=3",
    16 + 8: "readers=1 writer-waiting",
    16 + 8 + 2: "readers=1 writer-waiting",
    16 + 8 + 2 + 1: "readers=1 writer-waiting parked",
    8 + 2: "write-locked",
    16 + 4: "readers=1 upgradable",
    5 * 16 + 4 + 1: "readers=5 upgradable parked",
    (1 << 32) * 16: f"readers={1 << 32}",
}


def defined() -> dict[str, int]:
    """Return the constants that the header defines."""
    return {name: int(value) for name, value in re.findall(r"#define (\w+) \(\(uint64_t\)(\d+)\)", HEADER)}


def rows() -> list[tuple[str, str, str, str, str]]:
    """Return the header's table of legal states."""
    table = re.findall(r"^ \*   ([01p])  ([01])  ([01]) ([01])   (0|n > 0|n) ", HEADER, re.MULTILINE)
    return [(p, wp, u, w, readers) for p, wp, u, w, readers in table]


def is_in_table(parked: int, writer_parked: int, upgradable: int, writer: int, readers: int) -> bool:
    return any(
        p in ("p", str(parked))
        and (wp, u, w) == (str(writer_parked), str(upgradable), str(writer))
        and {"0": readers == 0, "n": True, "n > 0": readers > 0}[n]
        for p, wp, u, w, n in rows()
    )


def test_fields_are_the_same() -> None:
    assert {name: getattr(_word, name) for name in FIELDS} == defined()


def test_header_describes_the_bits_it_defines() -> None:
    described = {name: 1 << int(bit) for bit, name in re.findall(r"^ \*   bit (\d)   (\w+)", HEADER, re.MULTILINE)}
    described["ONE_READER"] = 1 << int(re.findall(r"^ \*   (\d+)\.\.63   readers", HEADER, re.MULTILINE)[0])
    assert described == defined()


def test_queue_flags_are_the_two_parked_bits() -> None:
    assert _lib.QUEUE_FLAGS == _word.PARKED | _word.WRITER_PARKED


def test_table_is_found() -> None:
    assert len(rows()) == 8


@pytest.mark.parametrize("readers", [0, 1, 2, 1000])
def test_decode_finds_fault_with_exactly_the_words_outside_the_table(readers: int) -> None:
    for parked, writer_parked, upgradable, writer in product((0, 1), repeat=4):
        word = parked | writer_parked << 1 | upgradable << 2 | writer << 3 | readers << 4
        legal = is_in_table(parked, writer_parked, upgradable, writer, readers)
        assert (not decode(word).problems) == legal, f"{word:#x}: {decode(word)}"


@pytest.mark.parametrize("word", LEGAL, ids=hex)
def test_legal_words_read_well(word: int) -> None:
    decoded = decode(word)
    assert decoded.problems == ()
    assert str(decoded) == LEGAL[word]
    assert decoded.word == word
    assert (
        decoded.readers * _word.ONE_READER
        | decoded.writer * _word.WRITER
        | decoded.upgradable * _word.UPGRADABLE
        | decoded.writer_parked * _word.WRITER_PARKED
        | decoded.parked * _word.PARKED
    ) == word


def test_a_writer_is_in_or_waits_never_both() -> None:
    assert (decode(8).write_locked, decode(8).writer_waiting) == (True, False)
    assert (decode(24).write_locked, decode(24).writer_waiting) == (False, True)
    assert (decode(16).write_locked, decode(16).writer_waiting) == (False, False)


@pytest.mark.parametrize("word", [0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE])
def test_words_of_the_incident_are_impossible(word: int) -> None:
    decoded = decode(word)
    assert len(decoded.problems) == 2
    assert "1,152,921,504,606,846,975 readers" in decoded.problems[0]
    assert "WRITER and UPGRADABLE are both set" in decoded.problems[1]
    assert str(decoded).startswith(f"impossible word {word:#x}: ")
    assert decoded.readers == (1 << 60) - 1


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        (((1 << 32) + 1) << 4, "readers: a count that was decremented below zero"),
        (16 + 8 + 4, "WRITER and UPGRADABLE"),
        (4, "UPGRADABLE is set without a reader"),
        (2, "WRITER_PARKED is set without WRITER"),
        (16 + 2, "WRITER_PARKED is set without WRITER"),
        (16 + 4 + 2, "WRITER_PARKED is set without WRITER"),
    ],
)
def test_impossible_words_say_why(word: int, problem: str) -> None:
    decoded = decode(word)
    assert len(decoded.problems) == 1
    assert problem in decoded.problems[0]
    assert problem in str(decoded)


@pytest.mark.parametrize("word", [-1, 1 << 64])
def test_words_have_64_bits(word: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        decode(word)


def test_a_lock_shows_the_words_of_the_header() -> None:
    lock: RwLock[None] = RwLock()
    bits = defined()
    assert lock.word == 0
    with lock.read(), lock.read():
        assert lock.word == 2 * bits["ONE_READER"]
    with lock.write():
        assert lock.word == bits["WRITER"]
    mutex: Mutex[None] = Mutex()
    with mutex.lock():
        assert mutex.word == bits["WRITER"]
    assert lock.word == mutex.word == 0
