"""What the fields of the section `deploy` add to the manifests of both targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe.deploy import Deploy
from pipeline.recipe.reading import load_recipe
from pipeline.recipe.sections import Recipe
from tests.pipeline.package.kubernetes.test_manifests import IMAGE, WRITERS, copy_run, write
from tests.pipeline.package.kubernetes.validating import read_manifests, validate

pytestmark = pytest.mark.slow
EVERYTHING = Deploy(
    image=IMAGE,
    custom_image=True,
    image_pull_secret="registry",
    trusted_keys="signers",
    grpc_port=9000,
    monitor_labels={"release": "prometheus"},
    replicas=1,
)


@pytest.fixture(scope="module")
def recipe(tiny_run: Path) -> Recipe:
    return load_recipe(tiny_run / "recipe.yaml")


@pytest.fixture(scope="module")
def signed_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_run(tiny_run, tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module", params=WRITERS)
def full(
    request: pytest.FixtureRequest, recipe: Recipe, signed_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("full") / "out"
    return write(request.param, recipe, signed_run, output, EVERYTHING)


def read_pod(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The specification of a pod, which KServe puts together from two manifests."""
    if "Deployment" in found:
        return dict(found["Deployment"]["spec"]["template"]["spec"])
    predictor = found["InferenceService"]["spec"]["predictor"]
    return predictor | {name: found["ServingRuntime"]["spec"][name] for name in ("containers", "volumes")}


def test_every_field_is_valid_in_every_release(full: Path) -> None:
    for manifest in read_manifests(full).values():
        validate(manifest)


def test_service_is_told_its_artifact_without_being_asked(full: Path) -> None:
    (container,) = read_pod(read_manifests(full))["containers"]
    assert {"name": "GRAFT_ARTIFACT", "value": "onnx-fp32"} in container["env"]


def test_trusted_keys_are_mounted_and_told_to_the_service(full: Path) -> None:
    pod = read_pod(read_manifests(full))
    (container,) = pod["containers"]
    (volume,) = [each for each in pod["volumes"] if "configMap" in each]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == volume["name"]]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert volume["configMap"]["name"] == "signers"
    assert mount["readOnly"]
    assert variables["GRAFT_TRUSTED_KEYS"] == f"{mount['mountPath']}/trusted-keys.pem"
    assert "create configmap signers --from-file=trusted-keys.pem" in (full / "README.md").read_text()


def test_image_is_taken_with_its_secret_and_the_pod_gets_no_addresses(full: Path) -> None:
    pod = read_pod(read_manifests(full))
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["enableServiceLinks"] is False
    assert pod["containers"][0]["imagePullPolicy"] == "Always", "a tag alone may be another image later"


def test_grpc_has_its_port_wherever_a_port_is_named(full: Path) -> None:
    found = read_manifests(full)
    (container,) = read_pod(found)["containers"]
    assert {"name": "GRAFT_GRPC_PORT", "value": "9000"} in container["env"]
    assert {"name": "grpc", "containerPort": 9000, "protocol": "TCP"} in container["ports"]
    (rule,) = found["NetworkPolicy"]["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [each["containerPort"] for each in container["ports"]]
    if "Service" in found:
        ports = {each["targetPort"]: each["port"] for each in found["Service"]["spec"]["ports"]}
        assert ports == {"http": 80, "grpc": 9000}
    else:
        assert found["ServingRuntime"]["spec"]["protocolVersions"] == ["v2", "grpc-v2"]


def test_monitor_has_the_labels_that_it_is_found_by(full: Path) -> None:
    found = read_manifests(full)
    monitor = found.get("ServiceMonitor") or found["PodMonitor"]
    assert monitor["metadata"]["labels"] == {"release": "prometheus"}


def test_copies_that_answer_nobody_do_not_hold_up_a_drain(full: Path) -> None:
    spec = read_manifests(full)["PodDisruptionBudget"]["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert "With one copy the service is away" in (full / "README.md").read_text()


def test_policy_and_budget_of_kserve_find_its_pods_as_the_monitor_does(
    recipe: Recipe, signed_run: Path, tmp_path: Path
) -> None:
    found = read_manifests(write("kserve", recipe, signed_run, tmp_path / "out"))
    label = {"serving.kserve.io/inferenceservice": found["InferenceService"]["metadata"]["name"]}
    assert found["PodMonitor"]["spec"]["selector"]["matchLabels"] == label
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == label
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == label


@pytest.mark.parametrize(
    ("storage", "types"),
    [
        (None, ["Ingress", "Egress"]),
        ("pvc://models/cells", ["Ingress", "Egress"]),
        ("s3://models/cells", ["Ingress"]),
        ("https://example.org/cells", ["Ingress"]),
    ],
)
def test_bundle_can_be_downloaded_where_the_pod_does_it(
    storage: str | None, types: list[str], recipe: Recipe, signed_run: Path, tmp_path: Path
) -> None:
    deploy = Deploy(image=IMAGE, storage=storage)
    policy = read_manifests(write("kserve", recipe, signed_run, tmp_path / "out", deploy))["NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == types
    assert ("egress" in policy["spec"]) == ("Egress" in types)
