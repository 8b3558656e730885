"""Become the service's process."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

import serving
from pipeline.errors import GraftError
from pipeline.layout import RunFolder
from serving.bundle import SERVICES, open_bundle

log = logging.getLogger("graft")


def exec_service(run: Path, host: str, port: int, artifact: str | None = None, fallback: str | None = None) -> NoReturn:
    """Replace this process by ``bentoml serve`` on the run's bundle.

    Args:
        run: A run's folder, or a bundle's.
        host: Address to listen on.
        port: Port to listen on.
        artifact: A published artifact's name; by default what a benchmark recommends, or the bundle's first.
        fallback: The name of one to serve where that cannot be run here.

    Raises:
        BundleError: The bundle has changed, is not proven, or has no such artifact; better said here than in a worker's log.
        ProviderError: What the artifact asks for is not here, and there is no fallback.
        GraftError: The port is taken.
    """
    folder = RunFolder(run).bundle
    bundle = open_bundle((folder if folder.is_dir() else run).absolute())
    _refuse_taken(host, port)
    chosen = bundle.artifact(artifact).name
    if fallback:
        bundle.artifact(fallback)  # better refused now than when it is needed
    if bundle.artifact(chosen).runtime != "onnxruntime-cpu":  # which is always here
        from serving.predictor import load_predictor

        chosen = load_predictor(bundle.folder, artifact=artifact, fallback=fallback).artifact.name
    log.info("serving %s %s, %s, on http://%s:%d", bundle.manifest.name, bundle.manifest.version, chosen, host, port)
    service = SERVICES[bundle.manifest.input.modality]
    arguments = [sys.executable, "-m", "bentoml", "serve", service, "--arg", f"bundle={bundle.folder}", "--arg", f"artifact={chosen}"]
    arguments += ["--arg", f"fallback={fallback}"] if fallback else []
    arguments += ["--host", host, "--port", str(port), "--working-dir", str(Path(serving.__file__).parent.parent)]
    os.execve(sys.executable, arguments, os.environ | {"BENTOML_DO_NOT_TRACK": "True"})  # noqa: S606 - no shell is wanted


def _refuse_taken(host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise GraftError(f"{host}:{port}: cannot be listened on ({error.strerror}). Choose another with --port or --host.") from error
