"""The configuration of an image: what it runs, as whom, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.package.bento.content import version_of
from pipeline.package.bento.describing import list_labels
from pipeline.package.container.layers import Blob
from pipeline.package.container.locks import hash_debian
from pipeline.package.container.system import USER
from serving.model.bundle import Bundle
from serving.model.manifest import Artifact

MEDIA_TYPE = "application/vnd.oci.image.config.v1+json"
PYTHON = "/usr/bin/python3.11"
PORT = 3000
SECOND_NS = 10**9
ENVIRONMENT = {
    "BENTOML_DO_NOT_TRACK": "True",
    "HOME": "/tmp",  # noqa: S108 - the only folder that can be written, and only if one is mounted
    "LANG": "C.UTF-8",
    "ORT_DISABLE_TELEMETRY": "1",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
}
LAYERS = (
    "packages of Debian, each by its SHA-256",
    "packages of Python, each by its SHA-256, and serving",
    "the bundle",
)


def write_config(bundle: Bundle, artifact: Artifact, layers: Sequence[Blob]) -> bytes:
    """Return the configuration as JSON (OCI image specification, ``config.md``).

    Args:
        bundle: The bundle that is served.
        artifact: The artifact that answers where the operator names none.
        layers: The layers, from the lowest.
    """
    environment = dict(ENVIRONMENT)
    if artifact != bundle.artifact():
        environment["GRAFT_ARTIFACT"] = artifact.name
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
            "Entrypoint": [PYTHON, "-m", "serving"],
            "Cmd": ["/models", "--host", "0.0.0.0"],  # noqa: S104 - a container's own address
            "WorkingDir": "/",
            "Labels": _labels(bundle, artifact),
            "StopSignal": "SIGTERM",
            # Docker's own extension of the specification; Kubernetes has probes instead.
            "Healthcheck": {
                "Test": ["CMD", PYTHON, "-m", "serving.server.process.health"],
                "Interval": 10 * SECOND_NS,
                "Timeout": 5 * SECOND_NS,
                "StartPeriod": 30 * SECOND_NS,
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        "history": [{"created_by": f"graft package --image: {text}"} for text in LAYERS],
    }
    return json.dumps(document, indent=1, sort_keys=True).encode()


def _labels(bundle: Bundle, artifact: Artifact) -> dict[str, str]:
    """Return the labels: those that the image specification predefines, and whole hashes of the lineage."""
    manifest = bundle.manifest
    lineage = {
        f"graft.{name}": value
        for name, value in manifest.lineage.model_dump(mode="json", exclude_none=True).items()
        if isinstance(value, str)
    }
    receipts = {
        f"graft.receipt.{each.name}": each.receipt.sha256 for each in manifest.artifacts if each.receipt
    }
    standard = {
        "org.opencontainers.image.title": manifest.name,
        "org.opencontainers.image.version": version_of(bundle),
        "org.opencontainers.image.description": "A prediction service, proven to predict what was trained.",
    }
    # There is no base image that could be named: the system is packages, which their hashes pin.
    system = {"graft.system": "packages of Debian 12", "graft.system.lock": hash_debian()}
    own = {f"graft.{name}": value for name, value in list_labels(bundle, artifact).items()}
    return own | system | lineage | receipts | standard
