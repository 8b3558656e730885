"""A further artifact into the bundle, if its receipt passes and it is worth it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts.formats import FORMATS
from pipeline.artifacts.limits import limits_for
from pipeline.artifacts.states import State
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.measures.reference import Reference
from pipeline.recipe.sections import Export, Format
from pipeline.verify.receipt import allowances, build_receipt, failures
from pipeline.verify.scoring import Originals
from pipeline.verify.speed import measure_speedup
from serving.model.bundle import Bundle, open_bundle
from serving.model.errors import ServingError
from serving.model.files import hash_file
from serving.model.manifest import MANIFEST_FILE, Artifact, ReceiptRef
from serving.model.predictor import Predictor, warm
from serving.model.runtimes.opening import open_session
from serving.model.runtimes.plan import Plan, require_match


@dataclass(frozen=True)
class Publisher:
    """What every artifact of a run is judged with.

    Attributes:
        run: The run, whose bundle holds the proven fp32 artifact.
        export: The recipe's section.
        source: The fp32 artifact's predictor, on one thread.
        originals: The samples of the reference.
        reference: What the checkpoint answers.
    """

    run: RunFolder
    export: Export
    source: Predictor
    originals: Originals
    reference: Reference

    def publish(self, name: Format) -> State:
        """Measure an artifact, and put it into the bundle when it keeps to its limits and is faster than fp32."""
        how = self._how(name)
        if how.get("because"):
            return State(published=False, why=how["because"])
        bundle = open_bundle(self.run.bundle)
        place = self._place(name)
        artifact = self._describe(name, place, how)
        try:
            if artifact.plan:
                require_match(place.parent, artifact.plan)
            session = open_session(place, artifact.runtime, artifact.precision)
            predictor = warm(Predictor(bundle, self.source.preprocessor, artifact, session))
        except ServingError as error:
            return State(published=False, why=f"it cannot be run: {error.message}")
        return self._judge(bundle, predictor, place, how)

    def _how(self, name: Format) -> dict[str, Any]:
        """How its file was made; nothing of the file that is the bundle's already."""
        found: dict[str, Any] = json.loads(self.run.made.read_bytes()).get(FORMATS[name].file, {})
        return found

    def _place(self, name: Format) -> Path:
        made = self.run.candidates / FORMATS[name].file
        return made if made.is_file() else self.run.bundle / FORMATS[name].file

    @staticmethod
    def _describe(name: Format, place: Path, how: dict[str, Any]) -> Artifact:
        served = FORMATS[name]
        return Artifact(
            name=name,
            file=served.file,
            sha256=hash_file(place),
            runtime=served.runtime,
            precision=served.precision,
            max_batch_size=how.get("max_batch_size"),
            plan=Plan.model_validate(how["plan"]) if "plan" in how else None,
        )

    def _judge(self, bundle: Bundle, predictor: Predictor, place: Path, how: dict[str, Any]) -> State:
        artifact = predictor.artifact
        limits, changed = limits_for(artifact.precision, self.export.limits.get(artifact.name))  # type: ignore[call-overload]
        receipt = build_receipt(predictor, self.originals, self.reference, limits)
        receipt |= {"made": how, "limits_set_by_recipe": changed}
        if "does_not_run" in receipt:
            return self._refuse(receipt, [f"it does not run: {receipt['does_not_run']}"])
        receipt["speedup"] = speedup = measure_speedup(self.source, predictor, list(self.originals.values()))
        reasons = failures(receipt)
        if speedup["median"] < limits.min_speedup:
            reasons.append(f"it is not {limits.min_speedup:g} times as fast as onnx-fp32")
        if reasons:
            return self._refuse(receipt, reasons)
        enter(bundle, artifact, receipt, place)
        allowed = allowances(receipt)
        why = f"{receipt['agreeing']} of {receipt['samples']} answers agree, {_said(speedup)}"
        return State(published=True, why=f"{why}; {'; '.join(allowed)}" if allowed else why, speedup=speedup)

    def _refuse(self, receipt: dict[str, Any], reasons: Sequence[str]) -> State:
        atomic.write_json(self.run.refused / f"{receipt['artifact']}.json", receipt)
        speedup = receipt.get("speedup")
        return State(
            published=False,
            why="; ".join(reasons) + (f" ({_said(speedup)})" if speedup else ""),
            speedup=speedup,
        )


def _said(speedup: dict[str, float]) -> str:
    return (
        f"{speedup['median']:.2f} [{speedup['low']:.2f}, {speedup['high']:.2f}] times as fast, on one thread"
    )


def enter(bundle: Bundle, artifact: Artifact, receipt: dict[str, Any], place: Path) -> None:
    """Write an artifact's file and receipt into a bundle, then name them in its manifest."""
    target = bundle.path_of(artifact)
    if place != target:
        atomic.write_bytes(target, place.read_bytes())
        if artifact.plan:
            atomic.write_bytes(
                bundle.path_of(artifact.plan), (place.parent / artifact.plan.file).read_bytes()
            )
    name = f"receipts/{artifact.name}.json"
    atomic.write_json(bundle.folder / name, receipt)
    ref = ReceiptRef(file=name, sha256=hash_file(bundle.folder / name), passed=receipt["passed"])
    others = tuple(other for other in bundle.manifest.artifacts if other.name != artifact.name)
    proven = artifact.model_copy(update={"receipt": ref})
    artifacts = (proven, *others) if artifact.name == bundle.manifest.artifacts[0].name else (*others, proven)
    manifest = bundle.manifest.model_copy(update={"artifacts": artifacts})
    atomic.write_json(bundle.folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
