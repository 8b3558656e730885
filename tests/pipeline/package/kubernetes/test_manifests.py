"""The manifests: strictly valid for every recipe that validates, and true of the service."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.files.layout import RunFolder
from pipeline.package.kubernetes import manifests
from pipeline.package.kubernetes.manifests import write_kserve, write_kubernetes
from pipeline.package.kubernetes.values import DRAIN_S, PRE_STOP_S, to_label
from pipeline.recipe import deploy as fields
from pipeline.recipe.deploy import Deploy
from pipeline.recipe.reading import load_recipe
from pipeline.recipe.sections import Recipe
from serving.model.envelope import SIGNATURE_FILE
from tests.conftest import run_graft
from tests.pipeline.package.kubernetes.validating import RELEASES, read_manifests, validate

pytestmark = pytest.mark.slow
DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
KINDS = {
    "kubernetes": {
        "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ScaledObject", "ServiceMonitor",
    },
    "kserve": {
        "ServingRuntime", "InferenceService", "PodMonitor", "PodDisruptionBudget", "NetworkPolicy",
    },
}  # fmt: skip
WRITERS = {"kubernetes": write_kubernetes, "kserve": write_kserve}
IMAGE = "registry.example.org/team/cells"
# What YAML takes for something else than a text where it is not quoted.
NO_TEXTS = (
    "true", "on", "n", "y", "null", "123", "007", "0b1", "0x1f", "1e3", "1e-3", "12e03", "2026-01-01", "1-1",
)  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tiny_run: Path) -> Recipe:
    return load_recipe(tiny_run / "recipe.yaml")


def write(target: str, recipe: Recipe, run: Path, output: Path, deploy: Deploy | None = None) -> Path:
    changed = recipe.model_copy(update={"deploy": deploy or Deploy(image=IMAGE)})
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


def read_kustomizations(folder: Path) -> dict[Path, dict[str, Any]]:
    return {path: yaml.safe_load(path.read_text()) for path in folder.rglob("kustomization.yaml")}


@pytest.mark.parametrize("target", WRITERS)
def test_kustomizations_bring_every_file_once(target: str, written: dict[str, Path]) -> None:
    found = read_kustomizations(written[target])
    resources = [path.parent / resource for path, each in found.items() for resource in each["resources"]]
    files = {path for path in written[target].rglob("*.yaml") if path not in found}
    assert sorted(place.resolve() for place in resources if place.is_file()) == sorted(files)
    assert all(place.exists() for place in resources)


def test_neither_way_of_starting_takes_the_copies_of_the_other(written: dict[str, Path]) -> None:
    """`kubectl apply` sets to 1 what an earlier manifest had and a later one has not."""
    assert "replicas" not in read_manifests(written["kubernetes"])["Deployment"]["spec"]
    for kustomization in read_kustomizations(written["kubernetes"]).values():
        assert kustomization.keys() == {"apiVersion", "kind", "namespace", "resources"}, "nothing is changed"
    text = (written["kubernetes"] / "README.md").read_text()
    assert "scale deployment/tiny --replicas=2" in text
    assert read_manifests(written["kubernetes"])["ScaledObject"]["spec"]["minReplicaCount"] == 2


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


def names(pattern: re.Pattern[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(NO_TEXTS).filter(pattern.fullmatch) | st.from_regex(pattern, fullmatch=True)


IMAGES = st.from_regex(fields._IMAGE, fullmatch=True).filter(lambda name: "/" in name and len(name) < 256)
LABELS = st.dictionaries(names(fields._LABEL_KEY), names(fields._LABEL_VALUE), max_size=2)


@st.composite
def deploys(draw: st.DrawFn) -> Deploy:
    replicas = draw(st.integers(1, 1000))
    return Deploy(
        image=draw(IMAGES),
        custom_image=True,  # which may answer gRPC
        image_pull_secret=draw(st.none() | names(fields._SUBDOMAIN)),
        trusted_keys=draw(st.none() | names(fields._SUBDOMAIN)),
        namespace=draw(names(fields._LABEL)),
        grpc_port=draw(st.none() | st.integers(3001, 65535)),
        monitor_labels=draw(LABELS),
        replicas=replicas,
        max_replicas=draw(st.integers(replicas, 1000)),
        queue=draw(st.integers(1, 10_000)),
        cpu=draw(quantities(fields._CPU)),
        memory=draw(quantities(fields._MEMORY)),
        prometheus=draw(st.from_regex(fields._PROMETHEUS, fullmatch=True)),
        storage=draw(quantities(fields._STORAGE)),
    )


def copy_run(run: Path, folder: Path, name: str = "tiny") -> Path:
    """A run of that name with the same bundle, which looks signed."""
    shutil.copytree(run / "bundle", folder / "bundle", copy_function=os.link)
    manifest = folder / "bundle" / "manifest.json"
    document = json.loads(manifest.read_text()) | {"name": name}
    manifest.unlink()
    manifest.write_text(json.dumps(document))
    (folder / "bundle" / SIGNATURE_FILE).touch()
    return folder


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deploy=deploys(), name=names(re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,58}[a-z0-9])?")))
@example(deploy=Deploy(image=IMAGE, namespace="0x1f"), name="true")
@example(deploy=Deploy(image=IMAGE, namespace="2026-01-01"), name="null")
def test_manifests_of_every_recipe_are_valid(
    deploy: Deploy, name: str, recipe: Recipe, tiny_run: Path
) -> None:
    for target in WRITERS:
        with tempfile.TemporaryDirectory(dir=tiny_run.parent) as place:
            run = copy_run(tiny_run, Path(place) / "run", name)
            output = write(target, recipe, run, Path(place) / "out", deploy)
            found, kustomizations = read_manifests(output), read_kustomizations(output)
        for manifest in found.values():
            validate(manifest, RELEASES[-1:])
            assert manifest["metadata"]["name"] == to_label(name)
        for kustomization in kustomizations.values():
            assert kustomization["namespace"] == deploy.namespace
            assert all(isinstance(resource, str) for resource in kustomization["resources"])
        if target == "kubernetes":
            spec = found["Deployment"]["spec"]
            (container,) = spec["template"]["spec"]["containers"]
            assert container["image"].startswith(f"{deploy.image}:")
            assert container["resources"]["limits"]["cpu"] == (deploy.cpu or "1")
            metadata = found["ScaledObject"]["spec"]["triggers"][0]["metadata"]
            assert metadata["serverAddress"] == deploy.prometheus
            assert found["ServiceMonitor"]["metadata"].get("labels", {}) == deploy.monitor_labels


@given(name=st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,58}[a-z0-9])?", fullmatch=True))
def test_names_of_runs_become_dns_labels(name: str) -> None:
    label = to_label(name)
    assert DNS_LABEL.fullmatch(label)
    assert len(f"{label}-predictor") <= 58, "a pod's name is cut there"


@pytest.mark.parametrize(
    ("name", "label"),
    [("cells", "cells"), ("solar.cells_2", "solar-cells-2-[0-9a-f]{6}"), ("9lives", "m-9lives-[0-9a-f]{6}")],
)
def test_dots_and_underscores_become_dashes(name: str, label: str) -> None:
    assert re.fullmatch(label, to_label(name))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("solar.cells", "solar_cells"),
        ("solar.cells", "solar-cells"),
        ("1a", "m-1a"),
        ("cells-at-64-pixels-by-the-network-of-the-name-resnet18",
         "cells-at-64-pixels-by-the-network-of-the-name-resnet50"),
    ],
)  # fmt: skip
def test_no_two_runs_have_one_name(one: str, other: str) -> None:
    assert to_label(one) != to_label(other)


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
def test_command_writes_into_the_run(target: str, tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "tiny")
    tiny_run = tmp_path / "tiny"
    document = yaml.safe_load((tiny_run / "recipe.yaml").read_text())
    (tiny_run / "recipe.yaml").write_text(yaml.safe_dump(document | {"deploy": {"image": IMAGE}}))
    done = run_graft("package", tiny_run, "--target", target, "--json")
    output = Path(json.loads(done.stdout)["place"])
    assert output == tiny_run / "package" / target
    assert read_manifests(output).keys() == KINDS[target]
