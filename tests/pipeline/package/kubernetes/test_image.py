"""Which image a cluster starts, which artifact it is told to serve, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.bento.content import version_of
from pipeline.package.container.entries import read_files
from pipeline.package.container.layers import Blob, write_blob, write_layer
from pipeline.package.container.locks import GRPC, read_python
from pipeline.package.kubernetes.image import find_digest
from pipeline.package.kubernetes.manifests import AS_DEPLOYMENT, AS_KSERVE
from pipeline.package.kubernetes.values import read_values
from pipeline.recipe.deploy import Deploy
from serving.model.bundle import Bundle, open_bundle
from serving.model.envelope import SIGNATURE_FILE
from serving.model.errors import BundleError
from serving.model.manifest import Defaults

pytestmark = pytest.mark.slow
IMAGE = "registry:5000/a/cells"


@pytest.fixture(scope="module")
def bundle(tiny_run: Path) -> Bundle:
    return open_bundle(tiny_run / "bundle")


@pytest.fixture(scope="module")
def mixed(bundle: Bundle) -> Bundle:
    """A bundle with an artifact for a GPU too, which a benchmark has made its choice."""
    cpu = bundle.manifest.artifacts[0]
    gpu = cpu.model_copy(update={"name": "cuda-fp16", "runtime": "onnxruntime-cuda"})
    manifest = bundle.manifest.model_copy(update={"artifacts": (cpu, gpu)})
    defaults = Defaults(artifact="cuda-fp16", threads=1, measured_on="a GPU")
    return replace(bundle, manifest=manifest, defaults=defaults)


def write_image(run: RunFolder, version: str, layers: Sequence[Blob] = ()) -> str:
    """Write what an image's layout names, and return its digest."""
    parts = {
        "config": write_blob(run.image, "any", b"{}").describe(),
        "layers": [layer.describe() for layer in layers],
    }
    digest = write_blob(run.image, "any", json.dumps(parts).encode()).digest
    image = {"digest": digest, "annotations": {"org.opencontainers.image.ref.name": version}}
    (run.image / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))
    return digest


def test_image_of_graft_is_named_by_its_digest_where_there_is_one(bundle: Bundle, tmp_path: Path) -> None:
    run, version = RunFolder(tmp_path), version_of(bundle)
    assert find_digest(run, version) is None
    image = read_values(Deploy(image=IMAGE), bundle, run).image
    assert (image.reference, image.pull_policy) == (f"{IMAGE}:{version}", "Always")
    digest = write_image(run, version)
    image = read_values(Deploy(image=IMAGE), bundle, run).image
    assert (image.reference, image.pull_policy) == (f"{IMAGE}:{version}@{digest}", "IfNotPresent")
    write_image(run, "another")
    with pytest.raises(GraftError, match=r"image of version another.*graft package .* --image.*remove"):
        read_values(Deploy(image=IMAGE), bundle, run)


@pytest.mark.parametrize("of_graft", ["same", "another"])
@pytest.mark.parametrize("deploy", [{"artifact": "cuda-fp16"}, {"custom_image": True}])
def test_image_of_graft_says_nothing_of_another(
    of_graft: str, deploy: dict[str, object], mixed: Bundle, tmp_path: Path
) -> None:
    version = version_of(mixed)
    write_image(RunFolder(tmp_path), version if of_graft == "same" else of_graft)
    values = read_values(Deploy.model_validate({"image": IMAGE} | deploy), mixed, RunFolder(tmp_path))
    assert values.image.reference == f"{IMAGE}:{version}"
    assert values.image.is_custom


@pytest.mark.parametrize(
    ("deploy", "artifact", "gpu"),
    [
        ({}, "onnx-fp32", 0),
        ({"custom_image": True}, "cuda-fp16", 1),
        ({"artifact": "cuda-fp16"}, "cuda-fp16", 1),
        ({"artifact": "onnx-fp32"}, "onnx-fp32", 0),
        ({"artifact": "onnx-fp32", "custom_image": True}, "onnx-fp32", 0),
    ],
)
def test_service_is_told_the_artifact_that_the_resources_are_for(
    deploy: dict[str, object], artifact: str, gpu: int, mixed: Bundle, tmp_path: Path
) -> None:
    values = read_values(Deploy.model_validate({"image": IMAGE} | deploy), mixed, RunFolder(tmp_path))
    for target in (AS_DEPLOYMENT, AS_KSERVE):
        filled = values.for_templates(target)
        assert (filled["artifact"], filled["gpu"]) == (artifact, gpu)


