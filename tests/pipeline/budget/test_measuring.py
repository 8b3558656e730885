"""A real image, measured against limits as users do it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.conftest import run_graft
from tests.containers import why_no_real_image, why_not
from tests.pipeline.budget.test_vulnerabilities import GLIBC, JINJA, write_dump

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """The tiny run with limits in its recipe, of which one cannot be held."""
    reason = why_not() or why_no_real_image()
    if reason:
        pytest.skip(reason)
    copy = Path(shutil.copytree(tiny_run, tmp_path / "tiny"))
    recipe = yaml.safe_load((copy / "recipe.yaml").read_text())
    recipe["budget"] |= {
        "packages": 10,
        "cold_start_s": 60,
        "p99_ms": 10_000,
        "memory_mb": 2000,
        "vulnerabilities": 0,
    }
    (copy / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return copy


def test_budget_measures_everything_and_fails_by_the_limit_that_is_missed(run: Path, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "all.zip", [JINJA, GLIBC])
    junit = tmp_path / "budget.xml"
    done = run_graft("budget", run, "--osv", dump, "--junit", junit, "--json", check=3)
    assert "1 figure(s) above the recipe's budget" in done.stderr
    record = json.loads((run / "budget" / "budget.json").read_text())
    figures = {figure["name"]: figure for figure in record["figures"]}
    assert figures["image_mb"]["value"] < 180
    assert figures["packages"]["value"] > 10
    assert figures["forbidden"]["value"] == 0
    assert figures["vulnerabilities"]["value"] == 0, "what these two dumps know of is mended in the image"
    assert 0 < figures["cold_start_s"]["value"] < 60
    assert 20 < figures["memory_mb"]["value"] < 2000
    assert 0 < figures["p99_ms"]["value"] < 10_000
    suite = ET.parse(junit).getroot().find("testsuite")
    assert suite is not None
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["packages"]
