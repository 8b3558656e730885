"""Manifests for Kubernetes and KServe, from a run's proven bundle and the recipe's section ``deploy``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.package.kubernetes.values import Values, Workload, read_values
from pipeline.package.packaged import Packaged
from pipeline.recipe.sections import Recipe
from serving.model.bundle import open_bundle

KUBERNETES = {
    "README.md": "README.kubernetes.md",
    **{f"base/{name}.yaml": f"base/{name}.yaml"
       for name in ("deployment", "service", "poddisruptionbudget", "networkpolicy", "kustomization")},
    **{f"autoscaling/{name}.yaml": f"autoscaling/{name}.yaml"
       for name in ("scaledobject", "servicemonitor", "kustomization")},
}  # fmt: skip
KSERVE = {
    "README.md": "README.kserve.md",
    **{f"{name}.yaml": f"kserve/{name}.yaml"
       for name in ("servingruntime", "inferenceservice", "podmonitor", "kustomization")},
    **{f"{name}.yaml": f"base/{name}.yaml" for name in ("poddisruptionbudget", "networkpolicy")},
}  # fmt: skip
# The names of pods as a Deployment makes them; another model's name may begin with this one's.
AS_DEPLOYMENT = Workload("[a-z0-9]+-[a-z0-9]{5}", "app.kubernetes.io/name", is_kserve=False)
AS_KSERVE = Workload("predictor-.+", "serving.kserve.io/inferenceservice", is_kserve=True)


def write_kubernetes(recipe: Recipe, run: RunFolder, output: Path) -> Packaged:
    """Write a Deployment with all that belongs to it, and what scales it.

    Args:
        recipe: The recipe, whose section ``deploy`` has the values.
        run: The run's folder.
        output: The folder to write.

    Raises:
        BundleError: The bundle has changed, or does not publish the artifact.
        GraftError: The recipe names no image, or asks of one what it cannot do.
        OSError: The folder cannot be written.
    """
    values = read_values(recipe.deploy, open_bundle(run.bundle), run)
    _write(output, KUBERNETES, values.for_templates(AS_DEPLOYMENT))
    copies = f"deployment/{values.name} --replicas={recipe.deploy.replicas}"
    return Packaged(
        "kubernetes",
        str(output),
        (
            f"kubectl apply -k {output / 'base'}",
            f"kubectl --namespace {recipe.deploy.namespace} scale {copies}",
            f"Or, instead of both, with KEDA: kubectl apply -k {output / 'autoscaling'}",
            *_remarks(values),
        ),
    )


def write_kserve(recipe: Recipe, run: RunFolder, output: Path) -> Packaged:
    """Write an InferenceService of KServe and its runtime.

    Args:
        recipe: The recipe, whose section ``deploy`` has the values.
        run: The run's folder.
        output: The folder to write.

    Raises:
        BundleError: The bundle has changed, or does not publish the artifact.
        GraftError: The recipe names no image, or asks of one what it cannot do.
        OSError: The folder cannot be written.
    """
    values = read_values(recipe.deploy, open_bundle(run.bundle), run)
    _write(output, KSERVE, values.for_templates(AS_KSERVE))
    return Packaged("kserve", str(output), (f"kubectl apply -k {output}", *_remarks(values)))


def _remarks(values: Values) -> tuple[str, ...]:
    """Return what holds for both targets."""
    return (f"It starts {values.image.reference}, and needs a Secret of API keys: README.md there says how.",)


def _write(output: Path, files: Mapping[str, str], values: Mapping[str, object]) -> None:
    """Fill templates and write them, all in one step.

    Args:
        output: The folder to write.
        files: The template of each file, without its ending, by the file's place in the folder.
        values: What they are filled with.
    """
    environment = Environment(
        loader=PackageLoader("pipeline.package.kubernetes"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML and Markdown; strings of the recipe are quoted as JSON
    )
    with atomic.folder(output) as folder:
        for place, template in files.items():
            path = folder / place
            path.parent.mkdir(exist_ok=True)
            path.write_text(environment.get_template(f"{template}.jinja").render(values), encoding="utf-8")
