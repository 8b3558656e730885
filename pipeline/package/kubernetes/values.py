"""The values that the manifests are filled with, from the recipe's section ``deploy`` and the bundle."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.files.layout import RunFolder
from pipeline.package.bento.content import version_of
from pipeline.package.bento.describing import list_labels, list_resources
from pipeline.package.container.config import PORT
from pipeline.package.container.system import USER
from pipeline.package.kubernetes.image import PodImage, choose_image
from pipeline.package.kubernetes.requirements import require_packages, require_signature
from pipeline.recipe.deploy import Deploy
from serving.model.bundle import Bundle

# Time that balancers need to learn that a pod goes. The service then answers what it has taken, for as long
# as serving.server.process.launch says, which a test compares.
PRE_STOP_S, DRAIN_S, RESERVE_S = 5, 25, 10
QUEUE_METRIC = "graft_queue_length"  # of serving.server.observing.metrics
MOST_CHARACTERS = 45  # with what KServe and the names of pods add, a name stays within 63
HASH_CHARACTERS = 6  # of a run's name, where the name of Kubernetes is not the same
# Kinds of storage that the cluster itself brings to a pod, which then calls nobody.
BROUGHT = ("oci+native://", "oci://", "pvc://")


@dataclass(frozen=True)
class Workload:
    """What a target says of its pods.

    Attributes:
        pods: What the names of its pods have after the model's, as a regular expression.
        label: The label whose value is the model's name, by which its pods are found.
        is_kserve: Whether it is KServe, which brings the bundle from ``deploy.storage``.
    """

    pods: str
    label: str
    is_kserve: bool


@dataclass(frozen=True)
class Values:
    """What the templates say.

    Attributes:
        model: Name of the model, as the recipe has it.
        name: The same as a DNS label, which names of Kubernetes are.
        version: Version of the bundle's content, which is the tag of the image.
        schema_version: Version of the bundle's schema.
        labels: Labels that say what the model is.
        image: The image, and the artifact that it serves.
        cpu: CPUs of a copy.
        memory: Memory of a copy.
        gpu: Number of GPUs of a copy.
        deploy: The recipe's section.
    """

    model: str
    name: str
    version: str
    schema_version: int
    labels: Mapping[str, str]
    image: PodImage
    cpu: str
    memory: str
    gpu: int
    deploy: Deploy

    def for_templates(self, target: Workload) -> dict[str, object]:
        """Return the values by the names that the templates use: the recipe's section, and these.

        Args:
            target: What they are written for.
        """
        pods = f"{self.name}-{target.pods}"
        query = f'sum({QUEUE_METRIC}{{namespace="{self.deploy.namespace}",pod=~"{pods}"}})'
        storage = self.deploy.storage or f"oci+native://{self.image.reference}"
        own = {key: value for key, value in vars(self).items() if key != "deploy"}
        return {
            **dict(self.deploy),
            **own,
            "artifact": self.image.artifact.name,
            "calls": target.is_kserve and not storage.startswith(BROUGHT),
            "drain_s": DRAIN_S,
            "grace_s": PRE_STOP_S + DRAIN_S + RESERVE_S,
            "image": self.image.reference,
            "is_custom": self.image.is_custom,
            "pod_label": target.label,
            "port": PORT,
            "pre_stop_s": PRE_STOP_S,
            "pull_policy": self.image.pull_policy,
            "pushed": self.image.pushed,
            "query": query,
            "secret": f"{self.name}-api-keys",
            "storage": storage,
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
        GraftError: No image is named, it cannot do what is asked for, or it is of another version.
    """
    image = choose_image(deploy, bundle, run)
    require_signature(deploy, bundle, image, run)
    require_packages(deploy, image, run)
    manifest, resources = bundle.manifest, list_resources(bundle, image.artifact)
    return Values(
        model=manifest.name,
        name=to_label(manifest.name),
        version=version_of(bundle),
        schema_version=manifest.schema_version,
        labels=list_labels(bundle, image.artifact),
        image=image,
        cpu=deploy.cpu or str(resources["cpu"]),
        memory=deploy.memory or str(resources["memory"]),
        gpu=1 if "gpu" in resources else 0,
        deploy=deploy,
    )


def to_label(name: str) -> str:
    """Return a name as a DNS label that begins with a letter, as names of services must.

    A name that is such a label stays. Another gets a part of its hash, so that no two runs become one.

    Args:
        name: Name of a run, in lower-case letters, digits, ``.``, ``_`` and ``-``.
    """
    label = re.sub(r"[._]", "-", name)
    label = label if label[0].isalpha() else f"m-{label}"
    if label == name and len(label) <= MOST_CHARACTERS:
        return label
    digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_CHARACTERS]
    return f"{label[: MOST_CHARACTERS - len(digest) - 1].rstrip('-')}-{digest}"
