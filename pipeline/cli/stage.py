"""The commands ``graft data``, ``finetune`` and ``transfer``, each of which is one stage."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option


def _command(name: str, description: str) -> click.Command:
    """Make the command that carries out one stage.

    Args:
        name: Name of the stage and of the command.
        description: The first sentence of its help.
    """

    @click.command(
        name,
        help=f"{description}\n\nTARGET is a run's folder, or a recipe, whose run is then in models/NAME.",
    )
    @click.argument("target", type=click.Path(path_type=Path))
    @click.option(
        "--run", "folder", type=click.Path(path_type=Path), help="The run's folder, when TARGET is a recipe."
    )
    @click.option("--force", is_flag=True, help="Redo the stage even if it is done.")
    @data_root_option
    @json_option
    def command(
        target: Path, folder: Path | None, data_root: Path | None, *, force: bool, as_json: bool
    ) -> None:
        from pipeline.machine.launch import launched
        from pipeline.run.runner import done_stages, open_run, run_stage
        from pipeline.run.summary import summarise_run

        opened = open_run(target, folder, data_root)
        result = run_stage(name, opened, force=force)
        if launched().is_helper:
            return
        summary = summarise_run(opened.folder, [result], done_stages(opened))
        emit(summary, summary.to_text(), as_json=as_json)

    return command


data = _command(
    "data",
    "Read, audit and split the samples: "
    "train, validation, test, and calibration where the recipe asks for it.",
)
finetune = _command("finetune", "Train a head on the frozen backbone, then everything from there.")
transfer = _command(
    "transfer", "Fit what the model is compared with: a classic model, the head, and random weights."
)
