"""The code that a user writes around ONNX Runtime when there is only a model file.

Both peers share it, so that they differ in their server alone.

The session is the one of ONNX Runtime's documentation, with its default options:
https://onnxruntime.ai/docs/api/python/api_summary.html For the tuned variants the environment's THREADS sets
its threads, as https://onnxruntime.ai/docs/performance/tune-performance/threading.html says; without it they
are as many as cores.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps
from tokenizers import Tokenizer

ARTIFACT = "onnx-fp32"


def read_manifest(bundle: Path) -> dict[str, Any]:
    """Read the manifest of a bundle."""
    return json.loads((bundle / "manifest.json").read_bytes())


def _session_options() -> ort.SessionOptions | None:
    if "THREADS" not in os.environ:
        return None
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ["THREADS"])
    return options


class Model:
    """The fp32 model of a bundle, with the input and the labels of its manifest."""

    def __init__(self, bundle: Path) -> None:
        manifest = read_manifest(bundle)
        self.spec = manifest["input"]
        self.labels = manifest["labels"]
        file = next(artifact["file"] for artifact in manifest["artifacts"] if artifact["name"] == ARTIFACT)
        self.session = ort.InferenceSession(
            bundle / file, _session_options(), providers=["CPUExecutionProvider"]
        )
        if self.spec["modality"] == "text":
            self.tokenizer = Tokenizer.from_file(str(bundle / self.spec["tokenizer"]["file"]))
            self.tokenizer.enable_truncation(self.spec["max_tokens"])

    def read_picture(self, file: BinaryIO) -> dict[str, np.ndarray]:
        """Decode the file of a picture to the model's input."""
        height, width = self.spec["height"], self.spec["width"]
        image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        image = image.resize(self._resized(image), Image.Resampling[self.spec["interpolation"].upper()])
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        return {"image": np.asarray(image.crop((left, top, left + width, top + height)))[np.newaxis]}

    def _resized(self, image: Image.Image) -> tuple[int, int]:
        """Return the width and height to which a picture is resized before its centre is cropped."""
        height, width = (int(self.spec[side] / self.spec["crop_pct"]) for side in ("height", "width"))
        if self.spec["crop_mode"] == "squash":
            return width, height
        if image.height * width <= image.width * height:
            return max(int(height * image.width / image.height), width), height
        return width, max(int(width * image.height / image.width), height)

    def read_text(self, text: str) -> dict[str, np.ndarray]:
        """Turn a text into the model's input."""
        ids = np.array([self.tokenizer.encode(text).ids], np.int64)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    def predict(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """Return the probability of each label."""
        return self.session.run(None, feeds)[0][0]

    def describe(self, probabilities: np.ndarray) -> dict[str, Any]:
        """Return the answer to a client, as a JSON object."""
        best = int(probabilities.argmax())
        return {
            "label": self.labels[best],
            "probability": float(probabilities[best]),
            "probabilities": dict(zip(self.labels, probabilities.tolist(), strict=True)),
        }
