"""The trials of a search as people and programs see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

State = Literal["done", "behind", "failed"]


@dataclass(frozen=True)
class TrialRow:
    """A trial that is done.

    Attributes:
        place: Its place in the search, from 0 on.
        state: ``done``; ``behind`` where the pruner ended it; ``failed`` where it has no value.
        value: The objective; None where it failed. Of a trial that was ended, that of its last epoch.
        values: The values that were tried, by the names of their fields.
        epochs: Number of epochs that were judged.
        seconds: Seconds that it took.
        why: Why it failed; empty for others.
        tries: How many times it was begun: more than once where a worker died at it.
    """

    place: int
    state: State
    value: float | None
    values: Mapping[str, float | int | str | bool | None]
    epochs: int
    seconds: float
    why: str = ""
    tries: int = 1


def rows_of(trials: Sequence[FrozenTrial]) -> tuple[TrialRow, ...]:
    """Return the trials of a study that are done, in the order of their places."""
    from optuna.trial import TrialState

    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "done",
        TrialState.PRUNED: "behind",
        TrialState.FAIL: "failed",
    }
    tries: dict[int, int] = {}
    for trial in trials:
        if trial.state != TrialState.WAITING:
            place = trial.user_attrs["place"]
            tries[place] = tries.get(place, 0) + 1
    rows = [
        TrialRow(
            place=trial.user_attrs["place"],
            state=states[trial.state],
            value=trial.value if trial.values else None,
            values=dict(trial.params),
            epochs=len(trial.intermediate_values),
            seconds=trial.user_attrs.get("seconds", 0.0),
            why=trial.user_attrs.get("why", ""),
            tries=tries[trial.user_attrs["place"]],
        )
        for trial in trials
        if trial.state in states and not trial.user_attrs.get("dead")
    ]
    return tuple(sorted(rows, key=lambda row: row.place))


def best_of(rows: Sequence[TrialRow], *, maximises: bool) -> TrialRow | None:
    """Return the best of the trials that were done to their end, the first of equals; None without any."""
    done = [row for row in rows if row.state == "done" and row.value is not None]
    sign = -1.0 if maximises else 1.0
    return min(done, key=lambda row: (sign * (row.value or 0.0), row.place), default=None)
