"""What is refused before a cluster finds it out: pods that would not start, or would never be ready."""

from __future__ import annotations

import shlex
import tarfile
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.container.layout import open_layout
from pipeline.package.container.writing import MODELS
from pipeline.package.kubernetes.image import PodImage
from pipeline.recipe.deploy import Deploy
from serving.model.bundle import Bundle
from serving.model.envelope import SIGNATURE_FILE


def require_packages(deploy: Deploy, image: PodImage, run: RunFolder) -> None:
    """Raise where the image of ``graft package --image`` has no packages for what it would have to do.

    Args:
        deploy: The recipe's section.
        image: The image, and what it serves.
        run: The run's folder, which may have the image.

    Raises:
        GraftError: The packages of the artifact's runtime, or those of gRPC where it has a port, are not
            among those of the image.
    """
    if image.is_custom:
        return
    if image.artifact.runtime == "openvino-cpu":
        raise GraftError(
            f"{image.artifact.name}: the image of `graft package --image` has no OpenVINO. Name another one "
            "under deploy.artifact, such as onnx-fp32, or an image of yours under deploy.image with "
            "deploy.custom_image."
        )
    if deploy.grpc_port is not None and image.digest and not _holds_grpc(run.image):
        raise GraftError(
            f"{run.image}: this image was written before deploy.grpc_port was set, has no packages of gRPC, "
            "and no copy of it would start. Write it anew: "
            f"graft package {shlex.quote(str(run.root))} --image"
        )


def require_signature(deploy: Deploy, bundle: Bundle, image: PodImage, run: RunFolder) -> None:
    """Raise where every copy would refuse the bundle, since nobody signed it.

    Args:
        deploy: The recipe's section.
        bundle: The run's bundle.
        image: The image, and what it serves.
        run: The run's folder, which may have the image.

    Raises:
        GraftError: The bundle is not signed, or was signed after the image was written.
    """
    if deploy.trusted_keys is None:
        return
    if not (bundle.folder / SIGNATURE_FILE).is_file():
        raise GraftError(
            f"{bundle.folder}: is not signed, so that a service with the keys of deploy.trusted_keys would "
            "refuse it. Sign it by `graft sign`, then write the image and the manifests."
        )
    layout = run.image
    if image.digest and not _holds_signature(layout):
        raise GraftError(
            f"{layout}: the bundle in this image is not signed, so that a service with the keys of "
            "deploy.trusted_keys would refuse it. Write the image anew: "
            f"graft package {shlex.quote(str(run.root))} --image"
        )


def _holds_signature(layout: Path) -> bool:
    """Return whether the last layer of an image that Graft wrote, which is the bundle, has a signature."""
    return f"{MODELS}/{SIGNATURE_FILE}" in _names(open_layout(layout).layers[-1])


def _holds_grpc(layout: Path) -> bool:
    """Return whether the layer below it, which is the packages of Python, has those of gRPC."""
    return any(
        name.endswith("/dist-packages/grpc/__init__.py") for name in _names(open_layout(layout).layers[-2])
    )


def _names(layer: Path) -> list[str]:
    with tarfile.open(layer) as archive:
        return archive.getnames()
