"""The values that the manifests are filled with, from the recipe's section ``deploy`` and the bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.layout import RunFolder
from pipeline.package.bento.content import version_of
from pipeline.package.bento.describing import list_labels, list_resources
from pipeline.recipe.deploy import Deploy
from serving.model.bundle import Bundle

USER = 65532  # that the image runs as
PORT = 3000
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
    """
    manifest, artifact = bundle.manifest, bundle.artifact(deploy.artifact)
    resources = list_resources(bundle, artifact)
    name = to_label(manifest.name)
    pushed = f"{deploy.image or name}:{version_of(bundle)}"
    digest = find_digest(run.packaged("oci"))
    return Values(
        model=manifest.name,
        name=name,
        version=version_of(bundle),
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


def find_digest(folder: Path) -> str | None:
    """Return the digest of the image that ``graft package --image`` left in a folder, or None without one.

    Args:
        folder: Folder that is an OCI layout, or holds one.
    """
    for layout in sorted(folder.glob("**/oci-layout")):
        index = json.loads((layout.parent / "index.json").read_bytes())
        return str(index["manifests"][0]["digest"])
    return None
