"""What a classifier adds, where it can, so that its layers are trained in other ways than all alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable


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
