from __future__ import annotations

import tomllib

import pytest

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.machine.extras import EXTRAS, remedy_for
from tests.conftest import ROOT


def test_every_extra_of_the_distribution_is_known_with_its_remedy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {extra.name for extra in EXTRAS} == set(project["optional-dependencies"])
    assert all(f"graft-ml[{extra.name}]" in extra.remedy() for extra in EXTRAS)


def test_is_installed_tells_present_from_absent() -> None:
    found = {extra.name: extra.is_installed() for extra in EXTRAS}
    assert found["dev"] is True
    assert found["demo"] is True


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("elpv_dataset", "pip install 'graft-ml[demo]'"),
        ("tensorrt", "pip install 'graft-ml[tensorrt]'"),
        ("some_thing", "pip install some-thing"),
    ],
)
def test_remedy_for_names_the_extra_that_brings_a_module(module: str, remedy: str) -> None:
    assert remedy_for(module).startswith(remedy)


def test_locate_names_the_extra_when_a_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(GraftError, match=r"pip install 'graft-ml\[demo\]'"):
        locate("package:elpv_dataset/data/labels.csv", "data.source")
