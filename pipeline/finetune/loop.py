"""Full fine-tuning: AdamW, cosine with warm-up, the best epoch by validation loss."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from timm.optim import param_groups_weight_decay
from torch import nn

from pipeline.errors import GraftError
from pipeline.machine import Settings
from pipeline.modalities.image import Normalisation, augment, to_input
from pipeline.progress import track
from pipeline.recipe import Finetune

log = logging.getLogger("graft")
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Split:
    """Decoded samples: uint8 (samples, H, W, 3), and class indices (samples,)."""

    pixels: NDArray[np.uint8]
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
    pictures_per_s: float | None


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
    """Trains a network that already has its head.

    Args:
        model: The network; it is changed in place.
        normalisation: Of its pixels.
        finetune: The recipe's section.
        settings: Device, precision and memory format.
        seed: Of order and augmentation.
        class_weights: float32 of shape (classes,), or None.
    """

    def __init__(
        self,
        model: nn.Module,
        normalisation: Normalisation,
        finetune: Finetune,
        settings: Settings,
        seed: int,
        class_weights: torch.Tensor | None,
    ) -> None:
        self.settings = settings
        self.finetune = finetune
        self.normalisation = normalisation
        self.model = _without_clones(model.to(settings.device).to(memory_format=torch.channels_last))
        self.class_weights = None if class_weights is None else class_weights.to(settings.device)
        self.generator = torch.Generator().manual_seed(seed)

    def fit(self, train: Split, validation: Split, start_logits: NDArray[np.float32]) -> Outcome:
        """Train for the recipe's epochs and keep the best, the untouched start included.

        Args:
            train: What trains.
            validation: What selects.
            start_logits: The untouched network's logits on validation, float32 of shape (samples, classes).
        """
        optimizer = torch.optim.AdamW(param_groups_weight_decay(self.model, self.finetune.weight_decay), lr=self.finetune.learning_rate)
        steps_per_epoch = max(1, len(train) // self.finetune.batch_size)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, warmup_cosine(self.finetune.warmup, steps_per_epoch * self.finetune.epochs)
        )
        best = Outcome(self._state(), start_logits, 0, [_measure(start_logits, validation.targets, 0)])
        for number in range(1, self.finetune.epochs + 1):
            start = time.perf_counter()
            loss = self.train_epoch(train, optimizer, scheduler, f"epoch {number} of {self.finetune.epochs}")
            speed = steps_per_epoch * min(self.finetune.batch_size, len(train)) / (time.perf_counter() - start)
            logits = self.logits(validation.pixels)
            epoch = _measure(logits, validation.targets, number, loss, speed)
            better = epoch.validation_loss < best.epochs[best.best_epoch].validation_loss
            kept = Outcome(self._state(), logits, number, best.epochs) if better else best
            best = replace(kept, epochs=[*best.epochs, epoch])
        return best

    def train_epoch(self, train: Split, optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LambdaLR, what: str) -> float:
        """One pass over the training split; returns the mean loss. Raises GraftError when it is no longer a number."""
        self.model.train()
        if self.finetune.batch_norm == "frozen":
            _freeze_batch_norm(self.model)
        losses = []
        batches = list(self._batches(len(train)))
        for indices in track(
            batches, total=len(batches) * self.finetune.batch_size, what=what, unit="pictures", weight=self.finetune.batch_size
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

    def _batches(self, count: int) -> Iterator[NDArray[np.int64]]:
        """Shuffled batches; a last one that is not full is left to the next epoch's shuffle, unless it is all there is."""
        order = torch.randperm(count, generator=self.generator).numpy()
        size = min(self.finetune.batch_size, count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]

    def _loss(self, train: Split, indices: NDArray[np.int64]) -> torch.Tensor:
        pixels = torch.from_numpy(train.pixels[indices]).to(self.settings.device)
        batch = to_input(augment(pixels, self.finetune.augment, self.generator), self.normalisation)
        targets = torch.from_numpy(train.targets[indices]).to(self.settings.device)
        with torch.autocast(self.settings.device, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            logits = self.model(batch.contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits.float(), targets, weight=self.class_weights, label_smoothing=self.finetune.label_smoothing)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's logits, float32 of shape (samples, classes), in fp32 and evaluation mode."""
        return compute_logits(self.model, pixels, self.normalisation, self.settings.device)

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in self.model.state_dict().items()}


def _measure(
    logits: NDArray[np.float32], targets: NDArray[np.int64], number: int, loss: float | None = None, speed: float | None = None
) -> Epoch:
    scores, truth = torch.from_numpy(logits), torch.from_numpy(targets)
    epoch = Epoch(
        epoch=number,
        train_loss=loss,
        validation_loss=F.cross_entropy(scores, truth).item(),
        validation_accuracy=(scores.argmax(1) == truth).float().mean().item(),
        pictures_per_s=speed,
    )
    trained = "the head alone" if loss is None else f"training loss {loss:.3f}, {speed:.1f} pictures/s"
    log.info("epoch %d: %s; validation loss %.3f, accuracy %.3f", number, trained, epoch.validation_loss, epoch.validation_accuracy)
    return epoch


def compute_logits(
    model: nn.Module, pixels: NDArray[np.uint8], normalisation: Normalisation, device: str, what: str = "validation"
) -> NDArray[np.float32]:
    """A network's logits of decoded pictures, in fp32 and evaluation mode.

    Args:
        model: The network, on ``device``.
        pixels: uint8 of shape (pictures, H, W, 3).
        normalisation: Of its pixels.
        device: torch's name of the device.
        what: The work, for the progress.

    Returns:
        float32 of shape (pictures, classes).
    """
    model.eval()
    starts = range(0, len(pixels), EVALUATION_BATCH)
    rows = []
    with torch.inference_mode():
        for start in track(starts, total=len(pixels), what=what, unit="pictures", weight=EVALUATION_BATCH):
            batch = torch.from_numpy(pixels[start : start + EVALUATION_BATCH]).to(device)
            rows.append(model(to_input(batch, normalisation)).float().cpu().numpy())
    return np.concatenate(rows)


def warmup_cosine(warmup: float, steps: int) -> Callable[[int], float]:
    """The factor of the learning rate at each step: linear up over the first share, then a half cosine to 0 (arXiv:1608.03983)."""
    warm = int(warmup * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return factor


def _without_clones(model: nn.Module) -> nn.Module:
    """Let ReLU6 write its output beside its input: in place, autograd first clones the input. The bits are the same."""
    for module in model.modules():
        if isinstance(module, nn.Hardtanh):  # ReLU6 is one
            module.inplace = False
    return model


def _freeze_batch_norm(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)):
            module.eval()
