"""The runner of a recipe: it carries out the stages in order, and skips those that are done.

It also finishes or removes what a command that was killed has left half-written.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.machine.launch import launched
from pipeline.machine.processes import join
from pipeline.recipe.reading import check_recipe, dump_recipe, load_recipe, without_places
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Stage
from pipeline.run.markers import find_out, is_done, write_marker
from pipeline.run.places import keep_root, with_data_root
from pipeline.run.stages import STAGES
from pipeline.run.telling import tell_end, told
from pipeline.run.together import dismiss_helpers, help_with, with_helpers
from pipeline.tracking.opening import tracked

log = logging.getLogger("graft")
MODELS = Path("models")


class BusyError(GraftError):
    """Another command is working on the run."""


@dataclass(frozen=True)
class StageResult:
    """The outcome of a stage.

    Attributes:
        stage: Name of the stage.
        skipped: Whether it was skipped, since it was done before.
        seconds: Seconds that it took.
    """

    stage: str
    skipped: bool
    seconds: float


@dataclass(frozen=True)
class Run:
    """A recipe and the folder that it is carried out in.

    Attributes:
        recipe: The recipe.
        folder: The run's folder.
    """

    recipe: Recipe
    folder: RunFolder


def open_run(target: Path, folder: Path | None = None, data_root: Path | None = None) -> Run:
    """Find the run that a user names.

    Args:
        target: A recipe, or the folder of a run that has begun.
        folder: The folder of a recipe's run; by default ``models/NAME``.
        data_root: The folder that the run's data are in now; by default they are where the recipe says.

    Raises:
        GraftError: The target is neither a recipe nor a run; the recipe is wrong; the run would overwrite a
            recipe that a user wrote; or the data are in no folder.
    """
    run = _find_run(target, folder)
    return (
        run if data_root is None else replace(run, recipe=with_data_root(run.recipe, run.folder, data_root))
    )


def _find_run(target: Path, folder: Path | None) -> Run:
    if target.is_dir():
        if folder is not None:
            raise GraftError(f"{target}: is a run's folder already; --run goes with a recipe.")
        if not _is_run(RunFolder(target)):
            bundle = (target / "manifest.json").is_file()
            raise GraftError(
                f"{target}: is a bundle, and this takes a run. A bundle can be proven again: "
                f"graft verify {target} --data PLACE"
                if bundle
                else f"{target}: is not a run's folder. Name a recipe to start one: graft run RECIPE"
            )
        return Run(load_recipe(target / "recipe.yaml"), RunFolder(target))
    if not target.exists():
        raise GraftError(f"{target}: no such recipe or run. Write a recipe with: graft init FOLDER")
    recipe = load_recipe(target)
    run = RunFolder(folder or MODELS / recipe.name)
    if run.recipe.exists() and not _is_run(run):
        raise GraftError(
            f"{run.root}: holds a recipe.yaml that is not of a run, and would be overwritten. "
            "Choose another folder: --run DIR"
        )
    return Run(recipe, run)


def with_formats(run: Run, formats: Sequence[str]) -> Run:
    """Return the run with other formats to export.

    Args:
        run: The run.
        formats: Names of the formats.

    Raises:
        RecipeError: One of them is unknown, or the recipe does not allow it.
    """
    document = run.recipe.model_dump(mode="json", by_alias=True)
    document["export"]["formats"] = list(formats)
    return replace(run, recipe=check_recipe(document, "--formats"))


def _is_run(folder: RunFolder) -> bool:
    """Return whether a run has begun in a folder, whose recipe is then not one that a user wrote."""
    return folder.recipe.is_file() and folder.lock.is_file()


def run_all(run: Run, *, force: bool = False) -> list[StageResult]:
    """Carry out every stage that is not done, in order.

    Args:
        run: The run.
        force: Whether stages that are done are redone.
    """
    if launched().is_helper:
        return [_help(stage, run) for stage in STAGES if stage.is_shared]
    join(run.recipe.finetune.device)
    with held(run.folder):
        _keep_recipe(run)
        with tracked(run.recipe, run.folder):
            _check_early(run, force=force)
            return [_carry_out(stage, run, force=force) for stage in STAGES]


def _check_early(run: Run, *, force: bool) -> None:
    """Find what would end a later stage at once before the first one reads all data, unless it is done."""
    current, done = find_out(STAGES[0], run.recipe, run.folder)
    if current.absent or (done and not force):
        return
    for stage in STAGES[1:]:
        stage.check_early(run.recipe)


def run_stage(name: str, run: Run, *, force: bool = False) -> StageResult:
    """Carry out one stage, if it is not done.

    Args:
        name: Name of the stage.
        run: The run.
        force: Whether the stage is redone even if it is done.

    Raises:
        GraftError: A stage before it is not done.
    """
    before = list(takewhile(lambda stage: stage.name != name, STAGES))
    if launched().is_helper:
        return _help(STAGES[len(before)], run)
    missing = next((stage.name for stage in before if not is_done(stage, run.recipe, run.folder)), None)
    if missing:
        raise GraftError(
            f"{run.folder.root}: `{missing}` is not done or outdated, and `{name}` needs it. "
            f"Carry out all of it with: graft run {run.folder.root}"
        )
    with held(run.folder):
        _keep_recipe(run)
        with tracked(run.recipe, run.folder):
            return _carry_out(STAGES[len(before)], run, force=force)


def done_stages(run: Run) -> frozenset[str]:
    """Return the names of the stages that are done with this recipe, data and code, and all before them."""
    done = takewhile(lambda stage: is_done(stage, run.recipe, run.folder), STAGES)
    return frozenset(stage.name for stage in done)


@contextmanager
def working_on(run: Run, *, after: str) -> Iterator[None]:
    """Keep other commands off a run while one works on the results of a stage.

    Args:
        run: The run.
        after: Name of the stage.

    Raises:
        GraftError: That stage is not done, or another command is working on the run.
    """
    if after not in done_stages(run):
        other = run.folder.recipe.is_file() and not _is_same(load_recipe(run.folder.recipe), run.recipe)
        remedy = (
            "This recipe is not the run's own: name the run's folder, or carry the recipe out first"
            if other
            else "Carry it out first"
        )
        target = "RECIPE" if other else run.folder.root
        raise GraftError(
            f"{run.folder.root}: `{after}` is not done or outdated. {remedy}: graft run {target}"
        )
    with held(run.folder):
        _keep_recipe(run)
        yield


def _is_same(recipe: Recipe, other: Recipe) -> bool:
    return without_places(recipe) == without_places(other)


def _carry_out(stage: Stage, run: Run, *, force: bool) -> StageResult:
    start = time.monotonic()
    current, done = find_out(stage, run.recipe, run.folder)
    if force or done:
        atomic.remove_folder(run.folder.unfinished(stage.name))
    if done and not force:
        log.info("%s: unchanged, skipped", stage.name)
        dismiss_helpers(stage, run.recipe)
        return _ended(stage, run, start, skipped=True)
    for absent in current.absent.values():  # what the stage left before stays, since nothing can replace it
        raise GraftError(f"{absent.what}. {absent.remedy}")
    log.info("%s: started", stage.name)
    run.folder.marker(stage.name).unlink(missing_ok=True)
    with told(stage.name, run.folder), with_helpers(stage, run.recipe):
        stage.execute(run.recipe, run.folder)
    seconds = round(time.monotonic() - start, 3)
    write_marker(stage, run.folder, current, seconds)
    atomic.remove_folder(run.folder.unfinished(stage.name))
    log.info("%s: done in %.1f s", stage.name, seconds)
    return _ended(stage, run, start, skipped=False)


def _ended(stage: Stage, run: Run, start: float, *, skipped: bool) -> StageResult:
    """Tell that a stage is over, and return its outcome; ``start`` is the time at which it began."""
    seconds = round(time.monotonic() - start, 3)
    tell_end(stage.name, run.folder, seconds, skipped=skipped)
    return StageResult(stage.name, skipped=skipped, seconds=seconds)


def _help(stage: Stage, run: Run) -> StageResult:
    """Help the first process with a stage that is shared; it alone writes the run."""
    seconds = help_with(stage, run.recipe, run.folder)
    return StageResult(stage.name, skipped=seconds is None, seconds=seconds or 0.0)


def _keep_recipe(run: Run) -> None:
    atomic.write_bytes(run.folder.recipe, dump_recipe(run.recipe).encode())
    keep_root(run.recipe, run.folder)


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Keep other commands off the run within the block; the kernel releases the lock however it ends."""
    folder.lock.parent.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"{folder.root}: another graft command is working on this run. "
                "Wait for it, or use another folder: --run DIR"
            ) from error
        _sweep(folder)
        yield


def _sweep(folder: RunFolder) -> None:
    """Finish or remove what a killed command left half-written, in the run's folder and those in it."""
    atomic.recover(folder.root)
    for inside in folder.root.iterdir():
        if inside.is_dir():
            atomic.recover(inside)
    for scratch in folder.root.glob(".decoded-*.npy"):
        scratch.unlink()
