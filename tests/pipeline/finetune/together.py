"""Small trainings to share: `torchrun -m tests.pipeline.finetune.together FOLDER NAME...`.

Each process writes what it has seen as `FOLDER/rank-N.json`, and the first one the weights.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.course.loop import Outcome, train
from pipeline.finetune.plan import Keeping, Objective, Plan, Rates
from pipeline.finetune.resuming.file_keeper import FileKeeper
from pipeline.finetune.resuming.keeper import Keeper
from pipeline.finetune.resuming.tree import Tree
from pipeline.finetune.resuming.unfinished import Unfinished
from pipeline.finetune.start.heads import LinearHead
from pipeline.finetune.start.prepared import Prepared, Split, floor_of
from pipeline.finetune.steps.sharing import check_weights, shared_plan
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.machine.processes import ALONE, Processes, join, leave
from pipeline.machine.settings import apply_settings, choose_settings
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.network import ImageClassifier, Normalisation
from pipeline.modalities.image.recipe import ImageAugment
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.tensors import hash_tensors
from pipeline.tasks.classification import CLASSIFICATION

SAMPLES = 45
STILL = ImageAugment(horizontal_flip=False, vertical_flip=False, crop_scale=(1.0, 1.0))
MOVING = ImageAugment(horizontal_flip=True, vertical_flip=True, crop_scale=(0.7, 1.0))
PLAN = Plan(
    epochs=3,
    batch_size=8,
    rates=Rates(learning_rate=0.02, clip_norm=0.5),
    objective=Objective(label_smoothing=0.1),
)


class Small(nn.Module):
    """Tells bright pictures from dark ones; one of its parameters takes part in nothing."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.spare = nn.Linear(3, 3)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.body(batch)))

    def reset_classifier(self, classes: int) -> None:
        self.head = nn.Linear(4, classes)

    def get_classifier(self) -> nn.Linear:
        return self.head


class Watched(ImageClassifier):
    """Notes which pictures it is trained on; the first value of each is its number."""

    seen: list[int] = []  # noqa: RUF012 - a network is copied, and its notes are not

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.network.training:
            self.seen += image[:, 0, 0, 0].int().tolist()
        return super().forward(image)


@dataclass(frozen=True)
class Case:
    """A training, how often it is repeated, and whether it is also stopped and gone on with."""

    plan: Plan
    augment: ImageAugment = STILL
    dropout: float = 0.0
    samples: int = SAMPLES
    times: int = 1
    mode: str = "lp-ft"
    stops: bool = False


CASES = {
    "still": Case(PLAN, times=2),
    "moving": Case(
        replace(PLAN, objective=Objective(mixup=0.3, label_smoothing=0.1), keeping=Keeping(ema=True, soup=2)),
        augment=MOVING,
    ),
    "dropout": Case(PLAN, dropout=0.5, times=2, stops=True),
    "gradual": Case(replace(PLAN, epochs=4), mode="gradual"),
    "single": Case(replace(PLAN, batch_size=1, epochs=2), samples=7),
}


def split(count: int, seed: int, augment: ImageAugment) -> Split:
    """Twice as many dark pictures as bright ones."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % 3 == 2).astype(np.int64)
    means = 80 + 90 * targets[:, None, None, None]
    pixels = np.clip(rng.normal(means, 30, (count, 8, 8, 3)), 0, 255).astype(np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count)
    return Split(ImageExamples(pixels, augment), targets)


def prepare(case: Case, processes: Processes) -> Prepared:
    torch.manual_seed(processes.rank)  # only the first one's weights are to count
    classifier = Watched(Small(case.dropout), Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    validation, rng = split(70, 2, STILL), np.random.default_rng(0)
    head = LinearHead(rng.normal(0, 0.1, (2, 4)).astype(np.float32), np.zeros(2, np.float32), penalty=0.4)
    logits = compute_logits(classifier, validation.examples, "cpu", "start", "pictures", processes)
    return Prepared(
        classifier=classifier,
        train=split(case.samples, 1, case.augment),
        validation=validation,
        floor=floor_of(classifier, logits, validation.targets, CLASSIFICATION),
        best_head=head,
        gentle_head=head,
        class_weights=np.array([0.75, 1.5], np.float32),
        task=CLASSIFICATION,
        unit="pictures",
        processes=processes,
    )


def carry_out(case: Case, processes: Processes = ALONE, keeper: Keeper | None = None) -> Outcome:
    """Train, batch norms frozen, as several processes on a CPU have to."""
    plan = replace(case.plan, freeze_batch_norm=processes.is_alone)
    shared = shared_plan(plan, case.samples, processes)
    return train(prepare(case, processes), shared, strategy_named(case.mode), keeper)


class StoppedError(Exception):
    """A training that ends in the middle."""


class Stopping(FileKeeper):
    """Ends a training in its second epoch, in all processes, when the checkpoint is written."""

    steps = 0

    def is_due(self) -> bool:
        self.steps += 1
        return self.steps == 9

    def save_step(self, state: Tree, boundary: Tree) -> None:
        super().save_step(state, boundary)
        raise StoppedError


def go_on(case: Case, processes: Processes, folder: Path) -> str:
    """The hash of a training that was stopped and gone on with."""
    unfinished = Unfinished(folder / "unfinished", {"processes": processes.count}, processes=processes)
    with suppress(StoppedError):
        carry_out(case, processes, Stopping(unfinished, "a"))
    torch.manual_seed(99)  # a new process has not drawn what this one has
    Watched.seen.clear()
    return hash_tensors(carry_out(case, processes, FileKeeper(unfinished, "a")).kept.state)


def refusal(action: object, *arguments: object) -> str:
    try:
        action(*arguments)
    except GraftError as error:
        return str(error)
    return ""


def lose(processes: Processes) -> str:
    """The last of the processes is killed; the others say what they see of that."""
    processes.check_equal("This", "to begin together")
    if processes.rank == processes.count - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return refusal(processes.add, torch.ones(1))


def main(folder: Path, names: list[str]) -> None:
    settings = choose_settings("cpu", "fp32")
    apply_settings(settings, seed=0)
    processes = join("cpu")
    found: dict[str, Any] = {"settings": asdict(settings)}
    for name in [name for name in names if name in CASES]:
        case = CASES[name]
        Watched.seen.clear()
        outcomes = [carry_out(case, processes) for _ in range(case.times)]
        found[name] = {
            "hashes": [hash_tensors(outcome.kept.state) for outcome in outcomes],
            "losses": [epoch.train_loss for epoch in outcomes[0].epochs],
            "seen": list(Watched.seen),
        }
        if case.stops:
            found[name]["hashes"].append(go_on(case, processes, folder))
            found[name]["seen again"] = len(Watched.seen)
        if processes.is_first:
            save_file(dict(outcomes[0].kept.state), folder / f"{name}.safetensors")
    found["too few"] = refusal(shared_plan, PLAN, processes.count - 1, processes)
    module = nn.Linear(2, 2)
    nn.init.constant_(module.weight, float(processes.rank))
    nn.init.constant_(module.bias, 0.0)
    found["unlike"] = refusal(check_weights, module, processes)
    if "lost" in names:
        found["lost"] = lose(processes)
    (folder / f"rank-{processes.rank}.json").write_text(json.dumps(found))
    if "lost" in names:
        raise SystemExit(1)
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
