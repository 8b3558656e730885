"""The command ``graft package``."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.output import data_root_option, emit, json_option

BENTOS = ("cpu", "cuda", "tensorrt")
NAMES = (*BENTOS, "triton", "kubernetes", "kserve")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), help="The run's folder, when RUN is a recipe."
)
@click.option(
    "--target",
    type=click.Choice(NAMES),
    help="What to make instead of the Bento of the recipe's formats: a Bento with the packages of one kind "
    "of machine (cpu, cuda, tensorrt), a model repository of Triton, or manifests.",
)
@click.option("--image", "as_image", is_flag=True, help="Write an OCI image, with its bill of materials.")
@click.option(
    "--load",
    type=click.Choice(["docker", "podman", "buildah"]),
    help="Hand the image over to this program, with --image.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The folder to write, new or empty, with --target or --image; by default package/ in the run's.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Build the Bento even if it is done, or replace the folder of --output, if it was written "
    "for the same target.",
)
@data_root_option
@json_option
def package(
    run: Path,
    folder: Path | None,
    target: str | None,
    load: str | None,
    output: Path | None,
    data_root: Path | None,
    *,
    as_image: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Build the BentoML service of RUN, or what another system takes.

    RUN is a run's folder, or a recipe, whose run is then in models/NAME. Without an option, the proven bundle
    is put into BentoML's model store and the Bento is built.
    """
    if as_image and target:
        raise click.UsageError("--image and --target are two things to make: give one of them.")
    if load and not as_image:
        raise click.UsageError("--load goes with --image.")
    if output and not as_image and target in {None, *BENTOS}:
        raise click.UsageError("--output goes with what is written to a folder; a Bento goes to a store.")
    from pipeline.run.runner import done_stages, open_run, run_stage
    from pipeline.run.summary import summarise_run

    opened = open_run(run, folder, data_root)
    if as_image or target:
        from pipeline.run.package import package_for

        packaged = package_for(opened, target or "oci", output, replace=force, engine=load)
        emit(packaged, packaged.to_text(), as_json=as_json)
        return
    summary = summarise_run(opened.folder, [run_stage("package", opened, force=force)], done_stages(opened))
    emit(summary, summary.to_text(), as_json=as_json)
