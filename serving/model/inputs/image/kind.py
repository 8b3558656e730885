"""Pictures, as one kind of input."""

from __future__ import annotations

import base64
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serving.model.errors import BundleError
from serving.model.inputs.image.spec import CYKOOZ, CYKOOZ_MISSING, ImageInputSpec
from serving.model.inputs.kind import ArrayTensor, BytesTensor, FileBody, FileControl, InputKind

if TYPE_CHECKING:
    from serving.model.inputs.item import Preprocessor

ONE_PIXEL_PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
CHANNELS: Final = 3


def _open(spec: ImageInputSpec, _: Path) -> Preprocessor:
    from serving.model.inputs.image.pixels import ImagePreprocessor

    return ImagePreprocessor(spec)


def _require_packages(spec: ImageInputSpec) -> None:
    if spec.resizer == "cykooz" and find_spec(CYKOOZ) is None:
        raise BundleError("missing_package", CYKOOZ_MISSING)


IMAGE: Final = InputKind(
    name="image",
    noun="picture",
    plural="pictures",
    invitation="Give it a picture, and it says what it sees.",
    max_body_bytes=64 * 1024 * 1024,
    body=FileBody("image", "images", "image/*", base64.b64decode(ONE_PIXEL_PNG)),
    tensors=(
        BytesTensor(is_text=False),
        ArrayTensor("UINT8", lambda spec: (spec.height, spec.width, CHANNELS), "RGB, of the model's size"),
    ),
    control=FileControl("image/*", has_camera=True),
    spec=ImageInputSpec,
    open_preprocessor=_open,
    bento_service="serving.service:GraftService",
    require_packages=_require_packages,
)
