"""The sections of every recipe: frozen, unknown keys refused, each with its defaults.

What a kind of input has beside or instead of them stands in a room of its own, such as
``pipeline/modalities/image``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from pipeline.recipe.budget import Budget
from pipeline.recipe.data import Data
from pipeline.recipe.data import Section as Section  # noqa: PLC0414 - kinds of input build on it
from pipeline.recipe.deploy import Deploy
from pipeline.recipe.finetune import Finetune as Finetune  # noqa: PLC0414 - kinds of input build on it
from pipeline.recipe.finetune import Fraction as Fraction  # noqa: PLC0414
from pipeline.recipe.search import Search
from pipeline.recipe.tracking import Tracking
from pipeline.recipe.transfer import Transfer

Format = Literal[
    "onnx-fp32",
    "onnx-fp16",
    "onnx-int8",
    "openvino-fp32",
    "openvino-bf16",
    "cuda-fp32",
    "cuda-fp16",
    "tensorrt-fp32",
    "tensorrt-fp16",
]
Metric = Literal["accuracy", "macro_f1", "macro_precision", "macro_recall", "auroc"]


class Backbone(Section):
    """The pretrained network.

    Attributes:
        name: Name of the architecture, as the kind's own library has it.
        weights: ``hub`` for what is pretrained under that name, a path, or ``package:NAME/PATH``.
    """

    name: str
    weights: str = "hub"

    def code(self) -> str | None:
        """Return the folder whose code makes the network; None, as in this class, for installed packages."""
        return None

    def packages(self) -> tuple[str, ...]:
        """Return the distributions that make the network, besides those of every sample of the kind."""
        return ()

    def with_places(self, change: Callable[[str], str]) -> Self:
        """Return the section with the places of its files changed.

        Args:
            change: From the place in the section to the one that takes its place.
        """
        return self.model_copy(update={"weights": change(self.weights)})


class Evaluate(Section):
    """The evaluation on the test split.

    Attributes:
        bootstrap: Number of draws behind the 95 % interval of the calibration error. The other intervals need
            no draws.
        require: The least value of each metric; a run below one of them ends with exit code 3.
        ship_guessing: Whether a run goes on even where its model is not better than guessing on the test
            split.
        ship_negative_transfer: Whether a run goes on even where transfer hurts: where a classic model, the
            head on the frozen backbone or the same network from random weights is clearly better.
    """

    former_keys: ClassVar[Mapping[str, str]] = {"ship_below_baseline": "ship_negative_transfer"}

    bootstrap: int = Field(default=1000, ge=100, le=100_000)
    require: dict[Metric, float] = Field(default={})
    ship_guessing: bool = False
    ship_negative_transfer: bool = False


class LimitChanges(Section):
    """The limits of one format that differ from its precision's; its receipt says that the recipe set them.

    Attributes:
        min_agreement: Least share of answers that are the checkpoint's.
        min_cosine: Least cosine of any sample's two probability vectors.
        max_mean_kl: Largest mean Kullback-Leibler divergence, in nats.
        max_metric_drop: Largest loss of accuracy or macro F1.
        min_speedup: Least speed, in times that of ``onnx-fp32`` on one thread; 0 publishes a format that is
            not faster.
    """

    min_agreement: float | None = Field(default=None, ge=0, le=1)
    min_cosine: float | None = Field(default=None, ge=0, le=1)
    max_mean_kl: float | None = Field(default=None, ge=0)
    max_metric_drop: float | None = Field(default=None, ge=0, le=1)
    min_speedup: float | None = Field(default=None, ge=0)


class Export(Section):
    """The formats to serve, each published only with a passed receipt, and only when it is faster.

    Attributes:
        formats: Names of the formats to make beside ``onnx-fp32``, which is always made: half precision
            (``onnx-fp16``), 8 bits (``onnx-int8``: static for convolutional networks, dynamic for others),
            the same file by OpenVINO (``openvino-fp32``, ``openvino-bf16``), and on NVIDIA GPUs by CUDA or
            TensorRT.
        limits: The limits that a format is published under instead of those of its precision, by its name.
        int8_distillation_steps: Number of steps, on 16 training samples each, in which ``onnx-int8`` of a
            convolutional network is trained towards the checkpoint's own answers where rounding alone changes
            them too much; 0 for never.
    """

    formats: tuple[Format, ...] = ("onnx-fp32",)
    limits: dict[Format, LimitChanges] = Field(default={})
    int8_distillation_steps: int = Field(default=200, ge=0, le=10_000)

    @property
    def further(self) -> tuple[Format, ...]:
        """The formats that are made beside ``onnx-fp32``, which every run has."""
        return tuple(name for name in dict.fromkeys(self.formats) if name != "onnx-fp32")

    @model_validator(mode="after")
    def _source_is_exact(self) -> Export:
        if "onnx-fp32" in self.limits:
            raise ValueError(
                "limits: onnx-fp32 is what everything else is made from, and keeps its own limits"
            )
        return self


class Recipe(Section):
    """Every choice of a run. A kind of input narrows the types of some fields, and adds sections of its own.

    Attributes:
        name: Name of the run's folder, the bundle and the Bento, in lower-case letters, digits, ``.``, ``_``
            and ``-``.
        seed: Seed of the splits, the order of the samples, augmentation and the bootstrap.
        modality: Name of the kind of input.
        data: The labelled samples.
        backbone: The pretrained network.
        finetune: The training of the backbone.
        transfer: The opponents that say whether transfer helps.
        evaluate: The evaluation on the test split.
        export: The formats to serve.
        search: The search for values of the recipe by ``graft search``.
        tracking: Where the figures of the run are sent beside its own folder.
        deploy: How the service runs in a cluster.
        budget: The limits that the service's container is measured against.
    """

    name: str = Field(pattern="^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", max_length=60)
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: Data
    modality: str
    backbone: Backbone
    finetune: Finetune = Finetune()
    transfer: Transfer = Transfer()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    search: Search = Search()
    tracking: Tracking = Tracking()
    deploy: Deploy = Deploy()
    budget: Budget = Budget()

    @classmethod
    def own_keys(cls) -> list[str]:
        """Return the names of the sections that this kind alone has, such as ``text``."""
        return [name for name in cls.model_fields if name not in Recipe.model_fields]

    @classmethod
    def keys(cls) -> list[str]:
        """Return all keys as people read them: a kind's own sections come after the backbone."""
        common = list(Recipe.model_fields)
        place = common.index("backbone") + 1
        return [*common[:place], *cls.own_keys(), *common[place:]]

    def own_sections(self) -> list[BaseModel]:
        """Return the sections that this kind alone has: what a sample becomes as input depends on them."""
        return [getattr(self, name) for name in self.own_keys()]
