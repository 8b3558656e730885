"""The plan of a training: plain values, made from a recipe in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import GraftError
from pipeline.machine.settings import Settings
from pipeline.modalities.training import TrainingOptions
from pipeline.recipe.finetune import Finetune

# Measured on 21 small data sets (docs/adr/0019): about 8,000 samples are seen, each at most 40 times.
SAMPLES_SEEN = 8_000
MOST_EPOCHS = 40
# More samples are seen six times, as long as that is 40,000 in all: what they tell is not used up sooner.
USUAL_EPOCHS = 6
MOST_SEEN = 40_000
LARGE_BATCH, SMALL_BATCH = 32, 16
FEW_SAMPLES = 250
# Statistics of fewer samples than that, or that are updated fewer times, are further from those of the data
# than the pretrained ones: over 250 steps accuracy was 1.3 points lower with trained ones.
LEAST_BATCH_FOR_STATISTICS, LEAST_STEPS_FOR_STATISTICS = 16, 1000

# Adapters start from nothing and train at some times the rate of the weights themselves: on 320 tweets the
# calibrated loss was 0.817 at 3 times, 0.818 at 10 times and 0.819 at 30 times.
ADAPTER_FACTOR = 5.0


@dataclass(frozen=True)
class Objective:
    """What a training minimises, besides the task's own loss.

    Attributes:
        label_smoothing: Share of each target that is spread over all classes, in [0, 1).
        focal: Exponent of the focal loss, 0 or more; 0 for cross-entropy.
        mixup: Parameter of mixup's beta distribution, 0 or more; 0 for none.
        cutmix: Parameter of CutMix's beta distribution, 0 or more; 0 for none.
    """

    label_smoothing: float = 0.0
    focal: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True)
class Rates:
    """How large a step is, and how that changes.

    Attributes:
        learning_rate: The highest learning rate, of the topmost layer.
        layer_decay: Factor of the learning rate from each layer to the one below it, in (0, 1].
        weight_decay: AdamW's weight decay of matrices, 0 or more.
        schedule: Name of the schedule, as in the recipe.
        warmup: Share of all steps in which the learning rate rises, in [0, 1).
        clip_norm: Greatest norm of the gradients; None for no limit.
    """

    learning_rate: float
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup: float = 0.1
    clip_norm: float | None = None


@dataclass(frozen=True)
class Keeping:
    """What is kept of a training.

    Attributes:
        ema: Whether the weights' moving average is judged and kept instead of the weights.
        soup: Number of best epochs that may be averaged; 0 for none.
        patience: Number of epochs without an improvement after which training ends; None for never.
    """

    ema: bool = False
    soup: int = 0
    patience: int | None = None


@dataclass(frozen=True)
class Adapters:
    """The low-rank adapters of the strategy ``lora``.

    Attributes:
        rank: Rank of each; None for 8, or less where that would train over 2 % of the parameters.
        alpha: Their products are multiplied by ``alpha / rank``; None for twice the rank.
        dropout: Share of their inputs that are left out in training, in [0, 1).
        layers: Share of the layers, from the top, that get one, in (0, 1].
        targets: Last parts of the names of the layers that get one; None for all that can have one.
    """

    rank: int | None = None
    alpha: float | None = None
    dropout: float = 0.0
    layers: float = 0.5
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """The plain values that say how to train.

    Attributes:
        epochs: Number of passes over the training split.
        batch_size: Number of samples in a batch.
        rates: How large a step is.
        objective: What is minimised.
        keeping: What is kept.
        adapters: The adapters of the strategy ``lora``.
        balanced_sampling: Whether each class is drawn equally often.
        dropout: Share of the features before the head that are left out; None for the network's own.
        drop_path: Rate of stochastic depth; None for the network's own.
        freeze_batch_norm: Whether batch norms keep the pretrained statistics.
        batch_by_length: Whether samples of similar length train together, where lengths differ.
        device: torch's name of the device, such as ``cpu``.
        precision: ``fp32``, or ``bf16`` under autocast.
        seed: Seed of the samples' order and of augmentation.
    """

    epochs: int
    batch_size: int
    rates: Rates
    objective: Objective = Objective()
    keeping: Keeping = Keeping()
    adapters: Adapters = Adapters()
    balanced_sampling: bool = False
    dropout: float | None = None
    drop_path: float | None = None
    freeze_batch_norm: bool = False
    batch_by_length: bool = False
    device: str = "cpu"
    precision: str = "fp32"
    seed: int = 0

    def steps_an_epoch(self, samples: int) -> int:
        """Return the number of batches in which an epoch passes over so many training samples."""
        return batches_of(samples, self.batch_size)

    def steps(self, samples: int) -> int:
        """Return the number of steps of the whole training on so many samples."""
        return self.epochs * self.steps_an_epoch(samples)


def plan_of(section: Finetune, options: TrainingOptions, settings: Settings, seed: int, samples: int) -> Plan:
    """Make the plan of a recipe; what the recipe leaves open follows from the number of samples.

    Args:
        section: The recipe's section ``finetune``.
        options: What the kind of input asks of the training.
        settings: Device and precision of the training.
        seed: The recipe's seed.
        samples: Number of training samples.

    Raises:
        GraftError: The recipe asks for a technique that the kind of input does not have.
    """
    for name in ("mixup", "cutmix"):
        if getattr(section, name) > 0 and name not in options.mixing:
            raise GraftError(
                f"finetune.{name}: samples of this kind cannot be mixed. Leave it out, or set it to 0;"
                " finetune.label_smoothing keeps answers from being too sure, too."
            )
    batch_size = section.batch_size or default_batch_size(samples)
    epochs = section.epochs or default_epochs(samples)
    return Plan(
        epochs=epochs,
        batch_size=batch_size,
        rates=_rates_of(section, options),
        objective=Objective(section.label_smoothing, section.focal, section.mixup, section.cutmix),
        keeping=Keeping(section.ema, section.soup, section.patience),
        adapters=Adapters(**dict(section.lora)),
        balanced_sampling=section.sampling == "balanced",
        dropout=section.dropout,
        drop_path=section.drop_path,
        freeze_batch_norm=_freezes(section, options, samples, batch_size, epochs),
        batch_by_length=options.by_length,
        device=settings.device,
        precision=settings.precision,
        seed=seed,
    )


def _freezes(section: Finetune, options: TrainingOptions, samples: int, batch_size: int, epochs: int) -> bool:
    """Return whether batch norms keep the pretrained statistics.

    Raises:
        GraftError: The recipe asks for trained ones, and they cannot be.
    """
    frozen = options.freeze_batch_norm
    if frozen is None:
        return section.mode == "lora" or few_for_statistics(samples, batch_size, epochs)
    if frozen:
        return True
    if section.mode == "lora":
        raise GraftError(
            "finetune.batch_norm: train does not go with mode: lora, whose adapters stand beside weights"
            " that stay, and so do the statistics of these. Leave it out."
        )
    if samples // batches_of(samples, batch_size) == 1:
        raise GraftError(
            f"finetune.batch_norm: train, but a batch_size of {batch_size} makes a batch of one sample of"
            f" {samples}, which has no statistics. Raise finetune.batch_size, or set batch_norm: frozen."
        )
    return False


def _rates_of(section: Finetune, options: TrainingOptions) -> Rates:
    """Return the rates that a recipe names, or else those of its kind of input."""
    usual = options.learning_rate * (ADAPTER_FACTOR if section.mode == "lora" else 1)
    return Rates(
        learning_rate=section.learning_rate or usual,
        layer_decay=section.layer_decay,
        weight_decay=section.weight_decay,
        schedule=section.schedule,
        warmup=section.warmup,
        clip_norm=section.clip_norm,
    )


def batches_of(samples: int, batch_size: int) -> int:
    """Return the least number of batches that hold so many samples; their sizes differ by one at most."""
    return math.ceil(samples / batch_size)


def default_batch_size(samples: int) -> int:
    """Return 32, or 16 for fewer than 250 samples."""
    return LARGE_BATCH if samples >= FEW_SAMPLES else SMALL_BATCH


def default_epochs(samples: int) -> int:
    """Return the number of epochs: enough to see 8,000 samples, or all of them six times, 40,000 at most."""
    many = max(SAMPLES_SEEN, min(USUAL_EPOCHS * samples, MOST_SEEN))
    return max(1, min(MOST_EPOCHS, round(many / max(1, samples))))


def few_for_statistics(samples: int, batch_size: int, epochs: int) -> bool:
    """Say whether steps or batches are too few for batch norms to learn statistics of their own."""
    steps = epochs * batches_of(samples, batch_size)
    return min(batch_size, samples) < LEAST_BATCH_FOR_STATISTICS or steps < LEAST_STEPS_FOR_STATISTICS
