"""The command ``graft compare``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option

SCALES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


class Number(click.ParamType[int]):
    """A number that may end in k, M or G, such as ``20M``."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)", str(value).lower())
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is no number such as 20M", param, ctx)
        return round(float(found[1]) * SCALES[found[2]])


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--backbones",
    multiple=True,
    metavar="LIST",
    help="Backbones beside the recipe's own: names or NAME=WEIGHTS parted by commas, a line of `graft"
    " backbones`, or a YAML file (a recipe, or a list). May be given several times.",
)
@click.option("--suggest", is_flag=True, help="Compare all backbones that are here and fit the budget.")
@click.option(
    "--max-parameters", type=Number(), help="The budget: number of parameters at most, such as 20M."
)
@click.option(
    "--max-ms",
    type=click.FloatRange(min=0, min_open=True),
    help="The budget: milliseconds a sample at most, on one thread.",
)
@click.option(
    "--samples",
    metavar="LIST",
    help="Draw a learning curve at these sizes, such as 10%,30%,100%, and say what more samples would bring.",
)
@click.option(
    "--probe-only", is_flag=True, help="Fine-tune nothing: compare linear heads on frozen features."
)
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="The run's folder, when TARGET is a recipe."
)
@data_root_option
@json_option
def compare(
    target: Path,
    backbones: tuple[str, ...],
    max_parameters: int | None,
    max_ms: float | None,
    samples: str | None,
    folder: Path | None,
    data_root: Path | None,
    *,
    suggest: bool,
    probe_only: bool,
    as_json: bool,
) -> None:
    """Compare backbones on a run's samples: accuracy, time, size, and which one to take.

    TARGET is a recipe, whose run is then in models/NAME, or a run's folder. Each backbone gets a
    cross-validated linear head on its frozen features, the best ones short fine-tunings, and each is timed.
    The test split is not read. What is finished is kept in compare/ of the run, beside the page and the
    recommended recipe, so that the same command goes on where it was stopped.
    """
    from pipeline.compare.command import Wishes
    from pipeline.compare.command import compare as carry_out
    from pipeline.compare.comparing import Budget

    budget = Budget(max_parameters, max_ms)
    found = carry_out(target, Wishes(backbones, suggest, budget, samples, probe_only), folder, data_root)
    emit(found, found.to_text(), as_json=as_json)
