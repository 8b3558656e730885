"""The description of a Bento: its service's file, labels, resources and README, and its model's metadata."""

from __future__ import annotations

from importlib import resources
from pprint import pformat

from jinja2 import Environment, StrictUndefined

from serving.model.bundle import Bundle
from serving.model.inputs.kind import FileBody
from serving.model.inputs.registry import find_kind
from serving.model.manifest import Artifact

ACCELERATED = frozenset({"onnxruntime-cuda", "onnxruntime-tensorrt"})
SHORT_HASH = 12  # a whole one is longer than a label of Kubernetes may be
MOST_LABEL_CHARACTERS = 63
MIB = 1024 * 1024
BASE_MIB = 512  # the service itself, and the bodies of requests that it holds
MEMORY_STEP_MIB = 256
COPIES = (
    4  # in memory of a model's files: it is loaded, optimised and, for a moment, held beside its successor
)

SERVICE = '''"""The service of `{name}` as BentoML starts it. README.md says what to set."""

from serving.service import make_service

service = make_service(
    {modality!r},
    {name!r},
    labels={labels},
    resources={resources},
    envs={envs},
)
'''


def write_service(bundle: Bundle, artifact: Artifact) -> str:
    """Return the text of the Python file whose variable ``service`` is the service, named after the run.

    Args:
        bundle: The bundle that is served.
        artifact: The artifact that answers where the operator names none.
    """
    manifest = bundle.manifest
    is_own_choice = artifact == bundle.artifact()
    return SERVICE.format(
        name=manifest.name,
        modality=manifest.input.modality,
        labels=pformat(list_labels(bundle, artifact)),
        resources=pformat(list_resources(bundle, artifact)),
        # BentoML gives it to the workers where the environment of the service has no such variable.
        envs=[] if is_own_choice else [{"name": "GRAFT_ARTIFACT", "value": artifact.name}],
    )


def list_labels(bundle: Bundle, artifact: Artifact | None = None) -> dict[str, str]:
    """List the labels of the service, the Bento and the model, each a valid label of Kubernetes.

    Args:
        bundle: The bundle.
        artifact: The artifact that is served; by default the bundle's own choice.
    """
    manifest, lineage = bundle.manifest, bundle.manifest.lineage
    return {
        "made-by": "graft",
        "model": _shorten(manifest.name),
        "model-version": _shorten(manifest.version),
        "task": manifest.task,
        "input": manifest.input.modality,
        "artifact": _shorten((artifact or bundle.artifact()).name),
        "recipe": lineage.recipe_sha256[:SHORT_HASH],
        "data": lineage.data_sha256[:SHORT_HASH],
        "weights": lineage.weights_sha256[:SHORT_HASH],
        "checkpoint": lineage.checkpoint_sha256[:SHORT_HASH],
    }


def _shorten(text: str) -> str:
    """Cut a name to the length that a label of Kubernetes may have, and to end in a letter or a digit."""
    return text[:MOST_LABEL_CHARACTERS].rstrip("._-")


def list_metadata(bundle: Bundle) -> dict[str, object]:
    """List the metadata of the model in BentoML's store.

    They say what the model predicts, what it was made from, and what is proven of it.
    """
    manifest = bundle.manifest
    return {
        "labels": list(manifest.labels),
        "input": manifest.input.model_dump(mode="json", exclude_none=True),  # BentoML takes no null
        "artifacts": {artifact.name: artifact.sha256 for artifact in manifest.artifacts},
        "receipts": {
            artifact.name: artifact.receipt.sha256 for artifact in manifest.artifacts if artifact.receipt
        },
        "lineage": manifest.lineage.model_dump(mode="json"),
    }


def list_resources(bundle: Bundle, artifact: Artifact | None = None) -> dict[str, object]:
    """List the resources that one worker asks a scheduler for.

    These are one CPU, memory by the size of the largest artifact with all its files (the tensors and the plan
    of one may be files of their own), and a GPU if the artifact needs one.

    Args:
        bundle: The bundle.
        artifact: The artifact that is served; by default the bundle's own choice.
    """
    largest = max(
        sum(bundle.path_of(ref).stat().st_size for ref in each.files()) for each in bundle.manifest.artifacts
    )
    steps = -(-(BASE_MIB + COPIES * largest // MIB) // MEMORY_STEP_MIB)
    gpu = {"gpu": 1} if (artifact or bundle.artifact()).runtime in ACCELERATED else {}
    return {"cpu": "1", "memory": f"{steps * MEMORY_STEP_MIB}Mi", **gpu}


def write_readme(bundle: Bundle, artifact: Artifact, bento_tag: str, model_tag: str) -> str:
    """Return the text of the Bento's README, for those who operate it.

    Args:
        bundle: The bundle that is served.
        artifact: The artifact that answers where the operator names none.
        bento_tag: Tag of the Bento.
        model_tag: Tag of the model in BentoML's store.
    """
    manifest, kind = bundle.manifest, find_kind(bundle.manifest.input.modality)
    source = resources.files("pipeline.package.bento").joinpath("README.md.jinja").read_text("utf-8")
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the page is Markdown, not HTML
    )
    return environment.from_string(source).render(
        name=manifest.name,
        bento=bento_tag,
        model=model_tag,
        labels=manifest.labels,
        plural=kind.plural,
        field=kind.body.field,
        is_file=isinstance(kind.body, FileBody),
        artifacts=[each.name for each in manifest.artifacts],
        default=artifact.name,
        lineage=manifest.lineage,
    )
