"""The comparison itself: cost and probe of every backbone, then short fine-tunings with halving."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.compare.classic import NoClassicError, balance_of, probe_classic
from pipeline.compare.cost import measure_cost
from pipeline.compare.entries import Contender
from pipeline.compare.pieces import Pieces, key_of, key_of_data, without_training
from pipeline.compare.probe import probe_backbone
from pipeline.compare.ranking import Standing, go_on
from pipeline.compare.records import Classic, Cost, Probe, Tuned
from pipeline.compare.tuning import LONG_SHARE, SHORT_SHARE, epochs_of, tune, with_epochs
from pipeline.errors import DataError, GraftError
from pipeline.recipe.sections import Recipe
from pipeline.reporting.printable import printable

log = logging.getLogger("graft")
LONGEST_REASON = 240


@dataclass(frozen=True)
class Budget:
    """What a backbone may cost at most.

    Attributes:
        parameters: Number of parameters; None, the default, for any.
        ms: Milliseconds a sample on one thread; None, the default, for any.
    """

    parameters: int | None = None
    ms: float | None = None

    def excess(self, cost: Cost) -> str | None:
        """Return in words by what a cost is over the budget; None where it fits."""
        if self.parameters is not None and cost.parameters > self.parameters:
            return (
                f"over the budget: {cost.parameters / 1e6:.1f} M parameters, more than"
                f" {self.parameters / 1e6:.1f} M"
            )
        if self.ms is not None and cost.ms > self.ms:
            return f"over the budget: {cost.ms:.2f} ms a sample, more than {self.ms:g}"
        return None


def probe_all(contenders: Sequence[Contender], pieces: Pieces, budget: Budget) -> list[Standing]:
    """Measure the cost of every backbone, and probe those that fit the budget, and the recipe's own.

    Args:
        contenders: The backbones.
        pieces: The finished pieces, which are not made again.
        budget: What a backbone may cost.

    Raises:
        GraftError: None of them can be had; or a sample changed.
    """
    standings = []
    for number, contender in enumerate(contenders, 1):
        log.info("compare: %s, %d of %d", contender.name, number, len(contenders))
        standing = Standing(contender.name, contender.is_own)
        attempt(standing, partial(_measure, contender, standing, pieces, budget))
        standings.append(standing)
    if not any(standing.probe for standing in standings):
        reasons = "\n".join(f"  {each.name}: {each.because}" for each in standings)
        raise GraftError(f"None of the backbones can be compared:\n{reasons}")
    return standings


def _measure(contender: Contender, standing: Standing, pieces: Pieces, budget: Budget) -> None:
    """Measure a backbone's cost, and then its probe."""
    recipe, run = without_training(contender.recipe), pieces.run
    key = key_of("pipeline.compare.cost", recipe, run)
    standing.cost = pieces.get(Cost, key, lambda: measure_cost(recipe, run))
    excess = budget.excess(standing.cost)
    if excess is None or contender.is_own:
        key = key_of("pipeline.compare.probe", recipe, run)
        standing.probe = pieces.get(Probe, key, lambda: probe_backbone(recipe, run))
    standing.because = excess


def attempt(standing: Standing, work: Callable[[], None]) -> None:
    """Do a part of a backbone's work; what ends it is its reason, and the others go on.

    Args:
        standing: The backbone.
        work: The work.

    Raises:
        DataError: A sample changed, which concerns all of them.
    """
    try:
        work()
    except DataError:
        raise
    except GraftError as error:
        standing.because = printable(str(error).partition("\n")[0], LONGEST_REASON)
        log.warning("compare: %s is left out: %s", standing.name, standing.because)


def probe_without_transfer(recipe: Recipe, pieces: Pieces) -> Classic | None:
    """Judge the classic model without transfer on the same folds; None where the kind has none.

    Args:
        recipe: The recipe.
        pieces: The finished pieces.
    """
    balance = balance_of(recipe, pieces.run)
    how = [balance.head_weights is not None, balance.adjustment]
    key = key_of_data("pipeline.compare.classic", recipe, pieces.run, balance=how)
    try:
        return pieces.get(Classic, key, lambda: probe_classic(recipe, pieces.run))
    except NoClassicError as error:
        log.info("compare: %s", error)
        return None


def tune_the_best(
    contenders: Sequence[Contender], standings: Sequence[Standing], pieces: Pieces, samples: int
) -> None:
    """Fine-tune the best half for a few epochs, and the better half of these for more.

    Args:
        contenders: The backbones.
        standings: What is known of them, to which the trainings are added.
        pieces: The finished pieces, which are not made again.
        samples: Number of training samples.
    """
    recipes = {contender.name: contender.recipe for contender in contenders}
    going = [standing for standing in standings if standing.is_in]
    for share in (SHORT_SHARE, LONG_SHARE):
        going = go_on(going)
        for standing in going:
            recipe = recipes[standing.name]
            epochs = epochs_of(recipe, samples, share)
            if not standing.tuned or standing.tuned[-1].epochs < epochs:
                short = with_epochs(recipe, epochs)
                attempt(standing, partial(_tune, standing, short, pieces))
        going = [standing for standing in going if standing.because is None]


def _tune(standing: Standing, recipe: Recipe, pieces: Pieces) -> None:
    """Fine-tune a backbone for the recipe's number of epochs, or take what was found before."""
    log.info("compare: %s, epochs of fine-tuning: %d", standing.name, recipe.finetune.epochs)
    key = key_of("pipeline.compare.tuning", recipe, pieces.run)
    found = pieces.get(Tuned, key, lambda: tune(recipe, pieces.run, pieces.unfinished(key)))
    standing.tuned.append(found)
