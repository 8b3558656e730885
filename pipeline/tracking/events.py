"""What happens in a run, as frozen values: what every tracker is told, and what ``history.jsonl`` holds.

The names of the classes' ``kind`` are part of the file's form, which ``docs/tracking.md`` describes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from pipeline.artifacts.history import Epoch
from pipeline.files.records import Record
from pipeline.measures.records import Figures, Interval, Intervals


class RunBegun(Record):
    """A command has begun to work on a run.

    Attributes:
        name: The run's name.
        recipe_sha256: The hash of those choices of the recipe that make the model.
        versions: Versions of the installed packages, by their names.
    """

    kind: Literal["run_begun"] = "run_begun"
    name: str
    recipe_sha256: str
    versions: dict[str, str]


class RunEnded(Record):
    """The command has ended; a command that was killed leaves none of these.

    Attributes:
        state: ``finished``; ``failed`` with an error; or ``stopped`` by the user or the system.
        error: Class of the error, such as ``GateFailedError``; None where there was none.
    """

    kind: Literal["run_ended"] = "run_ended"
    state: Literal["finished", "failed", "stopped"]
    error: str | None = None


class StageBegun(Record):
    """A stage has begun.

    Attributes:
        stage: Name of the stage.
        resumed: Whether it goes on with work that an earlier command has left.
    """

    kind: Literal["stage_begun"] = "stage_begun"
    stage: str
    resumed: bool = False

    @property
    def is_new_training(self) -> bool:
        """Whether a training begins anew here, with epochs that are none of an earlier one's."""
        return self.stage == "finetune" and not self.resumed


class StageEnded(Record):
    """A stage is over.

    Attributes:
        stage: Name of the stage.
        state: ``done``; ``skipped``, since it was done before; or ``failed``, which a stop is too.
        seconds: Seconds that it took.
        error: Class of the error; None where there was none.
    """

    kind: Literal["stage_ended"] = "stage_ended"
    stage: str
    state: Literal["done", "skipped", "failed"]
    seconds: float
    error: str | None = None


class EpochJudged(Record):
    """An epoch of a training was judged on validation.

    Attributes:
        training: Name of the training; one run may try several.
        figures: The epoch's figures.
    """

    kind: Literal["epoch_judged"] = "epoch_judged"
    training: str
    figures: Epoch


class Trained(Record):
    """What was kept of a run's trainings.

    Attributes:
        mode: The strategy whose result is kept, ``features`` for the head alone.
        kept: What people call the weights that were kept, such as ``epoch 3``.
        best_epoch: The epoch whose weights were kept; 0 for the head alone.
        why: One sentence that says what was chosen, and why.
    """

    kind: Literal["trained"] = "trained"
    mode: str
    kept: str
    best_epoch: int
    why: str


class Transfer(Record):
    """The verdict on transfer.

    Attributes:
        answer: ``helps``, ``hurts``, ``no_measurable_difference`` or ``cannot_be_told``.
        measure: What was compared, such as ``accuracy``.
        against: Name of the opponent that decides; None where there is none.
        difference: The model's measure less that opponent's.
        difference_95: The 95 % interval of the difference.
    """

    answer: str
    measure: str
    against: str | None
    difference: float
    difference_95: Interval


class Evaluated(Record):
    """The figures of the checkpoint on the test split.

    Attributes:
        samples: Number of samples.
        figures: The figures.
        intervals_95: The 95 % interval of each.
        transfer: The verdict on transfer; None where it was not judged.
    """

    kind: Literal["evaluated"] = "evaluated"
    samples: int
    figures: Figures
    intervals_95: Intervals
    transfer: Transfer | None = None


class Verdict(Record):
    """What the verification found of one artifact.

    Attributes:
        artifact: Name of the artifact.
        published: Whether it is in the bundle.
        why: Summary of what was measured, or the reason why it is not published.
        passed: Whether its receipt passed; None where it was not run.
        samples: Number of samples that were compared; None where it was not run.
        agreement: Share of the checkpoint's answers among those that are no ties; None if not measured.
        mean_kl: Mean Kullback-Leibler divergence from the checkpoint, in nats; None if not measured.
        max_abs_probabilities: Largest difference of a probability; None if not measured.
    """

    kind: Literal["verdict"] = "verdict"
    artifact: str
    published: bool
    why: str
    passed: bool | None = None
    samples: int | None = None
    agreement: float | None = None
    mean_kl: float | None = None
    max_abs_probabilities: float | None = None


class Packaged(Record):
    """The bundle was packaged.

    Attributes:
        bento: Tag of the Bento; None where BentoML has no service for the kind of input.
        model: Tag of the model in BentoML's store; None likewise.
    """

    kind: Literal["packaged"] = "packaged"
    bento: str | None
    model: str | None


Event = Annotated[
    RunBegun | RunEnded | StageBegun | StageEnded | EpochJudged | Trained | Evaluated | Verdict | Packaged,
    Field(discriminator="kind"),
]


class Moment(Record):
    """An event and its time: one line of ``history.jsonl``.

    Attributes:
        schema_version: The version of the line's form.
        time: The time, in UTC.
        event: The event.
    """

    schema_version: Literal[1] = 1
    time: datetime
    event: Event
