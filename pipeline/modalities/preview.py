"""Examples that show what random changes make of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from pipeline.modalities.training import Shown


@runtime_checkable
class Layered(Protocol):
    """What a classifier adds so that its layers can be trained in their turn, or through adapters.

    A kind of input may do without it; then the strategies that need it are refused.
    """

    def head_name(self) -> str:
        """Return the name of the head's module within :meth:`Classifier.saved`."""
        ...

    def depths(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return how far each parameter is from the input: 0 at the bottom, the greatest with the head.

        Args:
            names: Names of parameters as :meth:`Classifier.saved` has them before any change.
        """
        ...

    def undecayed(self) -> Collection[str]:
        """Return the names of the parameters that get no weight decay though they are matrices."""
        ...


@runtime_checkable
class Omitting(Protocol):
    """What a classifier adds if its training can leave out features and blocks by chance."""

    def set_dropout(self, share: float) -> None:
        """Set the share of the features before the head that training leaves out.

        Args:
            share: The share, in [0, 1).

        Raises:
            GraftError: The network has no dropout there.
        """
        ...

    def set_drop_path(self, rate: float) -> None:
        """Set the rate of stochastic depth: the greatest share of samples for which a block is left out.

        Args:
            rate: The rate, in [0, 1).

        Raises:
            GraftError: The network has no stochastic depth.
        """
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
