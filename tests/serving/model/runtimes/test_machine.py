from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from serving.model.runtimes import machine
from serving.model.runtimes.machine import cpu_limit, memory_limit

Make = Callable[[str | None, dict[str, str]], None]
MIB = 1024 * 1024
NONE_OF_V1 = str(2**63 - 4096)


@pytest.fixture
def make_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A machine of 8 CPUs and 16 GiB, with these files of cgroups."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "self")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(machine, "_machine_memory", lambda: 16384 * MIB)

    def make(membership: str | None, files: dict[str, str]) -> None:
        if membership is not None:
            (tmp_path / "self").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")

    return make


CASES = {
    "nothing": (None, {}, 8, 16384),
    "v2 in its namespace": ("0::/\n", {"memory.max": str(512 * MIB), "cpu.max": "150000 100000"}, 1, 512),
    "v2 without a limit": ("0::/\n", {"memory.max": "max", "cpu.max": "max 100000"}, 8, 16384),
    "v2 outside a namespace": (
        "0::/system.slice/graft.service\n",
        {
            "system.slice/graft.service/memory.max": str(300 * MIB),
            "system.slice/graft.service/cpu.max": "400000 100000",
        },
        4,
        300,
    ),
    "v2 limited further up": (
        "0::/a/b\n",
        {
            "a/b/memory.max": str(900 * MIB),
            "a/memory.max": str(400 * MIB),
            "a/cpu.max": "200000 100000",
            "a/b/cpu.max": "max 100000",
        },
        2,
        400,
    ),
    "v1 in a container": (
        "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n0::/docker/1f\n",
        {
            "memory/memory.limit_in_bytes": str(256 * MIB),
            "cpu/cpu.cfs_quota_us": "300000",
            "cpu/cpu.cfs_period_us": "100000",
        },
        3,
        256,
    ),
    "v1 below its mount": (
        "4:memory:/a/b\n3:cpu,cpuacct:/a\n",
        {
            "memory/memory.limit_in_bytes": NONE_OF_V1,
            "memory/a/memory.limit_in_bytes": str(700 * MIB),
            "memory/a/b/memory.limit_in_bytes": NONE_OF_V1,
            "cpu,cpuacct/a/cpu.cfs_quota_us": "250000",
            "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
        },
        2,
        700,
    ),
    "v1 without a limit": (
        "4:memory:/\n",
        {"memory/memory.limit_in_bytes": NONE_OF_V1, "cpu/cpu.cfs_quota_us": "-1"},
        8,
        16384,
    ),
    "v2 beside v1": ("4:memory:/\n0::/x\n", {"unified/x/memory.max": str(100 * MIB)}, 8, 100),
    "more than the machine has": (
        "0::/\n",
        {"memory.max": str(99999 * MIB), "cpu.max": "9900000 100000"},
        8,
        16384,
    ),
    "nonsense": ("?\n:::\n0::/../..\n", {"memory.max": "much", "cpu.max": "1"}, 8, 16384),
}


@pytest.mark.parametrize("name", CASES)
def test_limits_are_the_least_of_all_cgroups_around_this_process(make_machine: Make, name: str) -> None:
    membership, files, cpus, mebibytes = CASES[name]
    make_machine(membership, files)
    assert (cpu_limit(), memory_limit()) == (cpus, mebibytes * MIB)


def test_memory_limit_is_none_when_the_system_does_not_say(
    make_machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_machine(None, {})
    monkeypatch.setattr(machine, "_machine_memory", lambda: None)
    assert memory_limit() is None


def test_memory_limit_is_no_more_than_the_machine_has() -> None:
    limit = memory_limit()
    assert limit is not None
    assert 16 * MIB < limit < 2**50
