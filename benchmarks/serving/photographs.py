"""Photographs of any size to ask with, and a predictor that decodes them as people do by hand."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from serving.model.inputs.image.pixels import ImagePreprocessor
from serving.model.inputs.image.spec import ImageInputSpec
from serving.model.predictor import Predictor
from serving.model.scorer import Scorer

QUALITY = 85
NOISE_LEVELS = 6


def enlarge(picture: bytes, size: str) -> bytes:
    """Return a picture as a JPEG of another size, with the noise of a sensor, so that it weighs as much.

    Args:
        picture: Bytes of a picture file.
        size: Its size, such as ``640x480``.
    """
    width, height = (int(side) for side in size.split("x"))
    large = Image.open(io.BytesIO(picture)).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(-NOISE_LEVELS, NOISE_LEVELS + 1, (height, width, 3), np.int16)
    pixels = np.clip(np.asarray(large, np.int16) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def by_pillow(predictor: Predictor) -> Predictor:
    """Return a predictor with the same session that decodes every pixel and resizes by Pillow."""
    spec = predictor.manifest.input
    if not isinstance(spec, ImageInputSpec):
        return predictor
    preprocessor = ImagePreprocessor(spec.model_copy(update={"resizer": "pillow", "reducing_gap": None}))
    scorer = Scorer(predictor.scorer.artifact, preprocessor, predictor.scorer.session)
    return Predictor(predictor.manifest, scorer)
