"""The stage ``verify``: the proof without which nothing is published."""

from __future__ import annotations

import json
import logging
import shutil

from pipeline.artifacts.checkpoint import read_card
from pipeline.artifacts.formats import SOURCE
from pipeline.artifacts.limits import LIMITS
from pipeline.artifacts.states import State
from pipeline.errors import GateFailedError, GraftError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.measures.reference import Reference, read_reference
from pipeline.recipe.sections import Recipe
from pipeline.verify.publish import Publisher, enter
from pipeline.verify.receipt import build_receipt, failures
from pipeline.verify.report import render_receipts
from pipeline.verify.scoring import Originals
from serving.model.bundle import open_bundle
from serving.model.manifest import DEFAULTS_FILE, MANIFEST_FILE
from serving.model.predictor import Predictor, load_predictor

log = logging.getLogger("graft")


def verify(recipe: Recipe, run: RunFolder) -> None:
    """Compare each artifact with the checkpoint on the whole test split; write the receipts, and publish what passes.

    Raises:
        GateFailedError: The fp32 artifact misses a limit. The receipt says which; the bundle stays
            unservable.
    """
    reference = read_reference(run.reference)
    originals = {sample.sha256: sample for sample in read_samples(run)}
    tested = [sample.sha256 for sample in originals.values() if sample.split == "test"]
    if tested != list(reference.test.sha256):
        raise GraftError(
            f"{run.reference}: is of another test split than {run.samples}. Evaluate again: graft evaluate {run.root} --force"
        )
    shutil.rmtree(run.artifacts.parent, ignore_errors=True)  # what an earlier verification found
    predictor = _open_source(run)
    states: dict[str, State] = {SOURCE: _prove_source(recipe, run, predictor, originals, reference)}
    publisher = Publisher(
        run,
        recipe.export,
        predictor,
        {sha256: originals[sha256] for sha256 in reference.samples()},
        reference,
    )
    for name in recipe.export.further:
        states[name] = publisher.publish(name)
        log.info("verify: %s: %s", name, states[name].to_text())
    _report(recipe, run, states)


def _report(recipe: Recipe, run: RunFolder, states: dict[str, State]) -> None:
    """What became of each artifact, as a page and as JSON."""
    receipts = [json.loads(path.read_bytes()) for name in states if (path := run.receipt_of(name))]
    atomic.write_bytes(run.proof, render_receipts(recipe.name, states, receipts).encode())
    atomic.write_json(run.artifacts, {name: state.to_json() for name, state in states.items()})


def _open_source(run: RunFolder) -> Predictor:
    """The bundle as the export left it: one artifact, without a receipt and without a benchmark's advice."""
    bundle = open_bundle(run.bundle, require_receipts=False)
    source = bundle.manifest.artifacts[0].model_copy(update={"receipt": None})
    (run.bundle / DEFAULTS_FILE).unlink(missing_ok=True)
    atomic.write_json(
        run.bundle / MANIFEST_FILE,
        bundle.manifest.model_copy(update={"artifacts": (source,)}).model_dump(mode="json"),
    )
    for artifact in bundle.manifest.artifacts[1:]:  # only now, when nothing names them any more
        for ref in (artifact, artifact.plan):
            if ref and ref.file != source.file:
                bundle.path_of(ref).unlink(missing_ok=True)  # several artifacts may share a file
    for stale in (run.bundle / "receipts", run.benchmark):
        shutil.rmtree(stale, ignore_errors=True)
    predictor = load_predictor(run.bundle, artifact=SOURCE, require_receipts=False)
    card = read_card(run.checkpoint)
    if (predictor.manifest.labels, predictor.manifest.input) != (card.labels, card.input):
        raise GraftError(
            f"{run.bundle}: labels or input are not the checkpoint's. Export again: graft export {run.root} --force"
        )
    return predictor


def _prove_source(
    recipe: Recipe, run: RunFolder, predictor: Predictor, originals: Originals, reference: Reference
) -> State:
    receipt = build_receipt(predictor, originals, reference, LIMITS["fp32"])
    bundle = open_bundle(run.bundle, require_receipts=False)
    enter(bundle, bundle.manifest.artifacts[0], receipt, run.model)
    if not receipt["passed"]:
        _report(recipe, run, {SOURCE: State(published=False, why="; ".join(failures(receipt)))})
        raise GateFailedError(
            f"{run.model}: does not predict what the checkpoint predicts: {'; '.join(failures(receipt))}. "
            f"Nothing is packaged. The receipt is {run.receipt}; export again: graft export {run.root} --force"
        )
    log.info(
        "verify: %d of %d answers agree, max abs %.1e",
        receipt["agreeing"],
        receipt["samples"],
        receipt["max_abs_logits"],
    )
    return State(published=True, why=f"{receipt['agreeing']} of {receipt['samples']} answers agree")
