"""The command ``graft verify``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="The run's folder, when TARGET is a recipe."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="For a bundle: a folder, a .csv or .tsv table, or a recipe.",
)
@click.option(
    "--signature",
    "of_signature",
    is_flag=True,
    help="Check the signature of a run's bundle, a bundle or an image, and nothing else.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="With --signature: a PEM file of the public keys and certificates that are trusted.",
)
@click.option("--force", is_flag=True, help="Redo the stage even if it is done.")
@data_root_option
@json_option
def verify(
    target: Path,
    folder: Path | None,
    data: Path | None,
    key: Path | None,
    data_root: Path | None,
    *,
    of_signature: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Score the whole test split through the serving code, write the receipts, and publish what passes.

    TARGET is a run's folder, or a recipe, whose run is then in models/NAME. With --data its bundle, or a
    bundle's folder, is proven again on this machine from its own files and those samples; nothing is written.
    With --signature and --key only the signature is checked, as a service with trusted keys does.
    """
    if of_signature != (key is not None):
        raise click.UsageError("--signature and --key go together: whose signature is to be accepted?")
    if of_signature and (data is not None or folder is not None or data_root is not None or force):
        raise click.UsageError("--data, --run, --data-root and --force do not go with --signature.")
    if key is not None:
        from pipeline.run.sign import check_signature

        checked = check_signature(target, key)
        emit(checked, checked.to_text(), as_json=as_json)
        return
    if data is not None and (folder is not None or data_root is not None or force):
        raise click.UsageError("--run, --data-root and --force go with a run, which --data does not need.")
    if data is not None:
        from pipeline.verify.recheck import recheck

        rechecked = recheck(target, data)
        emit(rechecked.to_json(), rechecked.to_text(), as_json=as_json)
        rechecked.require_passed(target)
        return
    from pipeline.run.runner import done_stages, open_run, run_stage
    from pipeline.run.summary import summarise_run

    opened = open_run(target, folder, data_root)
    summary = summarise_run(opened.folder, [run_stage("verify", opened, force=force)], done_stages(opened))
    emit(summary, summary.to_text(), as_json=as_json)
