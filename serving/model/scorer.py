"""An artifact that is loaded: inputs in, probabilities out. What they mean is the business of a predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import BundleError, ProviderError
from serving.model.inputs.item import Item, Preprocessor
from serving.model.manifest import Artifact
from serving.model.runtimes.opening import open_session
from serving.model.runtimes.plan import require_match
from serving.model.runtimes.session import Session


class Scorer:
    """A preprocessor, and a session on one artifact. It is thread-safe.

    Args:
        artifact: The artifact.
        preprocessor: The preprocessor of the model's input spec.
        session: A session on the artifact's file.
    """

    def __init__(self, artifact: Artifact, preprocessor: Preprocessor, session: Session) -> None:
        self.artifact = artifact
        self.preprocessor = preprocessor
        self.session = session

    def decode(self, data: bytes) -> Item:
        """Decode one input.

        Args:
            data: The bytes of the input.

        Raises:
            InputRefusedError: The bytes are not an acceptable input.
        """
        return self.preprocessor.decode(data)

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Run the model on decoded inputs, in as many runs as the artifact's ``max_batch_size`` requires.

        Args:
            arrays: The decoded inputs; at least one.

        Returns:
            Calibrated probabilities, float32 of shape (inputs, labels).
        """
        size = self.artifact.max_batch_size or len(arrays)
        batches = [arrays[start : start + size] for start in range(0, len(arrays), size)]
        rows = [self.session.run(self.preprocessor.collate(batch)) for batch in batches]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)


def load_scorer(
    folder: Path, artifact: Artifact, preprocessor: Preprocessor, *, threads: int = 1, callers: int = 1
) -> Scorer:
    """Load an artifact and warm it up.

    Args:
        folder: Folder that holds its files.
        artifact: The artifact.
        preprocessor: The preprocessor of the model's input spec.
        threads: Number of threads within one run. The default is 1.
        callers: Number of concurrent runs that the runtime prepares for. The default is 1.

    Raises:
        ProviderError: The artifact cannot run on this machine.
        BundleError: ``missing_file`` or ``hash_mismatch`` of its plan, or ``wrong_input`` if the model does
            not accept what the preprocessor makes.
    """
    if artifact.plan:
        require_match(folder, artifact.plan)
    session = open_session(
        folder / artifact.file, artifact.runtime, artifact.precision, threads=threads, callers=callers
    )
    return _warm(Scorer(artifact, preprocessor, session))


def _warm(scorer: Scorer) -> Scorer:
    """Run a blank input, so that one-time initialisation does not slow down the first request."""
    try:
        scorer.score([scorer.preprocessor.blank()])
    # onnxruntime raises one type of error for each of its status codes, without a common base class.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if scorer.artifact.runtime in {"onnxruntime-cuda", "onnxruntime-tensorrt"}:
            # The likely causes are the GPU's memory, its driver or a missing kernel, not the bundle.
            text = f"{scorer.artifact.name} loads, but its first run fails ({reason})."
            raise ProviderError("run_failed", text) from error
        text = f"The model does not run on the input that its manifest describes ({reason})."
        raise BundleError("wrong_input", text) from error
    return scorer
