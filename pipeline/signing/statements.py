"""The two statements that are signed: which files a folder holds, and what its receipts prove."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from pydantic import ConfigDict, Field

from pipeline.files.records import Record
from serving.model.bundle import Bundle
from serving.model.envelope import (
    FILES_PREDICATE,
    RECEIPTS_PREDICATE,
    SIGNATURE_FILE,
    STATEMENT_TYPE,
    root_digest,
)
from serving.model.files import FileRef
from serving.model.receipt import read_receipt
from serving.model.records import Check, Machine


class Digest(Record):
    """A SHA-256 in hexadecimal."""

    sha256: str


class Subject(Record):
    """A file that a statement is about."""

    name: str
    digest: Digest


class Proof(Record):
    """What one receipt proves, in short.

    Attributes:
        artifact: Name of the artifact, such as ``onnx-fp32``.
        runtime: What runs it.
        precision: Its precision.
        receipt: The file of the receipt.
        machine: The machine that it was measured on.
        checks: Each figure beside its limit.
    """

    artifact: str
    runtime: str
    precision: str
    receipt: Subject
    machine: Machine
    checks: tuple[Check, ...]


class Model(Record):
    """The model, and what it was made from; each hash is a SHA-256 in hexadecimal."""

    name: str
    version: str
    recipe_sha256: str
    data_sha256: str
    weights_sha256: str
    checkpoint_sha256: str


class Receipts(Record):
    """The receipts of a bundle: each artifact predicts what the checkpoint predicts, within these limits."""

    model: Model
    receipts: tuple[Proof, ...]


class ReceiptsStatement(Record):
    """The statement about the receipts, whose subjects are the files that a runtime reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(default=STATEMENT_TYPE, alias="_type")
    subject: tuple[Subject, ...]
    predicateType: Literal["https://graft-ml/receipts/v1"] = RECEIPTS_PREDICATE  # noqa: N815 - in-toto's name
    predicate: Receipts

    def to_bytes(self) -> bytes:
        """Return the statement as UTF-8 JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


def state_receipts(bundle: Bundle, images: Sequence[str] = ()) -> ReceiptsStatement:
    """Return the statement about the receipts of a bundle, which has been opened and is thereby proven.

    Args:
        bundle: The bundle.
        images: SHA-256, in hexadecimal, of the manifests of the image that carries it, if one does. They
            become subjects too, by which others find the statement of an image.
    """
    manifest = bundle.manifest
    lineage = manifest.lineage.model_dump(exclude={"versions"})
    files = {ref.file: ref for artifact in manifest.artifacts for ref in artifact.files()}
    proofs = []
    for artifact in manifest.artifacts:
        assert artifact.receipt is not None, "a bundle that is open has receipts"
        receipt = read_receipt(bundle.path_of(artifact.receipt))
        proofs.append(
            Proof(
                artifact=artifact.name,
                runtime=artifact.runtime,
                precision=artifact.precision,
                receipt=_subject(artifact.receipt),
                machine=receipt.machine,
                checks=receipt.checks,
            )
        )
    return ReceiptsStatement(
        subject=(
            *(_subject(ref) for ref in files.values()),
            *(Subject(name="oci-image", digest=Digest(sha256=sha256)) for sha256 in images),
        ),
        predicate=Receipts(
            model=Model(name=manifest.name, version=manifest.version, **lineage), receipts=tuple(proofs)
        ),
    )


def state_files(name: str, digests: Mapping[str, str], ignored: Sequence[str] = ()) -> bytes:
    """Return the statement of the OpenSSF Model Signing format about the files of a folder.

    Args:
        name: What the folder is called, for people.
        digests: SHA-256 of each file but the signature, in hexadecimal, by its path in the folder.
        ignored: Other files that are not covered, which a verifier then leaves out too.
    """
    ordered = {path: digests[path] for path in sorted(digests, key=PurePosixPath)}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root_digest(ordered)}}],
        "predicateType": FILES_PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE, *ignored],
            },
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in ordered.items()
            ],
        },
    }
    return json.dumps(statement, separators=(",", ":")).encode()


def _subject(ref: FileRef) -> Subject:
    return Subject(name=ref.file, digest=Digest(sha256=ref.sha256))
