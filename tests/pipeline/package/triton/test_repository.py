"""The model repository as it is written: bytes, configuration by Triton's own schema, refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from tokenizers import Tokenizer

from pipeline.errors import GraftError
from pipeline.package.triton import compare, repository
from pipeline.package.triton.describing import count_instances, describe
from pipeline.package.triton.repository import write_models
from pipeline.recipe.deploy import Deploy
from serving.model.bundle import Bundle, open_bundle
from serving.model.errors import BundleError
from serving.model.files import hash_file
from serving.model.manifest import Artifact
from serving.model.runtimes.plan import Plan, Profile
from tests.conftest import ROOT, run_graft
from tests.pipeline.package.triton.core import PYTHON, needs_client, parse_configuration

pytestmark = pytest.mark.slow
HASH = "0" * 64


@pytest.fixture(scope="module")
def pictures_repository(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("triton") / "pictures"
    write_models(open_bundle(tiny_run / "bundle"), Deploy(cpu="1500m"), output)
    return output


@pytest.fixture(scope="module")
def texts_repository(text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("triton") / "texts"
    write_models(open_bundle(text_run / "bundle"), Deploy(), output)
    return output


def with_artifact(bundle: Bundle, **changes: object) -> Bundle:
    artifact = bundle.manifest.artifacts[0].model_copy(update=changes)
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"artifacts": (artifact,)}))


def test_network_has_the_very_bytes_of_the_bundles_artifact(
    tiny_run: Path, pictures_repository: Path
) -> None:
    artifact = open_bundle(tiny_run / "bundle").manifest.artifacts[0]
    assert hash_file(pictures_repository / "tiny-network" / "1" / "model.onnx") == artifact.sha256
    assert artifact.receipt is not None
    assert hash_file(pictures_repository / "tiny-network" / "receipt.json") == artifact.receipt.sha256
    labels = (pictures_repository / "tiny-network" / "labels.txt").read_text().splitlines()
    assert labels == ["bars", "plain"]


def test_decoder_is_the_services_own_code(pictures_repository: Path) -> None:
    code = pictures_repository / "tiny-decoder" / "1" / "code"
    carried = [path for path in code.rglob("*") if path.is_file()]
    assert all(path.read_bytes() == (ROOT / path.relative_to(code)).read_bytes() for path in carried)
    assert not list(code.rglob("__pycache__"))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_decoder_carries_all_that_it_imports(
    kind: str, pictures_repository: Path, texts_repository: Path
) -> None:
    place = (
        pictures_repository / "tiny-decoder" / "1"
        if kind == "image"
        else texts_repository / "tiny-text-decoder" / "1"
    )
    code = f"""
import json, sys
from pathlib import Path
here = Path({str(place)!r})
sys.path.insert(0, str(here / "code"))
from serving.model.inputs.registry import find_kind
document = json.loads((here / "input.json").read_bytes())
kind = find_kind(document["modality"])
item = kind.open_preprocessor(kind.spec.model_validate(document), here).blank()
ours = [part.__file__ for name, part in sys.modules.items() if name.split(".")[0] in ("serving", "pipeline")]
print(json.dumps([ours, sorted({{name.split(".")[0] for name in sys.modules}} & {{"torch", "onnxruntime"}})]))
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/", check=True
    )
    ours, heavy = json.loads(done.stdout)
    assert len(ours) > 5
    assert all(path.startswith(str(place / "code")) for path in ours), ours
    assert heavy == []


@needs_client
def test_configuration_of_pictures_by_tritons_schema(pictures_repository: Path) -> None:
    network = parse_configuration(pictures_repository / "tiny-network" / "config.pbtxt")
    assert network["backend"] == "onnxruntime"
    assert network["max_batch_size"] == 32
    assert network["dynamic_batching"] == {}, "requests are not made to wait"
    assert network["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": ["64", "64", "3"]}]
    assert network["output"][0]["label_filename"] == "labels.txt"
    assert network["instance_group"] == [{"count": 2, "kind": "KIND_CPU"}], "1500m are two CPUs"
    assert network["parameters"]["intra_op_thread_count"] == {"string_value": "1"}
    assert network["version_policy"] == {"specific": {"versions": ["1"]}}
    assert network["model_warmup"][0]["inputs"]["image"]["input_data_file"] == "image"
    decoder = parse_configuration(pictures_repository / "tiny-decoder" / "config.pbtxt")
    assert decoder["backend"] == "python"
    assert decoder["input"] == [{"name": "image", "data_type": "TYPE_STRING", "dims": ["1"]}]
    assert decoder["output"] == network["input"], "what one gives, the other takes"
    ensemble = parse_configuration(pictures_repository / "tiny" / "config.pbtxt")
    assert [step["model_name"] for step in ensemble["ensemble_scheduling"]["step"]] == [
        "tiny-decoder", "tiny-network",
    ]  # fmt: skip
    assert ensemble["max_batch_size"] == decoder["max_batch_size"] == network["max_batch_size"]


