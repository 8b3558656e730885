"""Full fine-tuning: AdamW, cosine with warm-up, the best epoch by validation loss."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.batches import bucketed, shuffled
from pipeline.machine.settings import Settings
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.training import Classifier, Examples, TrainingOptions
from pipeline.recipe.sections import Finetune
from pipeline.reporting.progress import track

log = logging.getLogger("graft")
# parameters: on 22 million a fused step takes 17 ms instead of 70 to 140, on 4 million it saves next to
# nothing
FUSED_FROM = 10_000_000


@dataclass(frozen=True)
class Split:
    """Decoded samples, and their class indices (samples,)."""

    examples: Examples
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        """How many samples."""
        return len(self.targets)


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures; epoch 0 is the linear head on the frozen backbone.

    Losses are in nats: the training loss with smoothing and class weights, the validation loss without.
    """

    epoch: int
    train_loss: float | None
    validation_loss: float
    validation_accuracy: float
    samples_per_s: float | None


@dataclass(frozen=True)
class Outcome:
    """The best epoch's weights, its logits on validation (samples, classes), and the record of all epochs."""

    state: dict[str, torch.Tensor]
    validation_logits: NDArray[np.float32]
    best_epoch: int
    epochs: list[Epoch]

    def records(self) -> list[dict[str, object]]:
        """The epochs as JSON."""
        return [asdict(epoch) for epoch in self.epochs]


class Trainer:
    """Trains a classifier that already has its head.

    Args:
        classifier: It is changed in place.
        finetune: The recipe's section.
        settings: Device and precision.
        seed: Of order and augmentation.
        class_weights: float32 of shape (classes,), or None.
        unit: One sample's plural, for the progress.
        options: What the kind of input asks of the training.  By default nothing.
    """

    def __init__(
        self,
        classifier: Classifier,
        finetune: Finetune,
        settings: Settings,
        seed: int,
        class_weights: torch.Tensor | None,
        unit: str,
        options: TrainingOptions | None = None,
    ) -> None:
        self.settings = settings
        self.finetune = finetune
        self.classifier = classifier
        self.model = classifier.saved().to(settings.device)
        classifier.prepare()
        self.class_weights = None if class_weights is None else class_weights.to(settings.device)
        self.generator = torch.Generator().manual_seed(seed)
        self.unit = unit
        self.options = options or TrainingOptions()

    def fit(self, train: Split, validation: Split, start_logits: NDArray[np.float32]) -> Outcome:
        """Train for the recipe's epochs and keep the best, the untouched start included.

        Args:
            train: What trains.
            validation: What selects.
            start_logits: The untouched network's logits on validation, float32 of shape (samples, classes).
        """
        section, optimizer = self.finetune, self.optimizer()
        steps_per_epoch = max(1, len(train) // section.batch_size)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, warmup_cosine(section.warmup, steps_per_epoch * section.epochs)
        )
        best = Outcome(
            self._state(), start_logits, 0, [_measure(start_logits, validation.targets, 0, self.unit)]
        )
        for number in range(1, section.epochs + 1):
            start = time.perf_counter()
            loss = self.train_epoch(train, optimizer, scheduler, f"epoch {number} of {section.epochs}")
            speed = steps_per_epoch * min(section.batch_size, len(train)) / (time.perf_counter() - start)
            logits = self.logits(validation.examples)
            epoch = _measure(logits, validation.targets, number, self.unit, loss, speed)
            better = epoch.validation_loss < best.epochs[best.best_epoch].validation_loss
            kept = Outcome(self._state(), logits, number, best.epochs) if better else best
            best = replace(kept, epochs=[*best.epochs, epoch])
        return best

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW with the recipe's rates and decay; fused where there are many parameters."""
        section = self.finetune
        groups = self.classifier.parameter_groups(
            section.learning_rate, section.layer_decay, section.weight_decay
        )
        many = sum(parameter.numel() for parameter in self.model.parameters()) >= FUSED_FROM
        return torch.optim.AdamW(groups, lr=section.learning_rate, fused=many)

    def train_epoch(
        self,
        train: Split,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LambdaLR,
        what: str,
    ) -> float:
        """One pass over the training split; returns the mean loss. Raises GraftError when it is no longer a number."""
        self.model.train()
        if self.options.freeze_batch_norm:
            _freeze_batch_norm(self.model)
        losses = []
        batches = self._batches(train.examples)
        for indices in track(
            batches,
            total=len(batches) * self.finetune.batch_size,
            what=what,
            unit=self.unit,
            weight=self.finetune.batch_size,
        ):
            optimizer.zero_grad()
            loss = self._loss(train, indices)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
            losses.append(loss.detach())
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise GraftError(
                f"{what}: the training loss is no longer a number. Lower finetune.learning_rate (now {self.finetune.learning_rate:g})."
            )
        return mean

    def _batches(self, examples: Examples) -> list[NDArray[np.int64]]:
        lengths = examples.lengths() if self.options.by_length else None
        if lengths is None:
            return shuffled(len(examples), self.finetune.batch_size, self.generator)
        return bucketed(lengths, self.finetune.batch_size, self.generator)

    def _loss(self, train: Split, indices: NDArray[np.int64]) -> torch.Tensor:
        batch = train.examples.batch(indices, self.settings.device, self.generator)
        targets = torch.from_numpy(train.targets[indices]).to(self.settings.device)
        with torch.autocast(self.settings.device, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            logits = self.classifier(**batch)
        return F.cross_entropy(
            logits.float(), targets, weight=self.class_weights, label_smoothing=self.finetune.label_smoothing
        )

    def logits(self, examples: Examples) -> NDArray[np.float32]:
        """The classifier's logits, float32 of shape (samples, classes), in fp32 and evaluation mode."""
        return compute_logits(self.classifier, examples, self.settings.device, "validation", self.unit)

    def _state(self) -> dict[str, torch.Tensor]:
        return {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in self.model.state_dict().items()
        }


def _measure(
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    number: int,
    unit: str,
    loss: float | None = None,
    speed: float | None = None,
) -> Epoch:
    scores, truth = torch.from_numpy(logits), torch.from_numpy(targets)
    epoch = Epoch(
        epoch=number,
        train_loss=loss,
        validation_loss=F.cross_entropy(scores, truth).item(),
        validation_accuracy=(scores.argmax(1) == truth).float().mean().item(),
        samples_per_s=speed,
    )
    trained = "the head alone" if loss is None else f"training loss {loss:.3f}, {speed:.1f} {unit}/s"
    log.info(
        "epoch %d: %s; validation loss %.3f, accuracy %.3f",
        number,
        trained,
        epoch.validation_loss,
        epoch.validation_accuracy,
    )
    return epoch


def warmup_cosine(warmup: float, steps: int) -> Callable[[int], float]:
    """The factor of the learning rate at each step: linear up over the first share, then a half cosine to 0 (arXiv:1608.03983)."""
    warm = int(warmup * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return factor


def _freeze_batch_norm(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)):
            module.eval()
