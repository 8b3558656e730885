"""The judgement of a candidate: it is loaded as it would be served, measured, and kept if it is worth it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.artifacts.candidates import Candidates
from pipeline.artifacts.formats import FORMATS, SOURCE
from pipeline.artifacts.limits import LIMITS, Limits, limits_for
from pipeline.artifacts.publishing import Proven
from pipeline.artifacts.states import Basis, Decided, State
from pipeline.files.layout import RunFolder
from pipeline.recipe.sections import Export, Format
from pipeline.verify.checks import allowances, failures
from pipeline.verify.decision import SpeedVerdict, decide, describe
from pipeline.verify.receipt import Claim, Evidence, build_receipt
from pipeline.verify.speed import measure_speedup
from serving.model.errors import ServingError
from serving.model.files import hash_file
from serving.model.inputs.item import Preprocessor
from serving.model.manifest import Artifact
from serving.model.receipt import Receipt
from serving.model.records import Made
from serving.model.scorer import Scorer, load_scorer


@dataclass(frozen=True)
class Verdict:
    """The verdict on a candidate.

    Attributes:
        state: Whether the candidate is published, and why.
        receipt: Its receipt; None if it was not run.
        proven: The artifact for the bundle; None if it is not published.
    """

    state: State
    receipt: Receipt | None = None
    proven: Proven | None = None


@dataclass(frozen=True)
class Judge:
    """Everything that a candidate of a run is judged by.

    Attributes:
        run: The run's folder.
        export: The recipe's section ``export``.
        candidates: The record of how the model files were made.
        preprocessor: The preprocessor of the model's input.
        claim: The labels, the reference and the lineage that the candidates claim to have.
        evidence: The reference and the samples that the candidates are compared on.
        decided: What earlier verifications found of the candidates' speed, by their names; by default
            nothing.
    """

    run: RunFolder
    export: Export
    candidates: Candidates
    preprocessor: Preprocessor
    claim: Claim
    evidence: Evidence
    decided: Mapping[str, Decided] = field(default_factory=dict)

    def load(self, name: Format) -> Scorer:
        """Load a candidate as it would be served, on one thread.

        Raises:
            ServingError: It cannot be run here.
        """
        served = FORMATS[name]
        made = self._made(name)
        artifact = Artifact(
            name=name,
            file=served.file,
            sha256=hash_file(self.run.candidates / served.file),
            runtime=served.runtime,
            precision=served.precision,
            max_batch_size=made.max_batch_size,
            plan=made.plan,
            tensors=made.tensors,
        )
        return load_scorer(self.run.candidates, artifact, self.preprocessor)

    def judge_source(self, scorer: Scorer) -> Verdict:
        """Judge the fp32 file, whose speed every other one is compared with.

        Args:
            scorer: The fp32 artifact, loaded.
        """
        receipt = build_receipt(scorer, self.claim, self.evidence, LIMITS["fp32"], made=self._made(SOURCE))
        if not receipt.passed:
            return Verdict(State(published=False, why="; ".join(failures(receipt))), receipt)
        return self._publish(scorer, receipt, State(published=True, why=_describe_agreement(receipt)))

    def judge(self, name: Format, source: Scorer) -> Verdict:
        """Judge a further format, which is published if it keeps to its limits and is faster than fp32.

        Args:
            name: The format.
            source: The fp32 artifact, on one thread.
        """
        made = self._made(name)
        if made.because:
            return Verdict(State(published=False, why=made.because))
        try:
            scorer = self.load(name)
        except ServingError as error:
            return Verdict(State(published=False, why=f"it cannot be run: {error.message}"))
        limits, changed = limits_for(scorer.artifact.precision, self.export.limits.get(name))
        receipt = build_receipt(scorer, self.claim, self.evidence, limits, made=made, changed=changed)
        if receipt.measured.does_not_run is not None:
            reason = f"it does not run: {receipt.measured.does_not_run}"
            return Verdict(State(published=False, why=reason), receipt)
        return self._weigh(scorer, receipt, self._time(source, scorer, receipt, limits))

    def _time(self, source: Scorer, scorer: Scorer, receipt: Receipt, limits: Limits) -> SpeedVerdict:
        """Measure the speed of a candidate, and decide whether it suffices."""
        samples = list(self.evidence.originals.values())
        speedup = measure_speedup(source, scorer, samples, limits.min_speedup)
        basis = _basis_of(source, scorer, receipt)
        return decide(speedup, limits.min_speedup, basis, self.decided.get(scorer.artifact.name))

    def _weigh(self, scorer: Scorer, receipt: Receipt, speed: SpeedVerdict) -> Verdict:
        reasons = failures(receipt)
        if reasons and speed.suffices:
            reasons[-1] += f" ({describe(speed.speedup)})"
        if not speed.suffices:
            reasons.append(speed.why)
        if reasons:
            return Verdict(_state(speed, published=False, why="; ".join(reasons)), receipt)
        why = "; ".join([f"{_describe_agreement(receipt)}, {speed.why}", *allowances(receipt)])
        return self._publish(scorer, receipt, _state(speed, published=True, why=why))

    def _publish(self, scorer: Scorer, receipt: Receipt, state: State) -> Verdict:
        return Verdict(state, receipt, Proven(scorer.artifact, receipt, self.run.candidates))

    def _made(self, name: Format) -> Made:
        """Return how a format's file was made; if the format was not exported, that it has no file."""
        missing = Made(because="it was not exported. Export again: graft export RUN --force")
        return self.candidates.files.get(FORMATS[name].file, missing)


def _describe_agreement(receipt: Receipt) -> str:
    return f"{receipt.measured.agreeing} of {receipt.measured.samples} answers agree"


def _state(speed: SpeedVerdict, *, published: bool, why: str) -> State:
    return State(published=published, why=why, speedup=speed.speedup, decided=speed.decided)


def _basis_of(source: Scorer, scorer: Scorer, receipt: Receipt) -> Basis:
    """Return what a comparison of two artifacts on this machine holds for."""
    return Basis(
        files=tuple(ref.sha256 for ref in scorer.artifact.files()),
        source_files=tuple(ref.sha256 for ref in source.artifact.files()),
        cpu=receipt.machine.cpu,
        gpu=receipt.machine.gpu,
        runtimes=(source.session.in_use.runtime, scorer.session.in_use.runtime),
    )
