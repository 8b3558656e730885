"""The result of a search, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.search.records import TrialRow
from pipeline.search.table import shown_values

NAMES = {
    "loss": "loss on validation, in nats",
    "accuracy": "accuracy on validation",
    "macro_f1": "macro F1 on validation",
}


@dataclass(frozen=True)
class Nested:
    """The estimate of the whole procedure on samples that no search has seen.

    Attributes:
        scores: The objective of the best trial of each inner search on its outer fold.
        inner: The objective of the same trials on their own validation, by which they were chosen.
        mean: Mean of the scores.
        low: Lower end of the 95 % interval of the mean over the folds.
        high: Upper end of it.
        optimism: How much better the best value of the search looks than the mean; below 0, it looks worse.
    """

    scores: tuple[float, ...]
    inner: tuple[float, ...]
    mean: float
    low: float
    high: float
    optimism: float


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        run: The run's folder.
        study: Name of the study.
        storage: Where the trials are kept.
        method: The method.
        pruner: The pruner.
        objective: Name of the objective, on validation.
        seed: Seed of the search.
        trials: All trials that are done.
        asked: Number of trials that the search is of.
        best: The best trial.
        importance: How much each field decides the objective: shares that add up to 1, or nothing.
        nested: The estimate by outer folds; None where none was asked for.
        seconds: Seconds that this command took.
        recipe: Path of the best trial's recipe.
        page: Path of the page.
    """

    run: Path
    study: str
    storage: str
    method: str
    pruner: str
    objective: str
    seed: int
    trials: tuple[TrialRow, ...]
    asked: int
    best: TrialRow
    importance: Mapping[str, float]
    nested: Nested | None
    seconds: float
    recipe: Path
    page: Path

    def to_json(self) -> dict[str, object]:
        """Return the result as one JSON object; losses are in nats."""
        places = {key: str(getattr(self, key)) for key in ("run", "recipe", "page")}
        return asdict(self) | places

    def to_text(self) -> str:
        """Return the result for people."""
        states = [trial.state for trial in self.trials]
        told = ", ".join(
            f"{states.count(state)} {what}"
            for state, what in (("behind", "ended early"), ("failed", "failed"))
            if state in states
        )
        best = self.best
        lines = [
            f"trials     {len(states)} of {self.asked}" + (f" ({told})" if told else ""),
            f"best       {best.value:.4f}: {NAMES[self.objective]}; trial {best.place}",
            f"values     {shown_values(best.values)}",
        ]
        if self.importance:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in self.importance.items())
            lines.append(f"decides    {shares}")
        if self.nested is not None:
            lines.append(f"honest     {self.nested_text()}")
        else:
            lines.append(
                "note       the best of many looks better on validation than it is; how good it is, the test"
                " split says, which was not read, or search.nested"
            )
        return "\n".join([*lines, f"recipe     graft run {self.recipe}", f"page       {self.page}"])

    def nested_text(self) -> str:
        """Return the estimate by outer folds in words."""
        nested = self.nested
        assert nested is not None
        looks = "better" if nested.optimism > 0 else "worse"
        return (
            f"{nested.mean:.4f} (95 % interval {nested.low:.4f} to {nested.high:.4f}) over"
            f" {len(nested.scores)} outer folds; the best trial looks {looks} than that by"
            f" {abs(nested.optimism):.4f}"
        )
