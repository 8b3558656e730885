"""The stage ``package``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

from pipeline.files.layout import RunFolder
from pipeline.files.sources import hash_files
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Inputs, Stage


def _inputs(_: Recipe, run: RunFolder) -> Inputs:
    from pipeline.package.bento.carried import (
        carried_files,
        find_bentofile,
        list_requirements,
        serving_folder,
    )

    files = [*carried_files(), *list_requirements()]
    return {
        "bundle": hash_files((path for path in run.bundle.rglob("*") if path.is_file()), run.bundle),
        # The Bento carries all of `serving`, most of which the work does not import.
        "serving": hash_files(files, serving_folder()),
        "bentofile": hash_files([find_bentofile()]),
    }


def _is_packaged(run: RunFolder) -> bool:
    from pipeline.package.bento.stage import is_packaged

    return is_packaged(run)


PACKAGE = Stage(
    name="package",
    work="pipeline.package.bento.stage:package",
    inputs=_inputs,
    outputs=lambda run: [run.bento],
    still_valid=_is_packaged,
    depends_on_kind=False,
)
