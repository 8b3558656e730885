"""Which preprocessor an input spec asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from serving.model.inputs.image import ImageInputSpec, ImagePreprocessor
from serving.model.inputs.item import Preprocessor
from serving.model.inputs.text import TextInputSpec, TextPreprocessor

InputSpec = Annotated[ImageInputSpec | TextInputSpec, Field(discriminator="modality")]


def open_preprocessor(spec: ImageInputSpec | TextInputSpec, folder: Path) -> Preprocessor:
    """The preprocessor of a bundle or a checkpoint.

    Args:
        spec: Its input spec.
        folder: Where the files that the spec names are.

    Raises:
        BundleError: One of them is missing or changed.
    """
    if isinstance(spec, TextInputSpec):
        return TextPreprocessor.open(spec, folder)
    return ImagePreprocessor(spec)
