"""Errors of one of several processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import errors
from pipeline.cli.main import main


@pytest.mark.parametrize(
    ("rank", "start", "waits"), [("0", "Error: ", 0.0), ("1", "Error: rank 1 of 2: ", 0.2)]
)
def test_an_error_is_told_with_its_process_and_first_by_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: str, start: str, waits: float
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(errors, "SPEAKS_AFTER_S", 0.2)
    began = time.monotonic()
    done = CliRunner().invoke(main, ["run", str(tmp_path / "none.yaml")])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{start}{tmp_path}")
    assert time.monotonic() - began >= waits