@needs_client
def test_configuration_of_texts_warms_up_with_ids_of_the_vocabulary(
    texts_repository: Path, text_run: Path
) -> None:
    folder = texts_repository / "tiny-text-network"
    network = parse_configuration(folder / "config.pbtxt")
    assert [(tensor["name"], tensor["data_type"], tensor["dims"]) for tensor in network["input"]] == [
        ("input_ids", "TYPE_INT64", ["-1"]), ("attention_mask", "TYPE_INT64", ["-1"]),
    ]  # fmt: skip
    warm_up = network["model_warmup"][0]["inputs"]
    ids = np.frombuffer((folder / "warmup" / "input_ids").read_bytes(), "<i8")
    assert warm_up["input_ids"]["dims"] == [str(len(ids))]
    spec = open_bundle(text_run / "bundle").manifest.input
    tokenizer = Tokenizer.from_file(str(text_run / "bundle" / spec.files()[0].file))
    assert 0 <= ids.min() <= ids.max() < tokenizer.get_vocab_size()
    assert (texts_repository / "tiny-text-decoder" / "1" / spec.files()[0].file).is_file()


@needs_client
def test_schema_refuses_a_field_that_triton_does_not_have(pictures_repository: Path, tmp_path: Path) -> None:
    text = (pictures_repository / "tiny-network" / "config.pbtxt").read_text()
    wrong = tmp_path / "config.pbtxt"
    wrong.write_text(text.replace("dynamic_batching", "dynamic_batches"))
    with pytest.raises(ValueError, match="dynamic_batches"):
        parse_configuration(wrong)


@needs_client
def test_batch_of_one_is_not_batched(tiny_run: Path, tmp_path: Path) -> None:
    bundle = with_artifact(open_bundle(tiny_run / "bundle"), max_batch_size=1)
    write_models(bundle, Deploy(), tmp_path / "out")
    network = parse_configuration(tmp_path / "out" / "tiny-network" / "config.pbtxt")
    assert network["max_batch_size"] == 1
    assert "dynamic_batching" not in network


