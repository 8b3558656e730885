"""Which image a cluster starts, and which artifact of the bundle it serves.

Graft's own image, that of ``graft package --image``, is for CPUs; every other one is the operator's. The
artifact is chosen here as the image would choose it, and the service is always told it, so that what a pod
requests and what it serves are the same.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.bento.content import version_of
from pipeline.package.bento.flavours import RUNTIMES, choose_content
from pipeline.package.container.layout import open_layout
from pipeline.recipe.deploy import Deploy
from serving.model.bundle import Bundle
from serving.model.manifest import Artifact


@dataclass(frozen=True)
class PodImage:
    """An image, and what it serves.

    Attributes:
        artifact: The artifact that a copy serves.
        pushed: The image with its tag alone, as a registry is given it.
        digest: Digest of the image; None where it is not known.
        is_custom: Whether it is the operator's, and not that of ``graft package --image``.
    """

    artifact: Artifact
    pushed: str
    digest: str | None
    is_custom: bool

    @property
    def reference(self) -> str:
        """The image, with its tag and, where it is known, its digest."""
        return f"{self.pushed}@{self.digest}" if self.digest else self.pushed

    @property
    def pull_policy(self) -> str:
        """When a machine asks the registry: always where a tag alone says what the image is."""
        return "IfNotPresent" if self.digest else "Always"


def choose_image(deploy: Deploy, bundle: Bundle, run: RunFolder) -> PodImage:
    """Choose the image and the artifact.

    Args:
        deploy: The recipe's section.
        bundle: The run's bundle.
        run: The run's folder, which may have an image.

    Raises:
        BundleError: ``deploy.artifact`` names an artifact that is not published.
        GraftError: No image is named, or the one that Graft wrote is of another version.
    """
    artifact, version = choose_artifact(deploy, bundle), version_of(bundle)
    needs_gpu = artifact.runtime not in RUNTIMES["cpu"]
    if deploy.image is None:
        _refuse_no_name(run, artifact, needs_gpu=needs_gpu)
    is_custom = deploy.custom_image or needs_gpu
    return PodImage(
        artifact=artifact,
        pushed=f"{deploy.image}:{version}",
        digest=None if is_custom else find_digest(run, version),
        is_custom=is_custom,
    )


def choose_artifact(deploy: Deploy, bundle: Bundle) -> Artifact:
    """Return the artifact that a copy serves.

    That is the one that the recipe names. Otherwise Graft's image serves its own choice among those for CPUs,
    and another image the bundle's.

    Args:
        deploy: The recipe's section.
        bundle: The run's bundle.

    Raises:
        BundleError: ``deploy.artifact`` names an artifact that is not published.
    """
    if deploy.artifact is not None:
        return bundle.artifact(deploy.artifact)
    for_cpus = any(each.runtime in RUNTIMES["oci"] for each in bundle.manifest.artifacts)
    if deploy.custom_image or not for_cpus:
        return bundle.artifact()
    return choose_content(bundle, "oci").served or bundle.artifact()


def _refuse_no_name(run: RunFolder, artifact: Artifact, *, needs_gpu: bool) -> None:
    """Raise the error of a recipe without an image; without a registry a cluster would ask Docker Hub."""
    if needs_gpu:
        raise GraftError(
            f"{artifact.name} needs a GPU, and the image of `graft package --image` is for CPUs. Build one, "
            "such as from the Bento of `graft package --target cuda`, and name it under deploy.image."
        )
    raise GraftError(
        f"{run.recipe}: names no image for the cluster. Name the one that you push, with its registry: "
        f"`deploy: {{image: registry.example.org/team/{run.root.resolve().name}}}`. "
        f"graft package {shlex.quote(str(run.root))} --image writes it."
    )


def find_digest(run: RunFolder, version: str) -> str | None:
    """Return the digest of the image that ``graft package --image`` left in a run, or None without one.

    Args:
        run: The run's folder.
        version: Version of the bundle's content, which the image must be of.

    Raises:
        GraftError: The image is of another version.
    """
    if not run.image.exists():
        return None
    image = open_layout(run.image)
    if image.tag != version:
        raise GraftError(
            f"{run.image}: is an image of version {image.tag}, but the bundle is {version}. Write it anew: "
            f"graft package {shlex.quote(str(run.root))} --image. Or remove {run.packaged('oci')}: the "
            "image is then named by its tag alone."
        )
    return image.digest
