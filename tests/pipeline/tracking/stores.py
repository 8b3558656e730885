"""Stores of MLflow and TensorBoard, and what their own readers find in them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.files.layout import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@dataclass(frozen=True)
class Place:
    """A copy of the finished run, whose recipe asks for both trackers."""

    folder: RunFolder
    database: Path
    boards: Path

    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.database}")

    def runs(self) -> list[MlflowRun]:
        experiment = self.client().get_experiment_by_name("tests")
        assert experiment is not None
        return list(self.client().search_runs([experiment.experiment_id]))

    def boards_read(self) -> dict[str, EventAccumulator]:
        """What TensorBoard reads of each training."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        read = {folder.name: EventAccumulator(str(folder)) for folder in sorted(self.boards.iterdir())}
        for accumulator in read.values():
            accumulator.Reload()
        return read


def make_place(base: Path, run: Path, **finetune: object) -> Place:
    """A copy of a run, whose recipe asks for both trackers; its section finetune may be changed too."""
    folder = RunFolder(shutil.copytree(run, base / "run"))
    document = yaml.safe_load(folder.recipe.read_text())
    document["finetune"] |= finetune
    document["tracking"] = {
        "tensorboard": str(base / "boards"),
        "mlflow": {"uri": f"sqlite:///{base}/mlflow.db", "experiment": "tests"},
    }
    folder.recipe.write_text(yaml.safe_dump(document))
    return Place(folder, base / "mlflow.db", base / "boards")
