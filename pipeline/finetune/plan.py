"""The plan of a training: plain values, made from a recipe in one place."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.machine.settings import Settings
from pipeline.modalities.training import TrainingOptions
from pipeline.recipe.sections import Finetune


@dataclass(frozen=True)
class Plan:
    """The plain values that say how to train.

    Attributes:
        epochs: Number of passes over the training split.
        batch_size: Number of samples in a batch.
        learning_rate: The highest learning rate, of the topmost layer.
        layer_decay: Factor of the learning rate from each layer to the one below it, in (0, 1].
        weight_decay: AdamW's weight decay of matrices, 0 or more.
        warmup: Share of all steps in which the learning rate rises, in [0, 1).
        label_smoothing: Share of each target that is spread over all classes, in [0, 1).
        freeze_batch_norm: Whether batch norms keep the pretrained statistics.
        batch_by_length: Whether samples of similar length train together, where lengths differ.
        device: torch's name of the device, such as ``cpu``.
        precision: ``fp32``, or ``bf16`` under autocast.
        seed: Seed of the samples' order and of augmentation.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    layer_decay: float
    weight_decay: float
    warmup: float
    label_smoothing: float
    freeze_batch_norm: bool
    batch_by_length: bool
    device: str
    precision: str
    seed: int


def plan_of(section: Finetune, options: TrainingOptions, settings: Settings, seed: int) -> Plan:
    """Make the plan of a recipe.

    Args:
        section: The recipe's section ``finetune``.
        options: What the kind of input asks of the training.
        settings: Device and precision of the training.
        seed: The recipe's seed.
    """
    return Plan(
        epochs=section.epochs,
        batch_size=section.batch_size,
        learning_rate=section.learning_rate,
        layer_decay=section.layer_decay,
        weight_decay=section.weight_decay,
        warmup=section.warmup,
        label_smoothing=section.label_smoothing,
        freeze_batch_norm=options.freeze_batch_norm,
        batch_by_length=options.by_length,
        device=settings.device,
        precision=settings.precision,
        seed=seed,
    )
