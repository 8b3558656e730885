"""What a kind of input adds so that its backbones are tried on more than a blank sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray


@runtime_checkable
class Probing(Protocol):
    """What a kind's module ``training`` adds so that backbones are tried on more than a blank sample."""

    def probes(self, preprocessor: Any) -> Sequence[NDArray[Any]]:  # noqa: ANN401 - each kind's own
        """Return three decoded samples; where lengths vary, the longest that the recipe allows and two short.

        Args:
            preprocessor: The preprocessor of the network's input.
        """
        ...
