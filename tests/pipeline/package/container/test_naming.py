"""The name under which an image is kept."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.package.container.naming import name_image

# https://github.com/distribution/reference/blob/main/regexp.go, a name without a registry, and its tag.
REFERENCE = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
NAMES = st.from_regex("[a-z0-9]([a-z0-9._-]{0,58}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize("name", ["solar-cells", "solar.cells_2", "a__b", "a---b", "0"])
def test_name_that_an_image_may_have_stays(name: str) -> None:
    assert name_image(name, "3445eba7cbc0") == f"{name}:3445eba7cbc0"


@given(NAMES)
def test_every_runs_name_gives_an_image_a_name_that_programs_accept(name: str) -> None:
    assert REFERENCE.fullmatch(name_image(name, "3445eba7cbc0"))


def test_two_runs_do_not_become_one() -> None:
    names = {name_image(name, "1") for name in ("a..b", "a-.b", "a___b", "a-b")}
    assert len(names) == 4
