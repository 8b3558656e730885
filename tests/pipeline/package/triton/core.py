"""The real core of a Triton server, from the wheel of `nvidia-pytriton`, in an environment of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, free_port

HERE = Path(__file__).parent
PYTHON = ROOT / ".venv" / "triton" / "bin" / "python"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = ROOT / ".venv" / "triton" / "lib" / f"python{VERSION}" / "site-packages"
SERVER = SITE / "pytriton" / "tritonserver"
STUB = SERVER / "python_backend_stubs" / VERSION / "triton_python_backend_stub"
STARTS_WITHIN_S = 60
needs_client = pytest.mark.skipif(
    not PYTHON.exists(), reason=".venv/triton, the environment of Triton's packages, is made by `make test`"
)


def why_no_core() -> str:
    """The reason why the core cannot be started here, or nothing."""
    if not STUB.exists():
        return f"{STUB} is not there: `make test` installs the core, for the versions of Python that it has"
    missing = [line for line in run_ldd(STUB) if "not found" in line]
    return f"the core's Python backend lacks {', '.join(missing)}" if missing else ""


def run_ldd(path: Path) -> list[str]:
    done = subprocess.run(["ldd", path], env=libraries(), capture_output=True, text=True, check=True)
    return [line.strip() for line in done.stdout.splitlines()]


def libraries() -> dict[str, str]:
    places = [SITE.parent / "site-packages" / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, places))}


def make_environment(folder: Path, *packages_of_others: Path) -> Path:
    """An environment of Python whose packages are ours, but NumPy is 1.26: the stub of 2024 knows no NumPy 2.

    The stub runs isolated from environment variables and finds its packages by the `python3` on the path.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    installed = folder / "lib" / f"python{VERSION}" / "site-packages"
    places = [SITE, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *packages_of_others]
    (installed / "places.pth").write_text("\n".join(map(str, dict.fromkeys(places))) + "\n")
    return folder


def make_backends(folder: Path) -> Path:
    """The Python backend with its stub beside it, and the stand-in for the one of ONNX Runtime."""
    shutil.copytree(SERVER / "backends" / "python", folder / "python")
    shutil.copy(STUB, folder / "python")
    (folder / "onnxruntime").mkdir()
    shutil.copy(HERE / "onnxruntime_backend.py", folder / "onnxruntime" / "model.py")
    return folder


class CoreRefusedError(RuntimeError):
    """The core did not start; the message is its log."""


@contextmanager
def running_core(folder: Path, *repositories: Path, packages: Sequence[Path] = ()) -> Iterator[str]:
    """Start the core on repositories, wait until all models are ready, yield its gRPC address, and end it.

    Args:
        folder: An empty folder, in which `log` becomes the server's log.
        repositories: The model repositories.
        packages: Folders with packages that the Python backend finds too.
    """
    environment = make_environment(folder / "environment", *packages)
    backends = make_backends(folder / "backends")
    port, log = free_port(), folder / "log"
    command = [
        SERVER / "bin" / "tritonserver", f"--backend-directory={backends}", "--allow-http=false",
        "--allow-metrics=false", "--log-verbose=1", f"--grpc-port={port}",
        "--grpc-address=127.0.0.1", "--exit-timeout-secs=10",
        *(f"--model-repository={repository}" for repository in repositories),
    ]  # fmt: skip
    variables = libraries()
    variables["PATH"] = f"{environment / 'bin'}:{variables['PATH']}"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables, cwd=folder)
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while b"Started GRPCInferenceService" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise CoreRefusedError(log.read_text())
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(url: str, jobs: Sequence[dict[str, Any]]) -> list[Any]:
    """What a server answers to jobs, see ask.py; items are bytes."""
    encoded = [
        job | {"items": [base64.b64encode(item).decode() for item in job["items"]]} if "items" in job else job
        for job in jobs
    ]
    done = subprocess.run(
        [PYTHON, HERE / "ask.py", url], input=json.dumps(encoded), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def parse_configuration(path: Path) -> dict[str, Any]:
    """A `config.pbtxt` by Triton's own schema; a field that the schema does not have raises."""
    code = (
        "import sys, json; from google.protobuf import text_format, json_format; "
        "from tritonclient.grpc.model_config_pb2 import ModelConfig; "
        "message = text_format.Parse(open(sys.argv[1]).read(), ModelConfig()); "
        "print(json.dumps(json_format.MessageToDict(message, preserving_proto_field_name=True)))"
    )
    done = subprocess.run([PYTHON, "-c", code, path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document
