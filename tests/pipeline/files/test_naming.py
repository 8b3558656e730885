"""Which bundle a user means by a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.files.layout import find_bundle


def test_a_bundle_is_meant_itself_whatever_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert find_bundle(tmp_path) == tmp_path / "bundle"  # of a run
    (tmp_path / "manifest.json").touch()
    assert find_bundle(tmp_path) == tmp_path
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(GraftError, match=r"is a bundle .* and a run"):
        find_bundle(tmp_path)
    (tmp_path / "manifest.json").unlink()
    assert find_bundle(tmp_path) == tmp_path / "bundle"
    assert find_bundle(tmp_path / "bundle") == tmp_path / "bundle"
