"""A service without gRPC: it needs none of its packages, and loads none where they are installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving.model.errors import SettingsError
from serving.server.app.components import require_startable
from serving.server.grpc.generated import open_inference_grpc_pb2 as pb
from serving.server.settings import Settings, read_settings

SERVE = """
import asyncio, sys
from pathlib import Path

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"grpc", "grpc_health"} or name.startswith("google.protobuf"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
import serving.server.process.worker, serving.server.process.launch
from serving.server.app.build import build_app
from serving.server.settings import Settings

async def live():
    app = build_app(Settings(bundle=Path(sys.argv[1])))
    async with app.router.lifespan_context(app):
        print(sorted(name for name in sys.modules if name.split(".")[0] in {"grpc", "grpc_health", "google"}))

asyncio.run(live())
"""


def test_a_service_loads_nothing_of_grpc_where_it_is_off(tiny_run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(tiny_run / "bundle")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_what_is_missing_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grpc_health.v1.health_pb2", None)
    require_startable(Settings(bundle=tmp_path))
    with pytest.raises(SettingsError, match=r"pip install 'graft-ml\[grpc\]'") as caught:
        require_startable(Settings(bundle=tmp_path, grpc_port=3001))
    assert caught.value.code == "grpc_missing"


def test_a_bento_says_that_it_answers_no_grpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.service.arguments import BUNDLE_VARIABLE, read_service_settings

    monkeypatch.setenv(BUNDLE_VARIABLE, str(tmp_path))
    assert read_service_settings().grpc_port is None
    monkeypatch.setenv("GRAFT_GRPC_PORT", "3001")
    with pytest.raises(SettingsError, match="BentoML answers no gRPC") as caught:
        read_service_settings()
    assert caught.value.code == "no_grpc_here"


def test_a_port_that_is_none_is_refused() -> None:
    assert read_settings({"bundle": "x"}, {"GRAFT_GRPC_PORT": "3001"}).grpc_port == 3001
    for value in ("0", "65536", "x"):
        with pytest.raises(SettingsError, match="GRAFT_GRPC_PORT"):
            read_settings({"bundle": "x"}, {"GRAFT_GRPC_PORT": value})


def test_the_stubs_are_those_of_the_committed_file() -> None:
    """Names, numbers and types of the fields, which is all that other clients see."""
    proto = (Path(pb.__file__).parent / "open_inference_grpc.proto").read_text()
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        assert f"message {message.name} " in proto
        for field in message.fields:
            assert f" {field.name} = {field.number};" in proto, (message.name, field.name)
    assert set(pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name) == {
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer",
    }  # fmt: skip
