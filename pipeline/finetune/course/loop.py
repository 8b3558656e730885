"""The training loop: epoch by epoch, from where an unfinished training stopped, to what is kept of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext

from pipeline.artifacts.history import Epoch as Epoch  # noqa: PLC0414 - what watches are told
from pipeline.errors import GraftError
from pipeline.finetune.course.course import Course
from pipeline.finetune.course.course import Outcome as Outcome  # noqa: PLC0414 - the loop's result
from pipeline.finetune.plan import Plan
from pipeline.finetune.resuming.chance import chance_state, restore_chance
from pipeline.finetune.resuming.identity import training_identity
from pipeline.finetune.resuming.keeper import Keeper, NoKeeper
from pipeline.finetune.resuming.stopping import Stopped, Stops
from pipeline.finetune.resuming.tree import Tree
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.steps.training import DivergedError
from pipeline.finetune.strategies.strategy import Strategy

log = logging.getLogger("graft")
# Seconds that the first process has for its checkpoint when all of those that train together are to end.
HELPERS_WAIT_S = 5.0

Watch = Callable[[Epoch], None]
"""What is told the figures of each epoch as soon as it is judged; what it raises ends the training."""


def unwatched(_: Epoch) -> None:
    """Do nothing with an epoch's figures."""


def train(
    prepared: Prepared,
    plan: Plan,
    strategy: Strategy,
    keeper: Keeper | None = None,
    watch: Watch = unwatched,
) -> Outcome:
    """Train a classifier, and keep the weights that validation does not speak against.

    Args:
        prepared: What the training starts from, which is not changed.
        plan: The plan of the training.
        strategy: The strategy, which says what trains, at which rate, and when.
        keeper: Keeps checkpoints, and knows those of the same training in another process, which then goes
            on from there, or its outcome, which is then not made again. None, the default, keeps nothing.
        watch: Is told the figures of each epoch that this process trains; by default nobody is.

    Raises:
        GraftError: The loss runs away even at a quarter of the learning rate, the backbone cannot be trained
            in this way, or an unfinished training is another one.
    """
    keeper = NoKeeper() if keeper is None else keeper
    resumed, finished = keeper.find(training_identity(plan, strategy))
    if finished is not None:
        restore_chance(finished["chance"])
        return Outcome.of(finished["outcome"], prepared)
    course, boundary = Course(prepared, plan, strategy), None
    if resumed is not None:
        course.restore(resumed.now)
        boundary = resumed.boundary
        log.info("finetune: goes on in %s", course.where())
    stops = Stops(0.0 if prepared.processes.is_first else HELPERS_WAIT_S)
    with nullcontext() if isinstance(keeper, NoKeeper) else stops.held():
        while not course.is_over:
            start, boundary = course.copied_state() if boundary is None else boundary, None
            _run_epoch(course, keeper, stops, start, watch)
        outcome = course.result()
        keeper.finish({"outcome": outcome.state(prepared), "chance": chance_state()})
    return outcome


def _run_epoch(course: Course, keeper: Keeper, stops: Stops, start: Tree, watch: Watch) -> None:
    """Run an epoch, or what is left of it, or go back to its start if the loss runs away.

    Args:
        course: The training.
        keeper: Keeps checkpoints.
        stops: The signals that are held back.
        start: The state at the start of the epoch.
        watch: Is told the figures of the epoch.

    Raises:
        Stopped: A signal came, and a checkpoint is made.
        GraftError: The loss runs away even at a quarter of the learning rate. No checkpoint is kept then, so
            that another recipe can begin.
    """

    def after_step() -> None:
        if keeper.is_due():
            keeper.save_step(course.state(), start)
        stops.check()

    try:
        course.run_epoch(stops, after_step)
    except DivergedError as reason:
        try:
            course.go_back(start, reason)
        except GraftError:
            keeper.discard()
            raise
        keeper.go_back()
    except Stopped:
        keeper.save_step(course.state(), start)
        log.warning("finetune: stopped in %s; the same command goes on from there", course.where())
        raise
    else:
        watch(course.records[-1])  # first: a process that is killed in between tells the epoch again
        if not course.is_over:
            keeper.save_epoch(course.state())
