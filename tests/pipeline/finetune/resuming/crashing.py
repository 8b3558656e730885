"""Trainings in processes of their own that end themselves with SIGKILL at a chosen point, and begin again.

As a script it imports everything once and forks a process for each attempt, which then costs no second:
``crashing.py FOLDER STRATEGY POINT...`` prints the hash of an uninterrupted training, and of one that was
killed at each of the points. A point is ``step``, ``validation``, ``write``, ``written`` or ``outcome``, with
a number ``:N`` for the N-th time that a process comes there.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.finetune.course import loop
from pipeline.finetune.plan import Keeping, Objective, Plan, Rates
from pipeline.finetune.resuming.file_keeper import FileKeeper
from pipeline.finetune.resuming.identity import machine
from pipeline.finetune.resuming.unfinished import Unfinished
from pipeline.finetune.start.heads import LinearHead
from pipeline.finetune.start.prepared import Prepared, Split, floor_of
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.network import ImageClassifier, Normalisation
from pipeline.modalities.image.recipe import ImageAugment
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.tensors import hash_tensors
from pipeline.tasks.classification import CLASSIFICATION

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PLAN = Plan(
    epochs=3,
    batch_size=8,
    rates=Rates(learning_rate=0.02, layer_decay=0.8, clip_norm=1.0),
    objective=Objective(label_smoothing=0.1),
    keeping=Keeping(ema=True),
)


class Small(nn.Module):
    """Tells bright pictures from dark ones, with batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.2))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
        self.head = nn.Linear(6, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.body(self.stem(batch))))

    def reset_classifier(self, classes: int) -> None:
        self.head = nn.Linear(6, classes)

    def get_classifier(self) -> nn.Linear:
        return self.head

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        return {"stem": r"^stem", "blocks": r"^body"}


def split(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    pixels = rng.normal(80 + 90 * targets[:, None, None, None], 60, (count, 8, 8, 3))
    choice = ImageAugment(horizontal_flip=True, crop_scale=(0.5, 1.0), rotation=20, erasing=0.3)
    return Split(ImageExamples(np.clip(pixels, 0, 255).astype(np.uint8), choice), targets)


def prepared() -> Prepared:
    torch.manual_seed(0)
    classifier, validation = ImageClassifier(Small(), HALF), split(32, 2)
    linear = classifier.network.get_classifier()
    head = LinearHead(linear.weight.detach().numpy(), linear.bias.detach().numpy(), penalty=0.4)
    logits = compute_logits(classifier, validation.examples, "cpu", "start", "pictures")
    return Prepared(
        classifier=classifier,
        train=split(50, 1),
        validation=validation,
        floor=floor_of(classifier, logits, validation.targets, CLASSIFICATION),
        best_head=head,
        gentle_head=head,
        class_weights=None,
        task=CLASSIFICATION,
        unit="pictures",
    )


def unfinished(folder: Path, minutes: float = 0.0, **changes: object) -> Unfinished:
    """A place where a checkpoint is made after every step and epoch."""
    identity = {"finetune": {"epochs": 3}, **machine(), **changes}
    return Unfinished(folder, identity, minutes=minutes, largest_share=math.inf)


def fit(
    folder: Path | None = None, mode: str = "lp-ft", plan: Plan = PLAN, minutes: float = 0.0
) -> loop.Outcome:
    place = None if folder is None else FileKeeper(unfinished(folder, minutes), mode)
    return loop.train(prepared(), plan, strategy_named(mode), place)


def hash_outcome(outcome: loop.Outcome) -> str:
    """A hash of the weights that are kept, of their answers, and of what is told of the epochs."""
    figures = [(e.epoch, e.train_loss, e.validation_loss, e.validation_accuracy) for e in outcome.epochs]
    numbers = torch.tensor([[float("nan" if v is None else v) for v in row] for row in figures])
    logits = torch.from_numpy(outcome.kept.logits)
    return hash_tensors({**outcome.kept.state, "/logits": logits, "/figures": numbers})


def die_at(point: str) -> None:
    """Patch this process so that SIGKILL ends it at the N-th time that it comes to a point."""
    what, _, number = point.partition(":")
    left = itertools.count(int(number) - 1, -1)

    def count() -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if what == "step":
        step = Training._step
        Training._step = lambda self, indices: (step(self, indices), count())[0]
    elif what == "validation":
        compute = Training.compute_validation_logits
        Training.compute_validation_logits = lambda self: (count(), compute(self))[1]
    elif what == "written":
        prune = FileKeeper._prune
        FileKeeper._prune = lambda self: (count(), prune(self))[1]
    else:
        die_in_write(count, "outcome" if what == "outcome" else "")


def die_in_write(count: Callable[[], None], name: str) -> None:
    """Count the writes of files with a name, each in the middle: what a crash leaves need not be whole."""
    fsync = os.fsync

    def fsync_half(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.suffix == ".partial" and name in path.name:
            whole = path.read_bytes()
            os.ftruncate(descriptor, len(whole) // 2)
            count()
            path.write_bytes(whole)
        fsync(descriptor)

    os.fsync = fsync_half


def attempt(folder: Path, mode: str, plan: Plan, point: str | None) -> str | None:
    """Carry out a training in a new process; None if it was killed."""
    answer = folder.parent / "hash.txt"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        try:
            if point is not None:
                die_at(point)
            random.seed(os.getpid())  # each process of a command has a chance of its own at first
            answer.write_text(hash_outcome(fit(folder, mode, plan)))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    return answer.read_text()


def main() -> None:
    """Print the hash of an uninterrupted training, of a killed one, and how many kills struck."""
    folder, mode, *points = sys.argv[1:]
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    place = Path(folder)
    whole = attempt(place / "whole" / "kept", mode, PLAN, None)
    killed = [attempt(place / "kept", mode, PLAN, point) for point in points]
    last = attempt(place / "kept", mode, PLAN, None)
    sys.stdout.write(json.dumps({"whole": whole, "last": last, "killed": killed.count(None)}))


if __name__ == "__main__":
    main()
