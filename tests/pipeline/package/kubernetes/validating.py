"""Strict checks of manifests, offline.

Kubernetes' own kinds are checked by `kubernetes-validate`, which has the schemas of each release. KServe's
kinds are checked by the fields of its own Python models (`kserve.json`), and what a pod has in them as the
pod that it becomes. Those of KEDA and of the Prometheus Operator are checked by the fields of their Go types
(`operators.json`), KEDA's behaviour as that of the autoscaler that it becomes. What a trigger for Prometheus
takes, and in which ranges, no schema says: it stands below, as KEDA's documentation has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

RELEASES = ("1.30", "1.33", "1.37")  # the oldest that has a preStop's sleep, one between, the newest
FIELDS: Mapping[str, Any] = {
    name: fields
    for source in ("kserve.json", "operators.json")
    for name, fields in json.loads((Path(__file__).parent / source).read_text())["types"].items()
}
OPERATED = {
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
}
PLAIN = {"str": str, "int": int, "bool": bool}
POD_FIELDS = (
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "imagePullSecrets",
    "securityContext",
    "terminationGracePeriodSeconds",
    "volumes",
)


def closed(required: tuple[str, ...], **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


STRING, NUMBER = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
BEHAVIOURS = ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]
SCALED = {
    "type": "object",
    "properties": {
        "minReplicaCount": NUMBER,
        "maxReplicaCount": NUMBER,
        "pollingInterval": NUMBER,
        "fallback": {"properties": {"replicas": NUMBER, "behavior": {"enum": BEHAVIOURS}}},
        "triggers": {
            "type": "array",
            "minItems": 1,
            "items": closed(
                ("type", "metadata"),
                type={"const": "prometheus"},
                metricType={"enum": ["AverageValue", "Value"]},
                metadata=closed(
                    ("serverAddress", "query", "threshold"),
                    serverAddress=STRING, query=STRING, threshold=STRING, ignoreNullValues=STRING,
                ),
            ),
        },
    },
}  # fmt: skip


def read_manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """All manifests of a folder by their kind, without kustomizations."""
    documents = [
        yaml.safe_load(path.read_text())
        for path in folder.rglob("*.yaml")
        if path.name != "kustomization.yaml"
    ]
    return {document["kind"]: document for document in documents}


def validate(manifest: Mapping[str, Any], releases: tuple[str, ...] = RELEASES) -> None:
    """Raise for whatever a cluster would refuse or drop."""
    kind = manifest["kind"]
    if manifest["apiVersion"].startswith("serving.kserve.io"):
        version = "V1alpha1" if manifest["apiVersion"].endswith("v1alpha1") else "V1beta1"
        validate_kserve(manifest, version + kind, releases)
    elif (manifest["apiVersion"], kind) in OPERATED:
        check_fields(manifest, kind, kind)
        validate_metadata(manifest, releases)
        if kind == "ScaledObject":
            jsonschema.validate(manifest["spec"], SCALED)
            behavior = manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
            validate_scaling(behavior, releases)
    else:
        for release in releases:
            kubernetes_validate.validate(dict(manifest), release, strict=True)


def validate_metadata(manifest: Mapping[str, Any], releases: tuple[str, ...]) -> None:
    validate({"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]}, releases)


def validate_scaling(behavior: object, releases: tuple[str, ...]) -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "any"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "any"},
            "maxReplicas": 1,
            "behavior": behavior,
        },
    }
    validate(scaler, releases)


def validate_kserve(manifest: Mapping[str, Any], kind: str, releases: tuple[str, ...]) -> None:
    check_fields(manifest, kind, manifest["kind"])
    validate_metadata(manifest, releases)
    spec = manifest["spec"].get("predictor", manifest["spec"])
    pod = {key: spec[key] for key in POD_FIELDS if key in spec}
    pod.setdefault("containers", [{"name": "kserve-container", "image": "any"}])
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": pod}, releases)


def check_fields(value: Any, kind: str, place: str) -> None:
    """Raise ValueError for a field that a type does not have, lacks, or has with another type."""
    if kind in PLAIN or kind.startswith("list["):
        if type(value) is not PLAIN.get(kind, list):
            raise ValueError(f"{place}: {value!r} is no {kind}")
        for index, item in enumerate(value if isinstance(value, list) else []):
            check_fields(item, kind[5:-1], f"{place}[{index}]")
    elif kind in FIELDS:
        unknown = value.keys() - FIELDS[kind]["fields"].keys()
        missing = set(FIELDS[kind]["required"]) - value.keys()
        if unknown or missing:
            raise ValueError(f"{place}: has no field {sorted(unknown)}, and lacks {sorted(missing)}")
        for key, item in value.items():
            check_fields(item, FIELDS[kind]["fields"][key], f"{place}.{key}")
