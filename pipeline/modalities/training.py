"""The side of a kind of input that trains, as the stages see it: each room's module ``training`` is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from serving.model.inputs.item import Preprocessor
from serving.model.inputs.kind import InputSpec

Batch = dict[str, torch.Tensor]
ParameterGroup = dict[str, Any]


class Readable(Protocol):
    """A sample: something with bytes."""

    def read(self) -> bytes:
        """Its bytes."""
        ...


class Classifier(Protocol):
    """A backbone with a linear head: a torch module whose inputs are those of the served model."""

    half_precision_part: str
    """Name of the submodule that computes in float16 in half precision; what stays exact is outside it."""

    @property
    def embed(self) -> Callable[..., torch.Tensor]:
        """From the served model's inputs, by name, to what the head reads: float32 (batch, features)."""
        ...

    def __call__(self, **feeds: torch.Tensor) -> torch.Tensor:
        """Logits, float32 of shape (batch, classes)."""
        ...

    def set_head(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Replace the head: shapes (classes, features) and (classes,)."""
        ...

    def saved(self) -> torch.nn.Module:
        """The module whose state is the checkpoint."""
        ...

    def parameter_groups(
        self, learning_rate: float, layer_decay: float, weight_decay: float
    ) -> list[ParameterGroup]:
        """What the optimiser takes: decay on matrices only, and a rate for each layer."""
        ...

    def prepare(self) -> None:
        """Take the fastest form for training and evaluation here; the results stay the same."""
        ...


class Examples(Protocol):
    """Decoded samples of one split."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int) -> NDArray[Any]:
        """One decoded array."""
        ...

    def lengths(self) -> NDArray[np.int64] | None:
        """Each array's length, where they differ and short ones cost less."""
        ...

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        """The model's inputs for some samples, changed by chance where a generator is given."""
        ...


@dataclass(frozen=True)
class Pretrained:
    """A backbone as it was pretrained.

    Attributes:
        classifier: With a head that is still to be set, in evaluation mode on the CPU.
        network: What rebuilds it: JSON.
        input: The input spec.
        files: What the input spec names, by file name.
        preprocessor: Of the input spec.
        weights_sha256: Hash of the pretrained tensors.
    """

    classifier: Classifier
    network: dict[str, Any]
    input: InputSpec
    files: Mapping[str, bytes]
    preprocessor: Preprocessor
    weights_sha256: str


@dataclass(frozen=True)
class Shown:
    """A sample for the report: a picture as a data URI, or a text."""

    picture: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class TrainingOptions:
    """What a kind's own section of the recipe asks of a training that does not know the kind.

    Attributes:
        by_length: Whether samples of similar length train together, so that little is padded.
        freeze_batch_norm: Whether the batch statistics stay as they were pretrained.
        augment: The kind's own section of random changes, for :meth:`Training.decode_examples`; None where
            it has none.
    """

    by_length: bool = False
    freeze_batch_norm: bool = False
    augment: Any = None


class Training(Protocol):
    """What the stages ask of a kind of input.

    Attributes:
        UNIT: Plural of a sample, for the progress.
        DYNAMIC_AXES: For each of the model's inputs the names of its leading axes whose length varies; the
            first is ``batch``.
    """

    UNIT: str
    DYNAMIC_AXES: Mapping[str, Sequence[str]]

    def load_pretrained(self, recipe: Any) -> Pretrained:  # noqa: ANN401 - each modality's own recipe
        """The recipe's backbone; raises GraftError where it cannot be had exactly."""
        ...

    def build_classifier(self, network: dict[str, Any], classes: int) -> Classifier:
        """A network with random weights, to load a checkpoint into."""
        ...

    def decode_examples(
        self,
        samples: Sequence[Readable],
        preprocessor: Preprocessor,
        scratch: Path,
        augment: Any = None,  # noqa: ANN401 - each modality's own section
    ) -> Examples:
        """Decode samples through the code that serves them."""
        ...

    def fit_baseline(
        self, samples: Sequence[Readable], targets: NDArray[np.int64], seed: int
    ) -> Baseline | None:
        """A simple classifier that a fine-tuned model has to beat, where there is one."""
        ...

    def show(self, data: bytes) -> Shown:
        """A sample as people see it."""
        ...

    def training_options(self, finetune: Any) -> TrainingOptions:  # noqa: ANN401 - each kind's own section
        """What the kind's section ``finetune`` asks of the training."""
        ...

    def longest_axes(self, spec: Any) -> Mapping[str, int]:  # noqa: ANN401 - each kind's own input spec
        """The greatest length of each dynamic axis other than ``batch``, by its name."""
        ...


class Baseline(Protocol):
    """A simple classifier: its name, and its probabilities of samples, float64 (samples, classes)."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def probabilities(self, samples: Sequence[Readable]) -> NDArray[np.float64]:
        """Probabilities of samples that it was not fitted on."""
        ...
