"""What a Bento holds: a bundle, the artifact that it serves by default, and the packages that it needs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pipeline.package.bento.carried import carried_files, find_bentofile, find_requirements
from pipeline.package.bento.describing import ACCELERATED, write_readme, write_service
from serving.model.bundle import Bundle
from serving.model.envelope import SIGNATURE_FILE
from serving.model.inputs.registry import find_kind
from serving.model.manifest import Artifact

SERVICE_FILE, README = "service.py", "README.md"


@dataclass(frozen=True)
class Content:
    """The content of a Bento.

    Attributes:
        bundle: The bundle.
        artifacts: The artifacts whose runtimes' packages the Bento brings; by default all of the bundle's.
        served: The artifact that it serves where its operator names none; by default the bundle's own choice.
    """

    bundle: Bundle
    artifacts: tuple[Artifact, ...] = ()
    served: Artifact | None = None

    def has_service(self) -> bool:
        """Return whether BentoML has a service for the bundle's kind of input."""
        return find_kind(self.bundle.manifest.input.modality).bento_service is not None

    def model_tag(self) -> str:
        """Return the tag of the bundle in the store of models."""
        return f"{self.bundle.manifest.name}:{version_of(self.bundle)}"

    def bento_tag(self) -> str:
        """Return the tag of the Bento, whose version is a hash over all that it holds."""
        context = [self.requirements().encode(), find_bentofile().read_bytes()]
        context += [path.read_bytes() for path in carried_files()]
        # One of a target serves what its name says; the others are told apart by their requirements.
        context += [self.served.name.encode()] if self.served else []
        # The README names this very tag, and is hashed without it.
        context += [text.encode() for text in self._texts("", self.model_tag()).values()]
        digest = hashlib.sha256(b"\0".join(context)).hexdigest()
        return f"{self.model_tag()}-{digest[:8]}"

    def files(self, model_tag: str) -> dict[str, str]:
        """Return the texts of the files that are written for this Bento alone, by their path in it."""
        return self._texts(self.bento_tag(), model_tag)

    def _texts(self, bento_tag: str, model_tag: str) -> dict[str, str]:
        artifact = self.served or self.bundle.artifact()
        return {
            SERVICE_FILE: write_service(self.bundle, artifact),
            README: write_readme(self.bundle, artifact, bento_tag, model_tag),
        }

    def requirements(self) -> str:
        """Return what the service needs: the tested set, and what its artifacts and its signature add."""
        lines = find_requirements().read_text(encoding="utf-8").splitlines()
        artifacts = self.artifacts or self.bundle.manifest.artifacts
        runtimes = {artifact.runtime for artifact in artifacts}
        if "openvino-cpu" in runtimes:
            lines += _read_pins("openvino")
        if runtimes & ACCELERATED:
            # The two packages of onnxruntime own one module, so that only one of them may be installed.
            lines = [line.replace("onnxruntime==", "onnxruntime-gpu[cuda,cudnn]==") for line in lines]
        plans = sorted({artifact.plan.tensorrt_version for artifact in artifacts if artifact.plan})
        if plans:
            # A plan is bound to the version that built it; two in one bundle are of one machine.
            lines += [f"tensorrt-cu13=={plans[-1]}", *_read_pins("tensorrt")]
        if (self.bundle.folder / SIGNATURE_FILE).is_file():  # which GRAFT_TRUSTED_KEYS can ask for
            lines += _read_pins("signing")
        return "\n".join(lines) + "\n"


def version_of(bundle: Bundle) -> str:
    """Return the version of a bundle's content.

    It is the version of the model, followed by a hash over the files and the settings if there is more than
    the fp32 file. The environment that made them is no part of it: the same run gives the same tags wherever
    it gives the same weights.
    """
    parts = [f"{artifact.name} {artifact.sha256}" for artifact in bundle.manifest.artifacts[1:]]
    parts += [bundle.defaults.model_dump_json()] if bundle.defaults else []
    more = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6] if parts else ""
    return bundle.manifest.version + more


def _read_pins(part: str) -> list[str]:
    """Return the lines of the requirements that a runtime or a signature adds."""
    path = find_requirements().with_name(f"requirements-{part}.txt")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]
