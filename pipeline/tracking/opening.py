"""The trackers of a run, opened before its work begins, so that what is wrong with them is told then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.files.layout import RunFolder
from pipeline.machine.versions import installed_versions
from pipeline.recipe.sections import Recipe
from pipeline.tracking.current import tell, telling
from pipeline.tracking.described import Described, describe
from pipeline.tracking.events import EpochJudged, Moment, RunBegun, RunEnded, StageBegun, StageEnded
from pipeline.tracking.history import HistoryFile, latest_training
from pipeline.tracking.tracker import Lenient, Several, Tracker
from pipeline.tracking.trainings import CatchingUp

FULL_DISK = "Free some space there: what is missing is written as soon as it can be"
REPEAT = "Repeat the command when it works again: what is missing is logged then, and nothing is redone"


@contextmanager
def tracked(recipe: Recipe, run: RunFolder) -> Iterator[None]:
    """Let the trackers of a run be told what happens within the block.

    Args:
        recipe: The run's recipe, whose section ``tracking`` names those besides the local history.
        run: The run's folder, which holds the recipe.

    Raises:
        GraftError: A package is missing, a folder cannot be written, or there is no MLflow at the address.
    """
    described = describe(recipe, run)
    history = HistoryFile(run.history)
    others = Several(tuple(_open_others(recipe, described)))
    past = tuple(_to_catch_up(history.moments))
    tracker = Several((Lenient(history, "history.jsonl", FULL_DISK), CatchingUp(others, past)))
    with telling(tracker):
        tell(RunBegun(name=recipe.name, recipe_sha256=described.recipe_sha256, versions=installed_versions()))
        try:
            yield
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "stopped"
            tell(RunEnded(state=state, error=type(error).__name__))
            raise
        tell(RunEnded(state="finished"))


def _open_others(recipe: Recipe, described: Described) -> Iterator[Tracker]:
    """Yield the trackers that the recipe asks for."""
    section = recipe.tracking
    if section.tensorboard:
        from pipeline.tracking.tensorboard import open_tensorboard

        place = section.tensorboard
        folder = Path(place) if isinstance(place, str) else described.folder.tensorboard
        yield Lenient(open_tensorboard(folder, described), "TensorBoard", REPEAT)
    if section.mlflow.uri is not None:
        from pipeline.tracking.mlflow import open_mlflow

        yield Lenient(open_mlflow(section.mlflow, described), "MLflow", REPEAT)


def _to_catch_up(moments: Sequence[Moment]) -> Iterator[Moment]:
    """Yield the moments of the run's latest training, of which a tracker may have missed some.

    Results are not among them: each stage tells its own whenever it is done or found done.
    """
    for moment in latest_training(moments):
        event = moment.event
        is_of_training = isinstance(event, StageBegun | StageEnded) and event.stage == "finetune"
        if is_of_training or isinstance(event, EpochJudged):
            yield moment