def test_bundle_for_gpus_alone_needs_an_image_for_them(mixed: Bundle, tmp_path: Path) -> None:
    gpu = mixed.manifest.artifacts[1]
    only = replace(mixed, manifest=mixed.manifest.model_copy(update={"artifacts": (gpu,)}))
    assert read_values(Deploy(image=IMAGE), only, RunFolder(tmp_path)).image.artifact == gpu
    with pytest.raises(GraftError, match=r"cuda-fp16 needs a GPU.*deploy\.image"):
        read_values(Deploy(), only, RunFolder(tmp_path))


def test_image_without_a_registry_is_never_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(GraftError, match=r"recipe\.yaml: names no image.*deploy: \{image: registry"):
        read_values(Deploy(), bundle, RunFolder(tmp_path))


def test_artifact_that_is_not_published_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="publishes no `onnx-int8`"):
        read_values(Deploy(image=IMAGE, artifact="onnx-int8"), bundle, RunFolder(tmp_path))


def test_keys_are_for_signed_bundles(bundle: Bundle, tmp_path: Path) -> None:
    deploy = Deploy(image=IMAGE, trusted_keys="keys")
    with pytest.raises(GraftError, match=r"is not signed.*graft sign"):
        read_values(deploy, bundle, RunFolder(tmp_path))


@pytest.mark.parametrize("signed", [True, False])
def test_image_that_was_written_before_the_signature_is_refused(
    signed: bool, tiny_run: Path, tmp_path: Path
) -> None:
    """Its layers are those that `graft package --image` writes, but for the packages."""
    run = RunFolder(tmp_path)
    shutil.copytree(tiny_run / "bundle", run.bundle)
    if signed:
        (run.bundle / SIGNATURE_FILE).touch()
    layer = write_layer(
        run.image,
        read_files(run.bundle, [path for path in sorted(run.bundle.rglob("*")) if path.is_file()], "models"),
    )
    (run.bundle / SIGNATURE_FILE).touch()
    bundle = open_bundle(run.bundle)
    digest = write_image(run, version_of(bundle), [layer])
    deploy = Deploy(image=IMAGE, trusted_keys="keys")
    if signed:
        assert read_values(deploy, bundle, run).image.digest == digest
    else:
        with pytest.raises(GraftError, match=r"in this image is not signed.*graft package .* --image"):
            read_values(deploy, bundle, run)


def test_openvino_is_not_in_the_image_of_graft(bundle: Bundle, tmp_path: Path) -> None:
    artifact = bundle.manifest.artifacts[0].model_copy(
        update={"name": "openvino-bf16", "runtime": "openvino-cpu"}
    )
    only = replace(bundle, manifest=bundle.manifest.model_copy(update={"artifacts": (artifact,)}))
    with pytest.raises(GraftError, match=r"openvino-bf16: the image .* has no OpenVINO"):
        read_values(Deploy(image=IMAGE), only, RunFolder(tmp_path))
    custom = Deploy(image=IMAGE, custom_image=True)
    assert read_values(custom, only, RunFolder(tmp_path)).image.artifact == artifact


def test_image_brings_the_packages_of_grpc_where_the_recipe_has_a_port_for_it() -> None:
    assert {"grpcio", "grpcio-health-checking"} <= {pin.name for pin in read_python(GRPC)}
    assert "grpcio" not in {pin.name for pin in read_python()}


@pytest.mark.parametrize("extras", [(), (GRPC,)])
def test_image_that_was_written_before_grpc_had_a_port_is_refused(
    extras: tuple[str, ...], bundle: Bundle, tmp_path: Path
) -> None:
    """Its layer of packages holds one of gRPC and one of another package that is called so, or that alone."""
    run = RunFolder(tmp_path)
    files = [tmp_path / "opentelemetry" / "exporter" / "grpc" / "__init__.py"]
    files += [tmp_path / "grpc" / "__init__.py"] if extras else []
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    layers = [
        write_layer(run.image, read_files(tmp_path, files, "usr/local/lib/python3.11/dist-packages")),
        write_layer(run.image, read_files(bundle.folder, [bundle.folder / "manifest.json"], "models")),
    ]
    digest = write_image(run, version_of(bundle), layers)
    deploy = Deploy(image=IMAGE, grpc_port=9000)
    if extras:
        assert read_values(deploy, bundle, run).image.digest == digest
    else:
        with pytest.raises(GraftError, match=r"no packages of gRPC.*graft package .* --image"):
            read_values(deploy, bundle, run)
