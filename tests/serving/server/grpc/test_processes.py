"""The service as a process, and Triton's own client of it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest

from serving.model.predictor import load_predictor
from serving.model.timings import Timings
from serving.server.grpc.generated import open_inference_grpc_pb2 as pb
from tests.conftest import ROOT, free_port, make_picture
from tests.serving.processes import logged_service, serve_command, started, wait_for, workers_of
from tests.serving.server.grpc.rig import CHECK, INFER, OPTIONS, WATCH, infer

pytestmark = pytest.mark.slow
TRITON = ROOT / ".venv/triton/bin/python"
KEY = "a-key-of-some-length"
FILES = [make_picture("bars", 974), make_picture("plain", 975)]


def grpc_port() -> int:
    """A free port that is not the next one of HTTP."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", free_port()))
        held.listen()
        return free_port()


def ask_triton(service_port: int, bundle: Path, folder: Path, *arguments: str) -> dict[str, Any]:
    if not TRITON.exists():
        pytest.skip("tritonclient[grpc] needs an environment of its own, which `make test` makes")
    predictor = load_predictor(bundle)
    pixels = np.stack([predictor.timed_decode(each, Timings()).array for each in FILES])
    first, second = (np.frombuffer(each, np.uint8) for each in FILES)
    np.savez(folder / "given.npz", first=first, second=second, pixels=pixels)
    script = Path(__file__).parent / "triton_client.py"
    command = [TRITON, script, f"localhost:{service_port}", predictor.manifest.name, folder / "given.npz"]
    done = subprocess.run(
        [*map(str, command), *arguments], capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def make_certificate(folder: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    curve += ["-subj", "/CN=localhost"]
    files = ["-keyout", "it.key", "-out", "it.crt", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(["openssl", "req", "-x509", *curve, *files], cwd=folder, capture_output=True, check=True)
    (folder / "both.pem").write_text((folder / "it.key").read_text() + (folder / "it.crt").read_text())


@contextmanager
def secure_service(bundle: Path, folder: Path, *options: object) -> Iterator[str]:
    """A service with TLS and a key."""
    url = f"https://localhost:{(port := free_port())}"
    with started(serve_command(bundle, "--port", port, *options), folder / "log", GRAFT_API_KEYS=KEY):
        wait_for(lambda: httpx.get(f"{url}/readyz", verify=str(folder / "it.crt")).status_code == 200)
        yield url


def test_tritons_client_is_answered_as_http_is_by_tls_and_with_a_key(tiny_run: Path, tmp_path: Path) -> None:
    make_certificate(tmp_path)
    port, bundle = grpc_port(), tiny_run / "bundle"
    with secure_service(
        bundle, tmp_path, "--grpc-port", port, "--tls-cert", tmp_path / "both.pem"
    ) as service:
        found = ask_triton(port, bundle, tmp_path, KEY, str(tmp_path / "it.crt"))
        headers = {"x-api-key": KEY}
        by_http = [
            httpx.post(
                f"{service}/predict", content=each, headers=headers, verify=str(tmp_path / "it.crt")
            ).json()
            for each in FILES
        ]
    assert (found["live"], found["ready"], found["model_ready"], found["id"]) == (True, True, True, "7")
    assert (found["server"]["name"], found["model"]["name"]) == ("graft", by_http[0]["model"]["name"])
    wanted = [[*each["probabilities"].values()] for each in by_http]
    for way in ("bytes", "async", "pixels"):
        np.testing.assert_allclose(np.sort(found[way]["probabilities"]), np.sort(wanted), atol=1e-6)
        assert found[way]["labels"] == [each["label"] for each in by_http]
    assert [each.rpartition(":")[2] for each in found["ranked"]] == [each["label"] for each in by_http]
    assert found["unknown model"].startswith("StatusCode.NOT_FOUND: There is no model `nobody`")
    assert found["unknown version"].startswith("StatusCode.NOT_FOUND: There is no version `7`")
    assert found["no picture"].startswith("StatusCode.INVALID_ARGUMENT: Element 0")
    assert found["no key"].startswith("StatusCode.UNAUTHENTICATED: A valid API key")
    assert found["late"].startswith("StatusCode.DEADLINE_EXCEEDED")
    ours = {
        f"{name}.{field.name}": [field.number, field.type]
        for name in ("ModelInferRequest", "ModelInferResponse", "InferParameter", "InferTensorContents")
        for field in getattr(pb, name).DESCRIPTOR.fields
    }
    assert ours == found["fields"], "the protocol's file differs from Triton's"


def test_several_workers_share_the_port_and_drain_at_sigterm(tiny_run: Path, tmp_path: Path) -> None:
    port = grpc_port()
    with logged_service(
        tiny_run / "bundle", tmp_path / "log", "--workers", "2", "--grpc-port", str(port)
    ) as service:
        workers = wait_for(
            lambda: [*workers_of(service.process)] if len(workers_of(service.process)) == 2 else []
        )
        wait_for(lambda: len(_listeners(workers, port)) == 2)
        request = infer("tiny", FILES).SerializeToString()
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            assert pb.ModelInferResponse.FromString(channel.unary_unary(INFER)(request)).outputs
            watch = channel.unary_stream(WATCH)(b"")
            said = [next(watch)]
            following = threading.Thread(target=lambda: said.extend(watch))
            following.start()
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(15) == 0, "one who watches held the end up"
            following.join(5)
        assert said == [b"\x08\x01", b"\x08\x02"]
    assert not [line for line in service.lines() if line["level"] in {"warning", "error"}]


def test_the_end_begins_at_the_signal_though_http_still_answers(tiny_run: Path, tmp_path: Path) -> None:
    port = grpc_port()
    with logged_service(tiny_run / "bundle", tmp_path / "log", "--grpc-port", str(port)) as service:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            watch = channel.unary_stream(WATCH)(b"")
            assert next(watch) == b"\x08\x01"
            with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as slow:
                slow.sendall(b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nx")
                wait_for(lambda: httpx.get(f"{service.url}/livez").status_code == 200)
                service.process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                assert [*watch] == [b"\x08\x02"]
                assert time.monotonic() - began < 10, "it began once the body's time was over"
                assert service.process.poll() is None
        assert service.process.wait(15) == 0


def _listeners(pids: list[int], port: int) -> set[int]:
    return {
        pid
        for pid in pids
        for each in psutil.Process(pid).net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    }


def test_a_worker_that_replaces_another_answers_grpc_too(tiny_run: Path, tmp_path: Path) -> None:
    port = grpc_port()
    with logged_service(tiny_run / "bundle", tmp_path / "log", "--grpc-port", str(port)) as service:
        (worker,) = workers_of(service.process).values()
        worker.kill()
        wait_for(lambda: worker.pid not in workers_of(service.process) and workers_of(service.process))
        wait_for(lambda: _is_serving(port))


def _is_serving(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        try:
            return bool(channel.unary_unary(CHECK)(b"", timeout=2) == b"\x08\x01")
        except grpc.RpcError:
            return False


def test_a_port_that_is_taken_ends_the_start_with_one_message(tiny_run: Path) -> None:
    port = grpc_port()
    with socket.socket() as other:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # as another gRPC server does
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        command = serve_command(tiny_run / "bundle", "--port", free_port(), "--grpc-port", port)
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"127.0.0.1:{port}: gRPC cannot be answered there (Address already in use)" in done.stderr


def test_other_machines_need_keys(tiny_run: Path) -> None:
    options = ["--host", "0.0.0.0", "--port", free_port(), "--grpc-port", grpc_port()]
    command = serve_command(tiny_run / "bundle", *options)
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)
    assert (done.returncode, "there are no API keys" in done.stderr) == (1, True)