@needs_client
def test_cuda_artifact_runs_on_a_gpu_without_tf32(tiny_run: Path, tmp_path: Path) -> None:
    bundle = with_artifact(open_bundle(tiny_run / "bundle"), runtime="onnxruntime-cuda")
    write_models(bundle, Deploy(), tmp_path / "out")
    network = parse_configuration(tmp_path / "out" / "tiny-network" / "config.pbtxt")
    assert network["instance_group"] == [{"count": 1, "kind": "KIND_GPU"}]
    assert "intra_op_thread_count" not in network["parameters"]
    (accelerator,) = network["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    assert accelerator == {"name": "cuda", "parameters": {"use_tf32": "0"}}


def with_plan(bundle: Bundle, folder: Path) -> tuple[Bundle, Artifact]:
    """A bundle whose artifact wraps a plan; nothing here runs it."""
    (folder / "model.plan").write_bytes(b"the plan's own bytes")
    for name in ("model.onnx", "receipts"):
        (folder / name).symlink_to(bundle.folder / name)
    shape = {"min": (1, 64, 64, 3), "opt": (1, 64, 64, 3), "max": (16, 64, 64, 3)}
    plan = Plan(
        file="model.plan", sha256=hash_file(folder / "model.plan"), onnx_sha256=HASH,
        tensorrt_version="10.14.1.48", compute_capability="9.0", gpu="NVIDIA H100", driver="580.95.05",
        cuda_version="13.0", onnxruntime_version="1.31.1", precision="fp16",
        profiles=(Profile(input="image", **shape),),
    )  # fmt: skip
    changed = with_artifact(bundle, runtime="onnxruntime-tensorrt", plan=plan, precision="fp16")
    return replace(changed, folder=folder), changed.manifest.artifacts[0]


@needs_client
def test_plan_is_served_as_it_is(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    bundle, artifact = with_plan(open_bundle(tiny_run / "bundle"), folder)
    write_models(bundle, Deploy(), tmp_path / "out")
    network = parse_configuration(tmp_path / "out" / "tiny-network" / "config.pbtxt")
    assert artifact.plan is not None
    assert (network["backend"], network["max_batch_size"]) == ("tensorrt", 16)
    assert network["parameters"]["plan_sha256"] == {"string_value": artifact.plan.sha256}
    files = [path.name for path in (tmp_path / "out" / "tiny-network" / "1").iterdir()]
    assert files == ["model.plan"], "Triton loads the plan, and not the ONNX file that wraps it"
    assert hash_file(tmp_path / "out" / "tiny-network" / "1" / "model.plan") == artifact.plan.sha256
    assert "10.14.1.48" in (tmp_path / "out" / "README.md").read_text()


def test_artifact_of_another_runtime_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    bundle = with_artifact(open_bundle(tiny_run / "bundle"), runtime="openvino-cpu", name="openvino-bf16")
    with pytest.raises(GraftError, match=r"openvino-bf16 is proven with openvino-cpu.*deploy\.artifact"):
        write_models(bundle, Deploy(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_artifact_that_is_not_published_is_refused(tiny_run: Path) -> None:
    with pytest.raises(BundleError, match="publishes no `onnx-int8`"):
        describe(open_bundle(tiny_run / "bundle"), "onnx-int8")


def test_bytes_that_change_while_they_are_copied_are_refused(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository.shutil, "copyfile", lambda _, target: Path(target).write_bytes(b"other"))
    with pytest.raises(BundleError, match="its bytes changed"):
        write_models(open_bundle(tiny_run / "bundle"), Deploy(), tmp_path / "out")
    assert not (tmp_path / "out").exists(), "half a repository is none"


@pytest.mark.parametrize(
    ("cpu", "instances"), [(None, 1), ("1", 1), ("0.5", 1), ("250m", 1), ("1500m", 2), ("4", 4), ("96", 16)]
)
def test_instances_are_as_many_as_cpus_up_to_a_limit(cpu: str | None, instances: int) -> None:
    assert count_instances(cpu) == instances


def test_requirements_are_those_of_the_service(pictures_repository: Path, texts_repository: Path) -> None:
    tested = (ROOT / "serving" / "requirements.txt").read_text().splitlines()
    for folder, package in ((pictures_repository, "pillow"), (texts_repository, "tokenizers")):
        lines = (folder / "requirements.txt").read_text().splitlines()
        assert set(lines) < set(tested)
        assert any(line.startswith(f"{package}==") for line in lines)


def test_command_writes_the_repository_and_says_what_it_cannot(tiny_run: Path, tmp_path: Path) -> None:
    done = run_graft("package", tiny_run, "--target", "triton", "--output", tmp_path / "out", "--json")
    assert json.loads(done.stdout)["place"] == str(tmp_path / "out")
    assert (tmp_path / "out" / "tiny" / "config.pbtxt").is_file()
    done = run_graft("package", tiny_run, "--target", "triton", "--output", tmp_path, check=1)
    assert "holds something already" in done.stderr
    assert (tmp_path / "out" / "tiny" / "config.pbtxt").is_file()
    (tmp_path / "file").write_text("in the way")
    inside = tmp_path / "file" / "out"
    done = run_graft("package", tiny_run, "--target", "triton", "--output", inside, check=1)
    assert "A file stands where a folder is needed" in done.stderr


def test_recipes_choice_of_an_unpublished_artifact_ends_the_command(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["deploy"]["artifact"] = "onnx-int8"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    before = hash_file(run / "bundle" / "manifest.json")
    done = run_graft("package", run, "--target", "triton", check=1)
    assert "publishes no `onnx-int8`" in done.stderr
    assert not (run / "package" / "triton").exists()
    assert hash_file(run / "bundle" / "manifest.json") == before, "the section makes no model"


NO_PREDICTIONS = {
    "no file": (None, r"holds no predictions .*No such file.*graft predict RUN FILES --json"),
    "half a file": ("[{", r"holds no predictions .*graft predict RUN FILES --json"),
    "something else": ('{"label": "a"}', r"holds no predictions\. .*graft predict RUN FILES --json"),
    "no picture": ('[{"file": "none.png"}]', r"none\.png: cannot be read .*where it was predicted"),
    "no client": ('[{"text": "good"}]', r"pip install 'tritonclient\[grpc\]'"),
}


@pytest.mark.parametrize("case", NO_PREDICTIONS)
def test_script_says_why_it_cannot_compare(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, reason = NO_PREDICTIONS[case]
    if content is not None:
        (tmp_path / "predictions.json").write_text(content)
    (tmp_path / "graft.json").write_text('{"limit": 0.001}')
    monkeypatch.setattr(compare, "DESCRIPTION", tmp_path / "graft.json")
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    monkeypatch.setattr(sys, "argv", ["compare.py", str(tmp_path / "predictions.json")])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=reason):
        compare.main()


@needs_client
def test_script_says_that_no_triton_answers(tmp_path: Path) -> None:
    (tmp_path / "graft.json").write_text('{"limit": 0.001, "name": "tiny", "input": "text"}')
    shutil.copy(compare.__file__, tmp_path / "compare.py")
    (tmp_path / "predictions.json").write_text('[{"text": "good"}]')
    command = [PYTHON, tmp_path / "compare.py", tmp_path / "predictions.json", "--url", "127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("127.0.0.1:9: Triton does not answer as tiny")
