"""The values that the manifests are filled with, from the recipe's section ``deploy`` and the bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.bento.content import version_of
from pipeline.package.bento.describing import ACCELERATED, list_labels, list_resources
from pipeline.package.bento.flavours import choose_content
from pipeline.package.container.config import PORT
from pipeline.package.container.system import USER
from pipeline.package.container.writing import LAYOUT
from pipeline.recipe.deploy import Deploy
from serving.model.bundle import Bundle
from serving.model.manifest import Artifact

# Time that balancers need to learn that a pod goes. The service then answers what it has taken, for as long
# as serving.server.process.launch says, which a test compares.
PRE_STOP_S, DRAIN_S, RESERVE_S = 5, 25, 10
QUEUE_METRIC = "graft_queue_length"  # of serving.server.observing.metrics
MOST_CHARACTERS = 45  # with what KServe and the names of pods add, a name stays within 63


@dataclass(frozen=True)
class Values:
    """What the templates say.

    Attributes:
        model: Name of the model, as the recipe has it.
        name: The same as a DNS label, which names of Kubernetes are.
        version: Version of the bundle's content, which is the tag of the image.
        artifact_name: Name of the artifact that is served.
        artifact: The same where the service has to be told; None where it takes it by itself.
        schema_version: Version of the bundle's schema.
        labels: Labels that say what the model is.
        image: The image, with its tag and, where it is known, its digest.
        pushed: The image with its tag alone, as a registry is given it.
        cpu: CPUs of a copy.
        memory: Memory of a copy.
        gpu: Number of GPUs of a copy.
        deploy: The recipe's section.
    """

    model: str
    name: str
    version: str
    artifact_name: str
    artifact: str | None
    schema_version: int
    labels: Mapping[str, str]
    image: str
    pushed: str
    cpu: str
    memory: str
    gpu: int
    deploy: Deploy

    def for_templates(self, pods: str) -> dict[str, object]:
        """Return the values by the names that the templates use.

        Args:
            pods: Regular expression of the names of the pods whose queue is watched.
        """
        query = f'sum({QUEUE_METRIC}{{namespace="{self.deploy.namespace}",pod=~"{pods}"}})'
        own = {key: value for key, value in vars(self).items() if key != "deploy"}
        return own | {
            "drain_s": DRAIN_S,
            "gpu_text": f", nvidia.com/gpu: {self.gpu}" if self.gpu else "",
            "grace_s": PRE_STOP_S + DRAIN_S + RESERVE_S,
            "max_replicas": self.deploy.max_replicas,
            "namespace": self.deploy.namespace,
            "port": PORT,
            "pre_stop_s": PRE_STOP_S,
            "prometheus": self.deploy.prometheus,
            "query": query,
            "queue": self.deploy.queue,
            "replicas": self.deploy.replicas,
            "secret": f"{self.name}-api-keys",
            "storage": self.deploy.storage or f"oci+native://{self.image}",
            "user": USER,
        }


def read_values(deploy: Deploy, bundle: Bundle, run: RunFolder) -> Values:
    """Gather the values.

    Args:
        deploy: The recipe's section.
        bundle: The run's bundle.
        run: The run's folder, which may have an image.

    Raises:
        BundleError: ``deploy.artifact`` names an artifact that is not published.
        GraftError: The image that Graft writes cannot run the artifact, or is of another version.
    """
    manifest, artifact, version = bundle.manifest, choose_artifact(deploy, bundle), version_of(bundle)
    resources = list_resources(bundle, artifact)
    name = to_label(manifest.name)
    pushed = f"{deploy.image or name}:{version}"
    digest = find_digest(run, version)
    return Values(
        model=manifest.name,
        name=name,
        version=version,
        artifact_name=artifact.name,
        artifact=deploy.artifact,
        schema_version=manifest.schema_version,
        labels=list_labels(bundle, artifact),
        image=f"{pushed}@{digest}" if digest else pushed,
        pushed=pushed,
        cpu=deploy.cpu or str(resources["cpu"]),
        memory=deploy.memory or str(resources["memory"]),
        gpu=1 if "gpu" in resources else 0,
        deploy=deploy,
    )


def to_label(name: str) -> str:
    """Return a name as a DNS label that begins with a letter, as names of services must.

    Args:
        name: Name of a run, in lower-case letters, digits, ``.``, ``_`` and ``-``.
    """
    label = re.sub(r"[._]", "-", name)
    return (label if label[0].isalpha() else f"m-{label}")[:MOST_CHARACTERS].rstrip("-")


def choose_artifact(deploy: Deploy, bundle: Bundle) -> Artifact:
    """Return the artifact that a copy serves.

    That is the one that the recipe names, or the choice of the image, which is for machines without a GPU.

    Args:
        deploy: The recipe's section.
        bundle: The run's bundle.
    """
    if deploy.artifact is None:
        return choose_content(bundle, "cpu").served or bundle.artifact()
    artifact = bundle.artifact(deploy.artifact)
    if artifact.runtime in ACCELERATED and deploy.image is None:
        raise GraftError(
            f"{artifact.name} needs a GPU, and the image of `graft package --image` is for CPUs. Build one, "
            "such as from the Bento of `graft package --target cuda`, and name it under deploy.image."
        )
    return artifact


def find_digest(run: RunFolder, version: str) -> str | None:
    """Return the digest of the image that ``graft package --image`` left in a run, or None without one.

    Args:
        run: The run's folder.
        version: Version of the bundle's content, which the image must be of.

    Raises:
        GraftError: The image is of another version.
    """
    index = run.packaged("oci") / LAYOUT / "index.json"
    if not index.is_file():
        return None
    manifest = json.loads(index.read_bytes())["manifests"][0]
    tag = manifest["annotations"]["org.opencontainers.image.ref.name"]
    if tag != version:
        raise GraftError(
            f"{index.parent}: is an image of version {tag}, but the bundle is {version}. Write it anew: "
            f"graft package {run.root} --image"
        )
    return str(manifest["digest"])
