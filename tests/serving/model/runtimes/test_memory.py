"""Freed memory that the C library keeps: given back where it is much, and left where it is little."""

from __future__ import annotations

import subprocess
import sys

import pytest

from serving.model.runtimes import memory
from serving.model.runtimes.memory import MOST_KEPT_BYTES, KeptMemory, resident_bytes

MIB = 2**20
# Blocks from the heap, of which a few stay in use, so that what lies between is kept.
FRAGMENTED = f"""
from serving.model.runtimes.memory import KeptMemory, resident_bytes
kept = KeptMemory()
kept.settle()
before = resident_bytes()
blocks = [bytearray(b"x") * 100_000 for _ in range(3_000)]
rest = blocks[::100]
del blocks
full = resident_bytes()
print(kept.refresh(), (full - before) // {MIB}, (resident_bytes() - before) // {MIB})
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; what is given back is only counted."""
    now = [0.0]
    monkeypatch.setattr(memory, "give_back", lambda: True)
    return now


def test_what_is_kept_between_blocks_in_use_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, text=True, check=True)
    given, held, left = done.stdout.split()
    assert given == "True"
    assert int(held) > 200
    assert int(left) < 50


@pytest.mark.parametrize(
    ("resident", "is_much"),
    [
        ([100, 100 + MOST_KEPT_BYTES], False),
        ([100, 101 + MOST_KEPT_BYTES], True),
        ([100, 50, 60 + MOST_KEPT_BYTES], True),  # at rest less was needed than after the start
        ([100, None], False),
        ([None, 10**12], False),
    ],
)
def test_memory_is_given_back_where_it_is_much_more_than_at_rest(
    resident: list[int | None], is_much: bool, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "resident_bytes", iter(resident).__next__)
    kept = KeptMemory(lambda: clock[0])
    kept.settle()
    found = []
    for _ in resident[1:]:
        clock[0] += 1
        found.append(kept.refresh())
    assert found[-1] == is_much
    assert not any(found[:-1])


def test_it_is_looked_at_once_a_second(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", iter([0, *[10**9] * 9]).__next__)
    kept = KeptMemory(lambda: clock[0])
    kept.settle()
    assert [kept.refresh(), kept.refresh()] == [True, False]
    clock[0] += 1
    assert kept.refresh()


def test_resident_memory_is_unknown_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (resident_bytes() or 0) > MIB
    monkeypatch.setattr(memory, "STATM", memory.STATM.with_name("nothing"))
    assert resident_bytes() is None
