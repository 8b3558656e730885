"""The manifests: strictly valid for every recipe that validates, and true of the service."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.bento.content import version_of
from pipeline.package.kubernetes import manifests
from pipeline.package.kubernetes.manifests import write_kserve, write_kubernetes
from pipeline.package.kubernetes.values import DRAIN_S, PRE_STOP_S, find_digest, read_values, to_label
from pipeline.recipe import deploy as fields
from pipeline.recipe.deploy import Deploy
from pipeline.recipe.reading import load_recipe
from pipeline.recipe.sections import Recipe
from serving.model.bundle import open_bundle
from serving.model.errors import BundleError
from tests.conftest import run_graft
from tests.pipeline.package.kubernetes.validating import RELEASES, read_manifests, validate

pytestmark = pytest.mark.slow
DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
KINDS = {
    "kubernetes": {
        "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ScaledObject", "ServiceMonitor",
    },
    "kserve": {"ServingRuntime", "InferenceService", "PodMonitor"},
}  # fmt: skip
WRITERS = {"kubernetes": write_kubernetes, "kserve": write_kserve}


@pytest.fixture(scope="module")
def recipe(tiny_run: Path) -> Recipe:
    return load_recipe(tiny_run / "recipe.yaml")


def write(target: str, recipe: Recipe, run: Path, output: Path, deploy: Deploy | None = None) -> Path:
    changed = recipe.model_copy(update={"deploy": deploy or Deploy()})
    WRITERS[target](changed, RunFolder(run), output)
    return output


@pytest.fixture(scope="module")
def written(tiny_run: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("manifests")
    return {target: write(target, recipe, tiny_run, folder / target) for target in WRITERS}


@pytest.mark.parametrize("target", WRITERS)
def test_every_manifest_is_strictly_valid(target: str, written: dict[str, Path]) -> None:
    found = read_manifests(written[target])
    assert found.keys() == KINDS[target]
    for manifest in found.values():
        validate(manifest)


@pytest.mark.parametrize(
    ("target", "kind", "path"),
    [
        ("kubernetes", "Deployment", "spec.template.spec.containers.0.livenessprobe"),
        ("kubernetes", "Service", "spec.ports.0.targetport"),
        ("kubernetes", "PodDisruptionBudget", "spec.maxUnavailables"),
        ("kubernetes", "NetworkPolicy", "spec.ingres"),
        ("kubernetes", "ScaledObject", "spec.triggers.0.metadata.treshold"),
        ("kubernetes", "ScaledObject", "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaledown"),
        ("kubernetes", "ServiceMonitor", "spec.endpoint"),
        ("kserve", "ServingRuntime", "spec.protocolVersion"),
        ("kserve", "ServingRuntime", "spec.containers.0.startupprobe"),
        ("kserve", "InferenceService", "spec.predictor.model.storageURI"),
        ("kserve", "InferenceService", "spec.predictor.autoScaling.metrics.0.external.metric.server"),
        ("kserve", "InferenceService", "spec.predictor.securityContext.runAsNonroot"),
        ("kserve", "PodMonitor", "spec.podMetricsEndpoints.0.ports"),
    ],
)
def test_wrong_field_is_refused(target: str, kind: str, path: str, written: dict[str, Path]) -> None:
    manifest = copy.deepcopy(read_manifests(written[target])[kind])
    *parents, name = path.split(".")
    place: Any = manifest
    for parent in parents:
        place = place[int(parent)] if parent.isdecimal() else place[parent]
    place[name] = "anything"
    with pytest.raises(Exception, match=re.escape(name)):
        validate(manifest)


def test_sleep_before_the_stop_is_what_needs_kubernetes_1_30(written: dict[str, Path]) -> None:
    deployment = read_manifests(written["kubernetes"])["Deployment"]
    with pytest.raises(kubernetes_validate.ValidationError, match="sleep"):
        validate(deployment, ("1.28",))


@pytest.mark.parametrize("target", WRITERS)
def test_container_has_no_rights(target: str, written: dict[str, Path]) -> None:
    found = read_manifests(written[target])
    if target == "kubernetes":
        pod = found["Deployment"]["spec"]["template"]["spec"]
        containers = pod["containers"]
    else:
        pod = found["InferenceService"]["spec"]["predictor"]
        containers = found["ServingRuntime"]["spec"]["containers"]
    (container,) = containers
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert pod["terminationGracePeriodSeconds"] > PRE_STOP_S + DRAIN_S


@pytest.mark.parametrize("target", WRITERS)
def test_no_manifest_holds_a_key(target: str, written: dict[str, Path]) -> None:
    found = read_manifests(written[target])
    assert "Secret" not in found
    text = (written[target] / "README.md").read_text()
    (name,) = re.findall(r"create secret generic (\S+)", text)
    spec = (
        found["Deployment"]["spec"]["template"]["spec"]
        if "Deployment" in found
        else found["ServingRuntime"]["spec"]
    )
    (secret,) = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
    assert secret["secretName"] == name
    (container,) = spec["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "api-keys"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["GRAFT_API_KEYS_FILE"] == f"{mount['mountPath']}/api-keys"


@pytest.mark.parametrize("target", WRITERS)
def test_kustomizations_name_files_that_are_there(target: str, written: dict[str, Path]) -> None:
    for path in written[target].rglob("kustomization.yaml"):
        document = yaml.safe_load(path.read_text())
        assert all((path.parent / resource).exists() for resource in document["resources"])
        for patch in document.get("patches", []):
            (change,) = yaml.safe_load(patch["patch"])
            deployment = read_manifests(written[target])[patch["target"]["kind"]]
            assert deployment["metadata"]["name"] == patch["target"]["name"]
            assert change == {"op": "remove", "path": "/spec/replicas"}
            assert "replicas" in deployment["spec"], "what is removed must be there"


def test_selectors_find_the_pods_and_survive_a_new_version(written: dict[str, Path]) -> None:
    found = read_manifests(written["kubernetes"])
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels
        assert "version" not in " ".join(selector)
    assert found["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= (
        found["Service"]["metadata"]["labels"].items()
    )


def test_queue_is_that_of_these_pods_alone(written: dict[str, Path]) -> None:
    query = read_manifests(written["kubernetes"])["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"]
    (pattern,) = re.findall(r'pod=~"([^"]+)"', query)  # which Prometheus anchors at both ends
    assert re.fullmatch(pattern, "tiny-7d9c5b8f6-x2x4z")
    assert not re.fullmatch(pattern, "tiny-text-7d9c5b8f6-x2x4z")


def quantities(pattern: re.Pattern[str]) -> st.SearchStrategy[str | None]:
    return st.none() | st.from_regex(pattern, fullmatch=True)


@st.composite
def deploys(draw: st.DrawFn) -> Deploy:
    replicas = draw(st.integers(1, 1000))
    image = st.from_regex(fields._IMAGE, fullmatch=True).filter(lambda name: len(name) < 256)
    return Deploy(
        image=draw(st.none() | image),
        namespace=draw(st.from_regex(fields._LABEL, fullmatch=True)),
        replicas=replicas,
        max_replicas=draw(st.integers(replicas, 1000)),
        queue=draw(st.integers(1, 10_000)),
        cpu=draw(quantities(fields._CPU)),
        memory=draw(quantities(fields._MEMORY)),
        prometheus=draw(st.from_regex(fields._PROMETHEUS, fullmatch=True)),
        storage=draw(quantities(fields._STORAGE)),
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deploy=deploys())
def test_manifests_of_every_recipe_are_valid(deploy: Deploy, recipe: Recipe, tiny_run: Path) -> None:
    for target in WRITERS:
        with tempfile.TemporaryDirectory() as folder:
            found = read_manifests(write(target, recipe, tiny_run, Path(folder) / "out", deploy))
        for manifest in found.values():
            validate(manifest, RELEASES[-1:])
        if target == "kubernetes":
            spec = found["Deployment"]["spec"]
            (container,) = spec["template"]["spec"]["containers"]
            assert container["image"].startswith(f"{deploy.image or 'tiny'}:")
            assert container["resources"]["limits"]["cpu"] == (deploy.cpu or "1")
            metadata = found["ScaledObject"]["spec"]["triggers"][0]["metadata"]
            assert metadata["serverAddress"] == deploy.prometheus


@given(name=st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,58}[a-z0-9])?", fullmatch=True))
def test_names_of_runs_become_dns_labels(name: str) -> None:
    label = to_label(name)
    assert DNS_LABEL.fullmatch(label)
    assert len(f"{label}-predictor") <= 58, "a pod's name is cut there"


@pytest.mark.parametrize(
    ("name", "label"), [("cells", "cells"), ("solar.cells_2", "solar-cells-2"), ("9lives", "m-9lives")]
)
def test_dots_and_underscores_become_dashes(name: str, label: str) -> None:
    assert to_label(name) == label


def test_image_is_named_by_its_digest_where_there_is_one(
    tiny_run: Path, recipe: Recipe, tmp_path: Path
) -> None:
    version = version_of(open_bundle(tiny_run / "bundle"))
    assert find_digest(RunFolder(tmp_path / "run"), version) is None
    layout = tmp_path / "run" / "package" / "oci" / "layout"
    layout.mkdir(parents=True)
    (tmp_path / "run" / "bundle").symlink_to(tiny_run / "bundle")
    digest = f"sha256:{'ab' * 32}"
    image = {"digest": digest, "annotations": {"org.opencontainers.image.ref.name": version}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))
    deploy = Deploy(image="registry:5000/a/cells")
    output = write("kubernetes", recipe, tmp_path / "run", tmp_path / "out", deploy)
    (container,) = read_manifests(output)["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry:5000/a/cells:{version}@{digest}"
    image["annotations"] = {"org.opencontainers.image.ref.name": "another"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))
    with pytest.raises(GraftError, match=r"image of version another.*graft package .* --image"):
        write("kubernetes", recipe, tmp_path / "run", tmp_path / "out", deploy)


def test_artifact_for_a_gpu_needs_an_image_of_its_own(tiny_run: Path) -> None:
    bundle = open_bundle(tiny_run / "bundle")
    cpu = bundle.manifest.artifacts[0]
    gpu = cpu.model_copy(update={"name": "cuda-fp16", "runtime": "onnxruntime-cuda"})
    both = replace(bundle, manifest=bundle.manifest.model_copy(update={"artifacts": (gpu, cpu)}))
    run = RunFolder(tiny_run)
    assert read_values(Deploy(), both, run).artifact_name == "onnx-fp32", "which the image serves"
    with pytest.raises(GraftError, match=r"cuda-fp16 needs a GPU.*deploy\.image"):
        read_values(Deploy(artifact="cuda-fp16"), both, run)
    values = read_values(Deploy(artifact="cuda-fp16", image="registry/cells-cuda"), both, run)
    assert values.gpu == 1
    assert "nvidia.com/gpu: 1" in str(values.for_templates("any")["gpu_text"])


def test_artifact_that_is_not_published_is_refused(tiny_run: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="publishes no `onnx-int8`"):
        write("kubernetes", recipe, tiny_run, tmp_path / "out", Deploy(artifact="onnx-int8"))
    assert not (tmp_path / "out").exists()


def test_chosen_artifact_is_told_to_the_service(tiny_run: Path, recipe: Recipe, tmp_path: Path) -> None:
    output = write("kubernetes", recipe, tiny_run, tmp_path / "out", Deploy(artifact="onnx-fp32"))
    (container,) = read_manifests(output)["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "GRAFT_ARTIFACT", "value": "onnx-fp32"} in container["env"]


def test_what_fails_half_way_leaves_what_was_there(
    tiny_run: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(manifests.KUBERNETES, "zz.yaml", "no-such-template")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "before").write_text("kept")
    with pytest.raises(Exception, match="no-such-template"):
        write("kubernetes", recipe, tiny_run, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["before"]


@pytest.mark.parametrize("target", WRITERS)
def test_command_writes_into_the_run(target: str, tiny_run: Path) -> None:
    done = run_graft("package", tiny_run, "--target", target, "--json")
    output = Path(json.loads(done.stdout)["place"])
    assert output == tiny_run / "package" / target
    assert read_manifests(output).keys() == KINDS[target]
