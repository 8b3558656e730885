"""What docs/plugins.md shows is in the tests' kind, word for word."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.conftest import ROOT
from tests.kinds.installing import HERE, ROWS

PAGE = (ROOT / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("file", "code"), BLOCKS)
def test_page_shows_code_that_is_tested(file: str, code: str) -> None:
    assert code in (HERE / "rows" / file).read_text()


def test_page_has_all_its_code_named_by_file() -> None:
    assert len(BLOCKS) == PAGE.count("```python") == 5


def test_page_names_the_entry_points_that_are_tested() -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert tomllib.loads(toml)["project"]["entry-points"] == ROWS
