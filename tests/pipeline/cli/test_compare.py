"""The options of ``graft compare``."""

from __future__ import annotations

import click
import pytest

from pipeline.cli.compare import Number


@pytest.mark.parametrize(
    ("text", "number"), [("20M", 20_000_000), ("1.5k", 1500), ("7", 7), ("2g", 2_000_000_000), (5, 5)]
)
def test_numbers_may_end_in_a_scale(text: object, number: int) -> None:
    assert Number().convert(text, None, None) == number


@pytest.mark.parametrize("text", ["", "M", "-3", "0", "3MM", "many"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no number such as 20M"):
        Number().convert(text, None, None)
