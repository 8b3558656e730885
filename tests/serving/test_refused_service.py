"""A bundle whose artifact this machine cannot run.

It is refused with the reason, or replaced where the deployment allows it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serving.model.errors import ProviderError
from serving.model.files import hash_file
from serving.model.predictor import load_predictor
from serving.model.runtimes.machine import cpu_limit
from tests.conftest import ROOT, free_port, make_picture, run_graft, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine may have CUDA"),
]


@pytest.fixture(scope="module")
def bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, as if a machine with a GPU had published an artifact for CUDA too."""
    folder = Path(shutil.copytree(tiny_run / "bundle", tmp_path_factory.mktemp("cuda") / "bundle"))
    named = {"name": "cuda-fp32", "runtime": "onnxruntime-cuda"}
    receipt = json.loads((folder / "receipts/onnx-fp32.json").read_text()) | {
        "artifact": "cuda-fp32",
        "runtime": "onnxruntime-cuda",
    }
    (folder / "receipts/cuda-fp32.json").write_text(json.dumps(receipt))
    manifest = json.loads((folder / "manifest.json").read_text())
    ref = {
        "file": "receipts/cuda-fp32.json",
        "sha256": hash_file(folder / "receipts/cuda-fp32.json"),
        "passed": True,
    }
    manifest["artifacts"].append(manifest["artifacts"][0] | named | {"receipt": ref})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def command(bundle: Path, port: int, *arguments: str) -> list[str]:
    service = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "serving.service:GraftService",
        "--working-dir",
        str(ROOT),
        "--port",
        str(port),
    ]
    return [*service, "--arg", f"bundle={bundle}", "--arg", "artifact=cuda-fp32", *arguments]


def test_load_predictor_refuses_when_cuda_is_not_here(bundle: Path) -> None:
    with pytest.raises(
        ProviderError, match=r"CUDAExecutionProvider was asked for, but cannot be used. libcuda.so.1"
    ):
        load_predictor(bundle, artifact="cuda-fp32")


def test_load_predictor_falls_back_only_when_told_to_and_says_so(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = load_predictor(bundle, artifact="cuda-fp32", fallback="onnx-fp32")
    assert predictor.predict(make_picture("bars", 3)).model.artifact == "onnx-fp32"
    assert "serving onnx-fp32 instead of cuda-fp32: CUDAExecutionProvider was asked for" in caplog.text


def test_serve_refuses_at_once_when_cuda_is_not_here(bundle: Path) -> None:
    done = run_graft("serve", bundle, "--artifact", "cuda-fp32", "--port", free_port(), check=1)
    assert (
        "libcuda.so.1, the NVIDIA driver's, is not here. Run on a machine with an NVIDIA GPU" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_serve_refuses_a_fallback_that_is_not_published(bundle: Path) -> None:
    done = run_graft("serve", bundle, "--fallback", "onnx-fp31", "--port", free_port(), check=1)
    assert "publishes no `onnx-fp31`. Published, each with its receipt: onnx-fp32, cuda-fp32" in done.stderr


def test_serve_says_that_a_benchmark_chose_what_cannot_be_run_here(bundle: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(bundle, tmp_path / "moved"))
    (moved / "defaults.json").write_text(
        json.dumps({"artifact": "cuda-fp32", "threads": 99, "measured_on": "an H100"})
    )
    done = run_graft("serve", moved, "--port", free_port(), check=1)
    assert "libcuda.so.1" in done.stderr
    advice = (
        "a benchmark chose it on an H100 (defaults.json). Measure here: graft benchmark RUN, "
        "or name another: --artifact onnx-fp32"
    )
    assert advice in done.stderr


def test_threads_that_a_benchmark_recommends_never_exceed_the_cpus(bundle: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(bundle, tmp_path / "moved"))
    (moved / "defaults.json").write_text(
        json.dumps({"artifact": "onnx-fp32", "threads": 99, "measured_on": "a large machine"})
    )
    predictor = load_predictor(moved)
    assert predictor.callers == cpu_limit()
    assert predictor.session._session.get_session_options().intra_op_num_threads == cpu_limit()


def test_service_stays_up_and_readyz_says_why(bundle: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        command(bundle, port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=30), timeout=30
        ) as client:
            ready, answer, alive = (
                client.get("/readyz"),
                client.post("/predict", content=make_picture("bars", 1)),
                client.get("/livez"),
            )
    finally:
        process.terminate()
        process.wait(30)
    assert ready.status_code == answer.status_code == 503
    assert ready.json() == answer.json()
    assert ready.headers["retry-after"] == "1"
    assert ready.json()["error"]["code"] == "provider_failed"
    assert "libcuda.so.1" in ready.json()["error"]["message"]
    assert alive.status_code == 200


def test_service_serves_the_fallback_when_the_deployment_allows_it(bundle: Path) -> None:
    port = free_port()
    with serving(command(bundle, port, "--arg", "fallback=onnx-fp32"), port) as url:
        answer = httpx.post(f"{url}/predict", content=make_picture("bars", 2))
    assert answer.json()["model"]["artifact"] == "onnx-fp32"
