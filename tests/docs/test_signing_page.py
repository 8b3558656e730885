"""The commands on the page about signing, run as they stand there, one after another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "signing.md"


def blocks() -> list[str]:
    """The page's blocks of shell commands, but for the one that starts a service."""
    found = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for block in found if "graft serve" not in block]


@pytest.mark.slow
def test_the_commands_of_the_page_work(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "models" / "solar-cells")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, module in (("graft", "pipeline.cli"), ("model_signing", "model_signing")):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (commands / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-e", "-x", "-c", "\n".join(blocks())],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(blocks()) == 4
    assert done.stdout.count("all files as they were") == 3
    assert done.stdout.count("Verification succeeded") == 1
    assert "others on this machine may read" not in done.stderr
