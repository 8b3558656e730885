"""The section ``finetune`` of every recipe: each technique of training is a line of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.recipe.data import Section

Fraction = Annotated[float, Field(ge=0, lt=1)]
Mode = Literal["auto", "features", "full", "lp-ft", "gradual", "lora"]


class Lora(Section):
    """Low-rank adapters (arXiv:2106.09685), which ``mode: lora`` trains and merges into the weights.

    Attributes:
        rank: Rank of each adapter's product; ``null`` for 8, or less where that would train over 2 % of the
            parameters.
        alpha: Scale of the adapters' contribution, which is ``alpha / rank``; ``null`` for twice the rank.
        dropout: Share of the adapters' inputs that are left out in training.
        layers: Share of the layers, from the top, that get adapters; what lies below costs no memory for
            gradients, and half the time.
        targets: Last parts of the names of the layers that get adapters, such as ``[qkv, proj]``; ``null``
            for all linear layers and 1 x 1 convolutions.
    """

    rank: int | None = Field(default=None, ge=1, le=1024)
    alpha: float | None = Field(default=None, gt=0)
    dropout: Fraction = 0.0
    layers: float = Field(default=0.5, gt=0, le=1)
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)


class Finetune(Section):
    """The training of the backbone.

    Attributes:
        mode: What trains, and when. ``features``: the best linear head on the frozen backbone. ``full``:
            everything at once, from a new head. ``lp-ft``: everything, from a head that was fitted first
            (arXiv:2202.10054). ``gradual``: from the head down, one group of layers after the other.
            ``lora``: low-rank adapters beside the frozen weights. ``auto`` is ``lp-ft``, once more at a lower
            rate where the first is not clearly better than the head. Whatever the mode, what is kept is never
            worse on validation than the best head, which is always fitted.
        epochs: Number of passes over the training split; ``null`` for as many as make enough steps.
        batch_size: Number of samples in a step; ``null`` for 32, or fewer where the samples are few.
        learning_rate: Peak of the head's learning rate; the optimiser is AdamW. ``null`` for the mode's own.
        layer_decay: Factor of the learning rate from each layer to the one below it (arXiv:1801.06146); 1 for
            one rate.
        weight_decay: AdamW's weight decay; biases and normalisation have none.
        schedule: How the learning rate falls after it has risen: ``cosine``, ``linear`` and ``one-cycle``
            down to 0; ``step`` to a tenth after half of the steps that are left, and again after three
            quarters; ``plateau`` to a third whenever validation has not improved for a tenth of the epochs;
            ``constant`` not at all. ``one-cycle`` (arXiv:1708.07120) also moves AdamW's momentum, from 0.95
            to 0.85 and back.
        warmup: Share of the steps in which the learning rate rises; with ``one-cycle`` 0.3 is usual.
        clip_norm: Greatest norm of the gradients, which are scaled down to it; ``null`` for no limit.
        label_smoothing: Share of the target that is spread over all classes.
        dropout: Share of the features before the head that are left out in training; ``null`` for the
            network's own.
        drop_path: Rate of stochastic depth, the greatest share of samples for which a block is left out;
            ``null`` for the network's own.
        mixup: Strength of mixup, the parameter of its beta distribution (arXiv:1710.09412); 0 for none.
        cutmix: The same of CutMix (arXiv:1905.04899), for pictures; 0 for none.
        ema: Whether the weights' moving average over the last tenth of the steps is what is judged and kept.
        soup: Number of the best epochs whose weights are averaged, one after the other, as long as
            validation improves (arXiv:2203.05482), and then with those of the best head on the frozen
            backbone (arXiv:2109.01903); 0 for none.
        patience: Number of epochs without an improvement on validation after which training ends; ``null``
            for never.
        class_weights: ``balanced`` weights each class inversely to its size. ``auto`` leaves training as it
            is, and from ten times as many samples of the largest class as of the smallest on takes half of
            the classes' shares out of the answers, as ``logit_adjustment: 0.5`` does; the log says so.
        sampling: ``balanced`` draws each class equally often, in epochs of as many samples; ``natural``
            passes over every sample once.
        focal: Exponent of the focal loss (arXiv:1708.02002); 0 for cross-entropy.
        logit_adjustment: Strength by which the classes' shares are taken out of the answers after training
            (arXiv:2007.07314); 0 for none.
        penalty: L2 penalty on the weights of the best head on frozen features, on features of unit variance;
            ``null`` for the one of the lowest loss, by cross-validation where validation has few samples.
        lora: The adapters of ``mode: lora``.
        checkpoint_minutes: Minutes between two checkpoints of an unfinished training, from which the same
            command goes on. One more is made after each epoch, but where that would take over 2 % of the
            time.
        device: The device that trains; ``auto`` is CUDA where torch finds it.
        precision: Number format of training; ``auto`` follows a fixed rule (docs/adr/0001).
    """

    mode: Mode = "auto"
    epochs: int | None = Field(default=None, ge=1, le=1000)
    batch_size: int | None = Field(default=None, ge=2, le=4096)
    learning_rate: float | None = Field(default=None, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["cosine", "linear", "one-cycle", "step", "plateau", "constant"] = "cosine"
    warmup: Fraction = 0.1
    clip_norm: float | None = Field(default=1.0, gt=0)
    label_smoothing: Fraction = 0.0
    dropout: Fraction | None = None
    drop_path: Fraction | None = None
    mixup: float = Field(default=0.0, ge=0)
    cutmix: float = Field(default=0.0, ge=0)
    ema: bool = True
    soup: int = Field(default=0, ge=0, le=20)
    patience: int | None = Field(default=None, ge=1)
    class_weights: Literal["auto", "balanced", "none"] = "auto"
    sampling: Literal["natural", "balanced"] = "natural"
    focal: float = Field(default=0.0, ge=0, le=10)
    logit_adjustment: float = Field(default=0.0, ge=0, le=4)
    penalty: float | None = Field(default=None, gt=0)
    lora: Lora = Lora()
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    @model_validator(mode="after")
    def _leave_epochs_to_fall_after(self) -> Finetune:
        """Refuse a schedule that goes by the epochs before, where there is but one."""
        if self.schedule == "plateau" and self.epochs == 1:
            raise ValueError(
                "schedule: plateau lowers the rate after an epoch that validation finds no better, and"
                " epochs: 1 leaves none after it; ask for more epochs, or for schedule: constant"
            )
        return self

    @model_validator(mode="after")
    def _have_adapters_to_choose(self) -> Finetune:
        """Refuse choices of adapters where none are trained."""
        if self.lora != Lora() and self.mode != "lora":
            raise ValueError(
                f"lora: chooses adapters, and mode: {self.mode} trains none. Set mode: lora, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _balance_once(self) -> Finetune:
        """Refuse several cures of one imbalance, which together turn it around."""
        asked = {
            "class_weights: balanced": self.class_weights == "balanced",
            "sampling: balanced": self.sampling == "balanced",
            "logit_adjustment": self.logit_adjustment > 0,
        }
        chosen = [name for name, wanted in asked.items() if wanted]
        if len(chosen) > 1:
            raise ValueError(
                f"{' and '.join(chosen)} would each make up for classes of unequal size, and together too "
                "much. Keep one of them"
            )
        return self

    def places(self) -> Mapping[str, str]:
        """Return the places of the files that the section names, by their keys; none in this class."""
        return {}

    def packages(self) -> tuple[str, ...]:
        """Return the distributions whose versions the result depends on, besides those of every training."""
        return ()

    def with_places(self, change: Callable[[str], str]) -> Self:  # noqa: ARG002
        """Return the section with the places of its files changed; as it is in this class.

        Args:
            change: From the place in the section to the one that takes its place.
        """
        return self
