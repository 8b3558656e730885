"""The command ``graft rates``: a run's learning rate is looked for before it is trained."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.finetune.auto import MODE
from pipeline.finetune.rates.plot import plot_sweep
from pipeline.finetune.rates.sweep import STEPS, Sweep, sweep
from pipeline.finetune.stage import start
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.recipe.sections import Recipe

log = logging.getLogger("graft")


@dataclass(frozen=True)
class Found:
    """A learning rate that was looked for.

    Attributes:
        run: The run's folder.
        mode: The mode that was tried.
        now: The peak rate that a training of this recipe has now.
        sweep: The losses at all rates, and the suggestion.
        plot: Path of the plot.
    """

    run: Path
    mode: str
    now: float
    sweep: Sweep
    plot: Path

    def to_json(self) -> dict[str, object]:
        """Return the result as one JSON object; losses are in nats."""
        document = {"run": str(self.run), "mode": self.mode, "now": self.now, "plot": str(self.plot)}
        return document | asdict(self.sweep)

    def to_text(self) -> str:
        """Return the suggestion for people, with what to write into the recipe."""
        found = self.sweep
        lines = [
            f"steps      {len(found.rates)} of {STEPS}, from {found.rates[0]:.0e} to {found.rates[-1]:.1e}"
        ]
        if found.diverged_at is not None:
            lines.append(f"diverged   at {found.diverged_at:.1e}")
        lines.append(f"now        {self.now:.1e} ({self.mode})")
        if found.suggested is None or found.steepest is None:
            lines.append(
                "suggested  none: the loss falls at no rate. Either the head that training starts from has"
                " nothing left to learn, or the labels have nothing to do with the samples: see the audit."
            )
        else:
            lines.append(f"suggested  {found.suggested:.1e} (the loss falls fastest at {found.steepest:.1e})")
            lines.append(f"recipe     finetune.learning_rate: {found.suggested:.1e}")
        return "\n".join([*lines, f"plot       {self.plot}"])


def find_rate(recipe: Recipe, run: RunFolder) -> Found:
    """Look for the learning rate of a run's training, and leave the plot in ``rates/`` of its folder.

    Args:
        recipe: The run's recipe.
        run: The run's folder, with the samples.

    Raises:
        GraftError: The recipe trains nothing step by step, or the loss is no number at any rate.
    """
    mode = MODE if recipe.finetune.mode == "auto" else recipe.finetune.mode
    started = start(recipe, run)
    plan = started.plan
    if len(started.prepared.train) < plan.batch_size:
        log.warning(
            "rates: %d training samples are fewer than a batch of %d; every step sees all of them",
            len(started.prepared.train),
            plan.batch_size,
        )
    found = sweep(started.prepared, plan, strategy_named(mode))
    now = plan.rates.learning_rate
    plot = plot_sweep(found, f"Learning rate of {recipe.name} ({mode})", now)
    with atomic.folder(run.rates) as folder:
        (folder / "rates.png").write_bytes(plot)
        atomic.write_json(folder / "rates.json", asdict(found))
    return Found(run.root, mode, now, found, run.rates / "rates.png")
