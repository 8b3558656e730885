"""The side of a kind of input that trains, as the stages see it: the module ``training`` of its room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue

from pipeline.modalities.changes import Change
from serving.model.inputs.item import Preprocessor
from serving.model.inputs.kind import InputSpec

Batch = dict[str, torch.Tensor]
ParameterGroup = dict[str, Any]
"""A parameter group of an optimiser, in torch's own form."""
NetworkDescription = Mapping[str, JsonValue]
"""What a network is rebuilt from: a JSON object, whose form is each kind's own."""


class Readable(Protocol):
    """A sample: something with bytes."""

    def read(self) -> bytes:
        """Return the bytes of the sample."""
        ...


class Classifier(Protocol):
    """A backbone with a linear head: a torch module whose inputs are those of the served model."""

    half_precision_part: str
    """Name of the submodule that half precision computes in float16; what stays in float32 is outside it."""

    @property
    def embed(self) -> Callable[..., torch.Tensor]:
        """The function from the served model's inputs, by name, to the head's: float32 (batch, features)."""
        ...

    def __call__(self, **feeds: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch, float32 of shape (batch, classes).

        Args:
            feeds: The served model's inputs, by name.
        """
        ...

    def set_head(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Replace the head.

        Args:
            weight: The head's matrix, float32 of shape (classes, features).
            bias: The head's bias, float32 of shape (classes,).
        """
        ...

    def saved(self) -> torch.nn.Module:
        """Return the module whose state is the checkpoint."""
        ...

    def parameter_groups(
        self, learning_rate: float, layer_decay: float, weight_decay: float
    ) -> list[ParameterGroup]:
        """Return the groups of parameters of an optimiser: a rate for each layer, decay on matrices only.

        Args:
            learning_rate: Learning rate of the head, above 0.
            layer_decay: What the rate is multiplied by from each layer to the one before it, in (0, 1].
            weight_decay: Weight decay of the matrices, 0 or more.
        """
        ...

    def prepare(self) -> None:
        """Take the fastest form for training and evaluation here; the results stay the same."""
        ...


class Examples(Protocol):
    """Decoded samples of one split."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return the decoded array of one sample."""
        ...

    def lengths(self) -> NDArray[np.int64] | None:
        """Return the length of each array, int64 of shape (samples,); None where all are equally long."""
        ...

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        """Return the model's inputs for some samples.

        Args:
            indices: Indices of the samples, int64 of shape (batch,).
            device: torch's name of the device that the tensors go to.
            generator: Source of chance of the random changes; None, the default, for none of them.
        """
        ...


@dataclass(frozen=True)
class Pretrained:
    """A backbone as it was pretrained.

    Attributes:
        classifier: The network, with a head that is still to be set, in evaluation mode on the CPU.
        network: JSON that the network is rebuilt from.
        input: The spec of the network's input.
        files: Contents of the files that the input spec names, by file name.
        preprocessor: The preprocessor of the input spec.
        weights_sha256: SHA-256, in hex, of the pretrained tensors.
    """

    classifier: Classifier
    network: NetworkDescription
    input: InputSpec
    files: Mapping[str, bytes]
    preprocessor: Preprocessor
    weights_sha256: str


@dataclass(frozen=True)
class Shown:
    """A sample as the report shows it.

    Attributes:
        picture: The picture as a data URI; None where the sample is none.
        text: The text; None where the sample is none.
    """

    picture: str | None = None
    text: str | None = None


@runtime_checkable
class Previewable(Protocol):
    """Examples that can show what random changes make of a sample; not every kind's can."""

    def preview(
        self, index: int, variants: int, generator: torch.Generator
    ) -> tuple[Shown, Sequence[Shown]] | None:
        """Return a sample without changes, and variants of it; None where nothing changes by chance.

        Args:
            index: Index of the sample.
            variants: Number of variants.
            generator: The source of chance.
        """
        ...


View = Callable[[Batch], Batch]
"""A function from a batch of a model's inputs to the same samples, seen in another way."""


@dataclass(frozen=True)
class Views:
    """Several views of samples that have the same label, and whose answers may be averaged.

    Attributes:
        what: What is averaged over, for people, such as ``each picture and its mirror image``.
        takes: The views, the first of which is the sample as it is.
    """

    what: str
    takes: tuple[View, ...]


@dataclass(frozen=True)
class TrainingOptions:
    """The choices of a kind's own section of the recipe that a training heeds without knowing the kind.

    Attributes:
        learning_rate: Peak of the head's learning rate where the recipe names none; 0.0003 by default.
        by_length: Whether samples of similar length train together, so that little is padded; False by
            default.
        freeze_batch_norm: Whether the batch statistics stay as they were pretrained; None, the default, where
            steps and batch are to decide.
        augment: The kind's own section of random changes, for :meth:`Training.decode_examples`; None, the
            default, where it has none.
        mixing: Those of ``mixup`` and ``cutmix`` that batches of this kind can undergo: mixup where its
            inputs are numbers that may be averaged, CutMix where it has one input of the shape (batch,
            height, width, channels). Neither by default.
        changes: Random changes of which the labels and a trial say whether samples survive them; none by
            default.
        views: The views whose average answers are measured and taught after training; None, the default, for
            none.
    """

    learning_rate: float = 3e-4
    by_length: bool = False
    freeze_batch_norm: bool | None = None
    augment: Any = None
    mixing: tuple[Literal["mixup", "cutmix"], ...] = ()
    changes: tuple[Change, ...] = ()
    views: Views | None = None


class Training(Protocol):
    """The names of a kind's module ``training``, which the stages call.

    Attributes:
        UNIT: What the progress bar calls several samples, such as ``pictures``.
        DYNAMIC_AXES: For each of the model's inputs the names of its leading axes whose length varies; the
            first is ``batch``.
    """

    UNIT: str
    DYNAMIC_AXES: Mapping[str, Sequence[str]]

    def load_pretrained(self, recipe: Any) -> Pretrained:  # noqa: ANN401 - each modality's own recipe
        """Load the recipe's backbone with its pretrained weights.

        Raises:
            GraftError: The backbone cannot be had exactly as it was pretrained.
        """
        ...

    def build_classifier(self, network: NetworkDescription, classes: int) -> Classifier:
        """Build a network with random weights, to load a checkpoint into.

        Args:
            network: The JSON of :attr:`Pretrained.network`.
            classes: Number of outputs of the head.
        """
        ...

    def decode_examples(
        self,
        samples: Sequence[Readable],
        preprocessor: Preprocessor,
        scratch: Path,
        augment: Any = None,  # noqa: ANN401 - each modality's own section
    ) -> Examples:
        """Decode samples through the code that serves them.

        Args:
            samples: The samples to decode.
            preprocessor: The preprocessor of the network's input.
            scratch: Path at which a file may be made for arrays that would fill the memory.
            augment: The random changes that training batches get; None, the default, for none.
        """
        ...

    def fit_baseline(
        self, samples: Sequence[Readable], targets: NDArray[np.int64], seed: int
    ) -> Baseline | None:
        """Fit a simple classifier that a fine-tuned model has to beat; None where the kind has none.

        Args:
            samples: Samples of the training split.
            targets: Index of each sample's label, int64 of shape (samples,).
            seed: Seed of whatever is drawn by chance.
        """
        ...

    def show(self, data: bytes) -> Shown:
        """Return a sample's bytes in a form that people see in the report."""
        ...

    def training_options(self, finetune: Any) -> TrainingOptions:  # noqa: ANN401 - each kind's own section
        """Return what the kind's section ``finetune`` asks of the training."""
        ...

    def longest_axes(self, spec: Any) -> Mapping[str, int]:  # noqa: ANN401 - each kind's own input spec
        """Return the greatest length of each dynamic axis other than ``batch``, by its name."""
        ...


class Baseline(Protocol):
    """A simple classifier that a fine-tuned model has to beat."""

    @property
    def name(self) -> str:
        """The name that people read."""
        ...

    def probabilities(self, samples: Sequence[Readable]) -> NDArray[np.float64]:
        """Return the probabilities of samples that it was not fitted on, float64 (samples, classes)."""
        ...
