"""The command ``graft benchmark``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option


def _counts(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Parse whole numbers of at least 1 between commas, such as ``1,8,32``; return each once, rising."""
    if value is None:
        return None
    try:
        counts = tuple(sorted({int(part) for part in value.split(",")}))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers, such as 1,8,32.") from error
    if counts[0] < 1:
        raise click.BadParameter(f"{counts[0]} is less than 1.")
    return counts


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--threads", metavar="N,…", callback=_counts, help="Threads within one run; by default 1 and all CPUs."
)
@click.option(
    "--batches", metavar="N,…", callback=_counts, default="1,8", show_default=True, help="Inputs a batch."
)
@click.option(
    "--rounds",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="How often each setting is timed; up to four times as often while the choice is not clear.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="About how long the timing may take.",
)
@data_root_option
@json_option
def benchmark(
    run: Path,
    threads: tuple[int, ...] | None,
    batches: tuple[int, ...],
    rounds: int,
    seconds: float,
    data_root: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure how fast every published artifact of RUN is on this machine,
    and set what `graft serve` uses by default.

    Latency, samples a second, memory and start of each artifact, beside its accuracy, with real inputs of the
    test split and without decoding them. The ranges are those of the rounds. Leaves benchmark/ in the run,
    and defaults.json in its bundle.
    """  # noqa: D205 - the help text, which click wraps anew
    from pipeline.benchmark.stage import Options
    from pipeline.benchmark.stage import benchmark as measure
    from pipeline.run.runner import open_run, working_on

    opened = open_run(run, data_root=data_root)
    with working_on(opened, after="verify"):
        result = measure(opened.folder, Options(threads, batches, rounds, seconds))
    emit(result.to_json(), result.to_text(), as_json=as_json)
