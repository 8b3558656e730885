"""The mode ``auto``: what trains, and at which rate, is decided by the samples and by trials on validation.

The best head on frozen features is the floor. Against it everything is trained from a gentle head (LP-FT,
arXiv:2202.10054). If that is not clearly better, everything is trained once more at a lower rate: with that,
a backbone that the usual rate would harm still gets its chance. What was measured is in docs/adr/0019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.finetune.course.epochs import best_of
from pipeline.finetune.course.loop import Outcome
from pipeline.finetune.keep.judging import lead, least_smoothed_loss
from pipeline.finetune.keep.selection import is_as_good
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.finetune.strategies.strategy import Strategy

MODE = "lp-ft"
# What the learning rate is multiplied by in a second training.
SECOND_FACTOR = 0.3
# A head whose loss is so near the least that so few samples allow, in nats, cannot be told from a better one.
NOTHING_TO_GAIN = 0.01

Fit = Callable[[str, Plan, Strategy], Outcome]
"""A training by its name, which is the same whenever the command is repeated."""


@dataclass(frozen=True)
class Trial:
    """A training on the way to a decision.

    Attributes:
        name: What was tried, for people.
        learning_rate: The peak of the head's learning rate.
        epochs: Number of epochs.
        loss: The best epoch's calibrated loss on validation, in nats.
        accuracy: The best epoch's share of right answers on validation.
    """

    name: str
    learning_rate: float
    epochs: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Decision:
    """What was trained, and why.

    Attributes:
        mode: The mode whose result is kept.
        plan: The plan of the training that is kept.
        outcome: The result.
        why: One sentence for people.
        trials: What was tried on the way.
    """

    mode: str
    plan: Plan
    outcome: Outcome
    why: str
    trials: tuple[Trial, ...] = ()


def decide(prepared: Prepared, plan: Plan, fit: Fit, *, rate_is_given: bool) -> Decision:
    """Try, choose, train, and say why.

    Args:
        prepared: What the training starts from.
        plan: The plan of the recipe.
        fit: Carries out a training.
        rate_is_given: Whether the recipe names the learning rate, so that no other is tried.
    """
    strategy = strategy_named(MODE)
    plans = [plan]
    outcomes = [fit(_name(plan), plan, strategy)]
    if not rate_is_given and _could_be_better(outcomes[0], prepared):
        plans.append(at_rate(plan, SECOND_FACTOR))
        outcomes.append(fit(_name(plans[1]), plans[1], strategy))
    best = _choose(prepared, outcomes)
    trials = tuple(_trial_of(each, result) for each, result in zip(plans, outcomes, strict=True))
    mode = "features" if outcomes[best].kept is prepared.floor else MODE
    return Decision(mode, plans[best], outcomes[best], _why(prepared, outcomes[best], trials), trials)


def _could_be_better(outcome: Outcome, prepared: Prepared) -> bool:
    """Say whether a training is not clearly better than the head, which leaves something to gain."""
    floor = prepared.floor.judged
    least = least_smoothed_loss(len(prepared.validation), len(prepared.best_head.bias))
    return floor.loss - least > NOTHING_TO_GAIN and not lead(outcome.kept.judged, floor).is_clear


def _choose(prepared: Prepared, outcomes: Sequence[Outcome]) -> int:
    """Return the number of the training to keep: the first, unless the second is better beyond chance.

    Where only one of them is better than the head, it is that one.
    """
    trained = [index for index, outcome in enumerate(outcomes) if outcome.kept is not prepared.floor]
    kept = [outcomes[index].kept for index in trained]
    return next((index for index in trained if is_as_good(outcomes[index].kept, kept)), 0)


def at_rate(plan: Plan, factor: float) -> Plan:
    """Return a plan with a learning rate that is so many times as high."""
    rate = float(f"{plan.rates.learning_rate * factor:.3g}")  # 9e-05, and not 8.999999999999999e-05
    return replace(plan, rates=replace(plan.rates, learning_rate=rate))


def named(mode: str, prepared: Prepared, plan: Plan, outcome: Outcome) -> Decision:
    """Return the decision where the recipe names the mode; the best head is kept where it is better.

    Args:
        mode: The recipe's mode.
        prepared: What the training started from.
        plan: The plan of the training.
        outcome: Its result.
    """
    if mode == "features" or outcome.kept is not prepared.floor:
        return Decision(mode, plan, outcome, f"{mode}: {_compare(prepared, outcome)}")
    return Decision("features", plan, outcome, f"{mode}: {_fell_short(prepared, outcome)}")


def _name(plan: Plan) -> str:
    """Return the name of a training, by which an unfinished one is found again."""
    return f"{MODE} at {plan.rates.learning_rate:.3g}"


def _trained_loss(outcome: Outcome) -> float:
    """Return the calibrated loss of a training's best epoch, the head on the untouched backbone left out."""
    return best_of(outcome.epochs[1:]).validation_loss


def _trial_of(plan: Plan, outcome: Outcome) -> Trial:
    """Return the figures of a trial."""
    best = best_of(outcome.epochs[1:])
    return Trial(
        name=_name(plan),
        learning_rate=plan.rates.learning_rate,
        epochs=plan.epochs,
        loss=best.validation_loss,
        accuracy=best.validation_accuracy,
    )


def _why(prepared: Prepared, outcome: Outcome, trials: tuple[Trial, ...]) -> str:
    """Return the sentence that says what was chosen, and why."""
    tried = " and ".join(f"{trial.learning_rate:.3g}" for trial in trials)
    kept_head = outcome.kept is prepared.floor
    told = _fell_short(prepared, outcome) if kept_head else _compare(prepared, outcome)
    return f"auto: everything was trained at a rate of {tried}, and {told}"


def _compare(prepared: Prepared, outcome: Outcome) -> str:
    """Return how what is kept compares with the best head."""
    floor, kept, count = prepared.floor, outcome.kept, len(prepared.validation)
    on = f"loss {kept.judged.loss:.3f} on {count} {prepared.unit} of validation"
    if kept is floor:
        return f"kept the best head on frozen features ({on})"
    ahead = lead(kept.judged, floor.judged)
    sure = "better" if ahead.is_clear else "not clearly better"
    return (
        f"kept {kept.name}: {on}, {sure} than the best head on frozen features ({floor.judged.loss:.3f};"
        f" {ahead.nats:+.3f} nats, 95 % interval {ahead.low:+.3f} to {ahead.high:+.3f})"
    )


def _fell_short(prepared: Prepared, outcome: Outcome) -> str:
    """Return by how much training fell short of the best head, which is kept."""
    floor, count = prepared.floor.judged, len(prepared.validation)
    return (
        f"kept the best head on frozen features (loss {floor.loss:.3f} on {count} {prepared.unit} of"
        f" validation), since no epoch reached it (the best: {_trained_loss(outcome):.3f})"
    )
