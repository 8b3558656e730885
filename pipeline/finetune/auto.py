"""The mode ``auto``: what trains, and at which rate, is decided by the samples and by trials on validation.

The best head on frozen features is the floor. Against it everything is trained from a gentle head (LP-FT,
arXiv:2202.10054) at several rates: on few samples each rate gets the whole training, since that is quick and
a short one tells nothing; on more, each gets a short one, and the best rate the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.finetune.candidates import better
from pipeline.finetune.judging import lead
from pipeline.finetune.loop import Outcome
from pipeline.finetune.plan import Plan
from pipeline.finetune.prepared import Prepared
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.finetune.strategies.strategy import Strategy

# Factors of the recipe's learning rate that are tried: the best rate of one data set is often three times
# that of another.
FACTORS = (0.3, 1.0)
# Training samples up to which every rate gets the whole training.
FEW = 1500
# Epochs of a trial on more samples than that, as a share of the whole training.
TRIAL_SHARE = 0.25
MODE = "lp-ft"

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
    rates = (1.0,) if rate_is_given else FACTORS
    plans = [at_rate(plan, factor) for factor in rates]
    whole = len(prepared.train) <= FEW or len(plans) == 1
    tried = plans if whole else [shortened(each) for each in plans]
    outcomes = [fit(_name(each, whole=whole), each, strategy_named(MODE)) for each in tried]
    best = min(range(len(plans)), key=lambda index: _trained_loss(outcomes[index]))
    outcome = (
        outcomes[best] if whole else fit(_name(plans[best], whole=True), plans[best], strategy_named(MODE))
    )
    for other in outcomes:
        outcome = replace(outcome, kept=better(outcome.kept, other.kept))
    trials = tuple(_trial_of(each, result) for each, result in zip(tried, outcomes, strict=True))
    mode = "features" if outcome.kept is prepared.floor else MODE
    return Decision(mode, plans[best], outcome, _why(prepared, outcome, trials), trials)


def at_rate(plan: Plan, factor: float) -> Plan:
    """Return a plan with a learning rate that is so many times as high."""
    return replace(plan, rates=replace(plan.rates, learning_rate=plan.rates.learning_rate * factor))


def shortened(plan: Plan) -> Plan:
    """Return the plan of a trial: a share of the epochs, with the whole schedule in them."""
    return replace(plan, epochs=max(1, round(plan.epochs * TRIAL_SHARE)))


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


def _name(plan: Plan, *, whole: bool) -> str:
    """Return the name of a training, by which an unfinished one is found again."""
    kind = "training" if whole else "trial"
    return f"{kind} at {plan.rates.learning_rate:.3g}"


def _trained_loss(outcome: Outcome) -> float:
    """Return the calibrated loss of a training's best epoch, the head on the untouched backbone left out."""
    return min(epoch.validation_loss for epoch in outcome.epochs[1:])


def _trial_of(plan: Plan, outcome: Outcome) -> Trial:
    """Return the figures of a trial."""
    best = min(outcome.epochs[1:], key=lambda epoch: epoch.validation_loss)
    return Trial(
        name=f"{MODE} at {plan.rates.learning_rate:.3g}",
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
