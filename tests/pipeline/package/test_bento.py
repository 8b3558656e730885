"""The built Bento, served by BentoML alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import bentoml
import pytest
import yaml

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.bento import store
from pipeline.package.bento.carried import carried_files
from pipeline.package.bento.content import Content, version_of
from pipeline.package.bento.describing import list_labels, list_resources
from pipeline.package.bento.flavours import choose_content, package_cpu
from pipeline.package.files import bundle_files
from pipeline.recipe.reading import load_recipe
from pipeline.run.sign import sign
from pipeline.signing.keys import read_signer
from serving.model.bundle import Bundle, open_bundle
from serving.model.envelope import SIGNATURE_FILE
from serving.model.errors import SignatureError
from serving.model.files import FileRef
from serving.model.manifest import Defaults
from serving.model.runtimes.plan import Plan
from serving.server.settings import Settings
from tests.conftest import ROOT, run_graft
from tests.signing import make_key

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tags(tiny_run: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((tiny_run / "package" / "bento.json").read_text())
    return found


def test_bento_holds_the_service_and_no_training_code(tags: dict[str, str]) -> None:
    bento = bentoml.get(tags["bento"])
    files = {
        path.relative_to(Path(bento.path) / "src").as_posix()
        for path in (Path(bento.path) / "src").rglob("*.py")
    }
    assert {"service.py", "serving/service/__init__.py"} <= files
    assert not any(name.startswith("pipeline") for name in files)
    requirements = (Path(bento.path) / "env" / "python" / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert "torch" not in requirements.replace("without torch", "")
    assert str(bento.info.all_models[0].tag) == tags["model"]


def test_bento_is_named_after_its_run_and_says_what_it_is(tiny_run: Path, tags: dict[str, str]) -> None:
    bento, manifest = bentoml.get(tags["bento"]), open_bundle(tiny_run / "bundle").manifest
    (service,) = bento.info.services
    assert bento.info.name == bento.info.entry_service == service.name == "tiny"
    assert bento.info.labels == list_labels(open_bundle(tiny_run / "bundle"))
    assert service.config["resources"] == {"cpu": "1", "memory": "768Mi"}
    envs = {env.name: env.value for env in bento.info.envs}
    assert envs["ORT_DISABLE_TELEMETRY"] == "1"
    assert {"GRAFT_API_KEYS", "GRAFT_API_KEYS_FILE", "GRAFT_ALLOW_ANONYMOUS"} <= envs.keys()
    model = bentoml.models.get(tags["model"]).info
    assert model.labels == bento.info.labels
    assert model.metadata["labels"] == list(manifest.labels)
    assert model.metadata["lineage"]["data_sha256"] == manifest.lineage.data_sha256


def test_labels_are_valid_for_kubernetes(tiny_run: Path) -> None:
    bundle = open_bundle(tiny_run / "bundle")
    named = replace(bundle, manifest=bundle.manifest.model_copy(update={"name": "a" * 62 + "._-" + "b" * 40}))
    for name, value in list_labels(named).items():
        assert re.fullmatch(r"[a-z]([a-z-]*[a-z])?", name)
        assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value), value


def test_readme_tells_an_operator_what_to_set(tags: dict[str, str]) -> None:
    readme = (Path(bentoml.get(tags["bento"]).path) / "README.md").read_text()
    settings = {name.removeprefix("GRAFT_").lower() for name in re.findall(r"GRAFT_[A-Z_]+", readme)}
    assert settings - {"api_keys"} <= Settings.model_fields.keys()
    assert tags["bento"] in readme
    assert "predict(image=Path" in readme


def test_tracing_and_its_exporter_are_in_a_bento() -> None:
    assert "opentelemetry-exporter-otlp-proto-http==" in (ROOT / "serving" / "requirements.txt").read_text()


def test_bento_carries_just_the_files_that_packaging_looks_at(tags: dict[str, str]) -> None:
    """One that it looked at and a Bento left out would make each run package again."""
    source = Path(bentoml.get(tags["bento"]).path) / "src" / "serving"
    carried = {
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and path.suffix not in {".txt", ".pyc"}
    }
    assert carried == {path.relative_to(ROOT / "serving") for path in carried_files()}


def test_model_in_the_store_is_the_bundle(tiny_run: Path, tags: dict[str, str]) -> None:
    stored = Path(bentoml.models.get(tags["model"]).path)
    for name in ("manifest.json", "model.onnx", "receipts/onnx-fp32.json"):
        assert (stored / name).read_bytes() == (tiny_run / "bundle" / name).read_bytes()


def with_artifacts(bundle: Bundle, *runtimes: str) -> Bundle:
    first = bundle.manifest.artifacts[0]
    others = tuple(first.model_copy(update={"name": runtime, "runtime": runtime}) for runtime in runtimes)
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"artifacts": (first, *others)}))


def with_plan(bundle: Bundle, version: str) -> Bundle:
    """The bundle with an artifact that wraps a plan of some version of TensorRT."""
    first = bundle.manifest.artifacts[0]
    plan = Plan.model_construct(tensorrt_version=version)
    update = {"name": "tensorrt-fp16", "runtime": "onnxruntime-tensorrt", "plan": plan}
    artifacts = (first, first.model_copy(update=update))
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"artifacts": artifacts}))


def test_requirements_follow_the_runtimes_of_what_is_published(tiny_run: Path) -> None:
    bundle = open_bundle(tiny_run / "bundle")
    tested = (ROOT / "serving" / "requirements.txt").read_text().rstrip("\n") + "\n"
    assert Content(bundle).requirements() == tested
    openvino = with_artifacts(bundle, "openvino-cpu")
    assert f"openvino=={metadata.version('openvino')}\n" in Content(openvino).requirements()
    on_gpu = Content(with_artifacts(bundle, "onnxruntime-cuda")).requirements()
    assert "\nonnxruntime-gpu[cuda,cudnn]==" in on_gpu
    assert "\nonnxruntime==" not in on_gpu, "both own the module onnxruntime"
    planned = Content(with_plan(bundle, "10.14.1.48")).requirements()
    assert "tensorrt-cu13==10.14.1.48\n" in planned, "a plan is bound to the version that built it"
    assert "nvidia-ml-py==" in planned


def test_bento_of_a_target_has_the_packages_of_that_machine_alone(tiny_run: Path) -> None:
    bundle = open_bundle(tiny_run / "bundle")
    mixed = with_artifacts(bundle, "openvino-cpu", "onnxruntime-cuda")
    on_cpu, on_gpu = choose_content(mixed, "cpu"), choose_content(mixed, "cuda")
    assert on_cpu.served == mixed.manifest.artifacts[0]
    assert on_gpu.served == mixed.manifest.artifacts[2]
    assert "onnxruntime-gpu" not in on_cpu.requirements()
    assert "openvino" in on_cpu.requirements()
    assert "onnxruntime-gpu" in on_gpu.requirements()
    assert "openvino" not in on_gpu.requirements()
    assert len({on_cpu.bento_tag(), on_gpu.bento_tag(), Content(mixed).bento_tag()}) == 3
    assert "'value': 'onnxruntime-cuda'" in on_gpu.files("model")["service.py"]
    assert "envs=[]" in on_cpu.files("model")["service.py"], "it is the bundle's own choice"


def test_memory_is_for_all_files_of_an_artifact(tiny_run: Path, tmp_path: Path) -> None:
    """Its tensors and its plan may be files of their own."""
    folder = Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))
    with (folder / "tensors.bin").open("wb") as file:
        file.truncate(1 << 30)  # which takes no room
    bundle = open_bundle(folder)
    artifact = bundle.manifest.artifacts[0]
    large = artifact.model_copy(update={"tensors": FileRef(file="tensors.bin", sha256="0" * 64)})
    manifest = bundle.manifest.model_copy(update={"artifacts": (large,)})
    assert list_resources(bundle)["memory"] == "768Mi"
    assert list_resources(replace(bundle, manifest=manifest))["memory"] == "4864Mi", "512 and four times 1024"


def test_target_that_publishes_nothing_is_refused_by_name(tiny_run: Path) -> None:
    bundle = open_bundle(tiny_run / "bundle")
    with pytest.raises(GraftError, match=r"no artifact for tensorrt, only onnx-fp32.*tensorrt-fp16"):
        choose_content(bundle, "tensorrt")


def test_bento_of_a_target_is_built_once_and_starts_with_its_artifact(tiny_run: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tiny_run / "recipe.yaml")
    first, second = (package_cpu(recipe, RunFolder(tiny_run), tmp_path) for _ in range(2))
    assert first == second
    bento = bentoml.get(first.place)
    assert "onnxruntime==" in (Path(bento.path) / "env" / "python" / "requirements.txt").read_text()
    assert list(tmp_path.iterdir()) == []


def test_stores_are_found_where_bentoml_finds_them(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN", str(tmp_path / "a home"))
    monkeypatch.setenv("BENTOML_HOME", "$OWN/store")
    assert store.bentoml_home() == tmp_path / "a home" / "store"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BENTOML_HOME", "~/store")
    assert store.bentoml_home() == tmp_path / "store"
    # The second time it is found again; the cache stays where it is.
    cache = {"GRAFT_CACHE": os.environ["GRAFT_CACHE"]}
    first, second = (run_graft("package", tiny_run, "--target", "cpu", env=cache) for _ in range(2))
    assert first.stdout == second.stdout
    assert len(list((tmp_path / "store" / "bentos" / "tiny").glob("*-*"))) == 1


@pytest.mark.parametrize(
    ("home", "reason"),
    [
        ("", "BENTOML_HOME is empty, which is the present folder"),
        ("{file}", "cannot be written there .* in the variable BENTOML_HOME"),
        ("{file}/below", "cannot be written there .* in the variable BENTOML_HOME"),
        ("/proc/none", "cannot be written there .* in the variable BENTOML_HOME"),
    ],
)
def test_stores_that_cannot_be_written_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENTOML_HOME", home.format(file=tmp_path / "file"))
    with pytest.raises(GraftError, match=reason), store.open_stores():
        pass


def test_two_commands_may_package_to_one_store(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "copy")
    command = [sys.executable, "-m", "pipeline.cli", "package", "--target", "cpu"]
    environment = os.environ | {"BENTOML_HOME": str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([*command, str(run)], env=environment, stdout=-1, stderr=-1, text=True)
        for run in (tiny_run, tmp_path / "copy")
    ]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0]


def test_version_tells_bundles_apart_that_serve_otherwise(tiny_run: Path) -> None:
    bundle = open_bundle(tiny_run / "bundle")
    defaults = Defaults(artifact="onnx-fp32", threads=2, measured_on="a CPU")
    others = [bundle, with_artifacts(bundle, "openvino-cpu"), replace(bundle, defaults=defaults)]
    assert version_of(bundle) == bundle.manifest.version
    assert len({version_of(other) for other in others}) == 3


def test_service_requirements_are_pinned_as_tested() -> None:
    pinned = [
        line
        for path in (ROOT / "serving").glob("requirements*.txt")
        for line in path.read_text().splitlines()
        if line and not line.startswith("#")
    ]
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(pinned) <= set(tested)
    assert yaml.safe_load((ROOT / "bentofile.yaml").read_text())["service"] == "serving.service:GraftService"


def test_file_that_the_bundle_does_not_name_stays_out_of_the_store(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))
    (bundle / ".env").write_text("PASSWORD=1")
    (bundle / "receipts" / "notes.txt").write_text("mine")
    monkeypatch.setattr(store, "place_of", lambda *_: tmp_path / "stored")
    names = {path.relative_to(bundle).as_posix() for path in bundle_files(open_bundle(bundle))}
    assert names == {
        path.relative_to(tiny_run / "bundle").as_posix()
        for path in (tiny_run / "bundle").rglob("*")
        if path.is_file()
    }
    stored = Path(shutil.copytree(tiny_run / "bundle", tmp_path / "stored"))
    (stored / "model.yaml").touch()
    assert store.holds_model(open_bundle(bundle), "tiny:1")
    (stored / SIGNATURE_FILE).write_text("of a bundle that was signed once")
    assert not store.holds_model(open_bundle(bundle), "tiny:1"), "it is not the bundle's any more"


def test_signed_file_that_the_bundle_does_not_name_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "bundle" / ".env").write_text("PASSWORD=1")
    sign(run, make_key(tmp_path).private)
    with pytest.raises(GraftError, match=r"\.env: is signed, but no part of the bundle"):
        bundle_files(open_bundle(run / "bundle"))


@pytest.mark.parametrize("payload", [b"", b"{}", b"[" * 10**5, b'{"predicate": {"resources": [1]}}'])
def test_signature_that_covers_no_files_is_refused(tiny_run: Path, tmp_path: Path, payload: bytes) -> None:
    bundle = Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))
    (bundle / SIGNATURE_FILE).write_bytes(read_signer(make_key(tmp_path).private).sign(payload))
    with pytest.raises(SignatureError, match=r"model\.sig: does not sign the files .*graft sign"):
        bundle_files(open_bundle(bundle))


def test_tag_follows_all_that_the_bento_says_of_its_origin(tiny_run: Path) -> None:
    bundle = open_bundle(tiny_run / "bundle")
    lineage = bundle.manifest.lineage.model_copy(update={"recipe_sha256": "f" * 64})
    other = replace(bundle, manifest=bundle.manifest.model_copy(update={"lineage": lineage}))
    assert Content(bundle).files("m") != Content(other).files("m")
    assert Content(bundle).bento_tag() != Content(other).bento_tag()
