"""The model of Triton's Python backend that turns the bytes of inputs into what the network takes.

``graft package --target triton`` copies this file, as ``model.py``, beside ``input.json``, the input spec,
and ``code/``, which holds the files of ``serving`` that decode. An input therefore becomes exactly what it
becomes in the service. Nothing of Graft has to be installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

HERE = Path(__file__).parent


class TritonPythonModel:
    """The class that the backend looks for, by its name and its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the preprocessor.

        Args:
            args: What the backend says of the model; ``model_config`` is its ``config.pbtxt`` as JSON.
        """
        sys.path.insert(0, str(HERE / "code"))  # before an installed package of that name
        from serving.model.errors import InputRefusedError
        from serving.model.inputs.registry import find_kind

        config = json.loads(args["model_config"])
        self._input = config["input"][0]["name"]
        self._outputs = [output["name"] for output in config["output"]]
        self._refusal = InputRefusedError
        document = json.loads((HERE / "input.json").read_bytes())
        kind = find_kind(document["modality"])
        self._preprocessor = kind.open_preprocessor(kind.spec.model_validate(document), HERE)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer every request on its own, so that one bad input never fails the request of somebody else."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:  # noqa: ANN401 - Triton's own objects have no types
        items = triton.get_input_tensor_by_name(request, self._input).as_numpy()
        try:
            arrays = [self._preprocessor.decode(item).array for item in items.reshape(-1)]
        except self._refusal as refusal:
            text = f"{refusal.code}: {refusal.message}"
            error = triton.TritonError(text, triton.TritonError.INVALID_ARG)
            return triton.InferenceResponse(error=error)
        feeds = self._preprocessor.collate(arrays)
        return triton.InferenceResponse([
            triton.Tensor(name, np.ascontiguousarray(feeds[name])) for name in self._outputs
        ])  # fmt: skip
