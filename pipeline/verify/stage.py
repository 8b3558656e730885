"""The stage ``verify``: the proof without which there is no bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline.artifacts.candidates import read_candidates
from pipeline.artifacts.checkpoint import CheckpointCard, read_card
from pipeline.artifacts.formats import SOURCE
from pipeline.artifacts.publishing import Contents, publish
from pipeline.artifacts.states import Decided, read_states, write_states
from pipeline.errors import GateFailedError, GraftError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.measures.reference import read_reference
from pipeline.recipe.sections import Recipe
from pipeline.verify.judge import Judge, Verdict
from pipeline.verify.receipt import Claim, Evidence
from pipeline.verify.report import render_receipts
from serving.model.errors import ServingError
from serving.model.files import FileRef, hash_file
from serving.model.inputs.registry import open_preprocessor
from serving.model.manifest import Manifest, hash_labels

log = logging.getLogger("graft")
REFERENCE_FILE = "reference.npz"
Verdicts = Mapping[str, Verdict]


def verify(recipe: Recipe, run: RunFolder) -> None:
    """Compare each candidate with the checkpoint on the test split, and build the bundle of what passes.

    Args:
        recipe: The run's recipe.
        run: The run's folder, in which ``verify/`` and ``bundle/`` are each replaced in one step.

    Raises:
        GateFailedError: The fp32 file misses a limit. The receipt says which; there is then no bundle.
        ProviderError: The fp32 file cannot be run here.
    """
    card = read_card(run.checkpoint)
    judge = prepare(recipe, run, card)
    try:
        source = judge.load(SOURCE)
    except ServingError:
        _withdraw(run)
        raise
    verdicts: dict[str, Verdict] = {SOURCE: judge.judge_source(source)}
    if verdicts[SOURCE].proven is None:
        _reject(recipe, run, verdicts)
    log.info("verify: %s", verdicts[SOURCE].state.why)
    for name in recipe.export.further:
        verdicts[name] = judge.judge(name, source)
        log.info("verify: %s: %s", name, verdicts[name].state.to_text())
    _write_findings(recipe, run, verdicts)
    publish(_gather(recipe, run, card, judge, verdicts), run.bundle)
    atomic.remove_folder(run.benchmark)  # it was measured on the bundle before


def prepare(recipe: Recipe, run: RunFolder, card: CheckpointCard) -> Judge:
    """Gather everything that the candidates of a run are judged by.

    Args:
        recipe: The run's recipe.
        run: The run's folder.
        card: The checkpoint's card.

    Raises:
        GraftError: The reference is of another test split than the run's.
    """
    reference = read_reference(run.reference)
    originals = {sample.sha256: sample for sample in read_samples(run)}
    tested = [sample.sha256 for sample in originals.values() if sample.split == "test"]
    if tested != list(reference.test.sha256):
        raise GraftError(
            f"{run.reference}: is of another test split than {run.samples}. "
            f"Evaluate again: graft evaluate {run.root} --force"
        )
    candidates = read_candidates(run.made)
    return Judge(
        run,
        recipe.export,
        candidates,
        open_preprocessor(card.input, run.checkpoint),
        Claim(card.input.modality, card.labels, hash_file(run.reference), candidates.lineage),
        Evidence(reference, {sha256: originals[sha256] for sha256 in reference.samples()}),
        _read_decided(run),
    )


def _read_decided(run: RunFolder) -> dict[str, Decided]:
    """Read what the verification before found of each artifact's speed, if it can be read."""
    try:
        states = read_states(run.artifacts)
    except GraftError:  # there was none, or it was of another release
        return {}
    return {name: state.decided for name, state in states.items() if state.decided}


def _reject(recipe: Recipe, run: RunFolder, verdicts: Verdicts) -> None:
    """Keep the receipt of an fp32 file that fails, and leave no bundle."""
    _withdraw(run)
    _write_findings(recipe, run, verdicts)
    raise GateFailedError(
        f"{run.model}: does not predict what the checkpoint predicts: {verdicts[SOURCE].state.why}. "
        f"Nothing is packaged. The receipt is {run.receipt_of(SOURCE)}; "
        f"export again: graft export {run.root} --force"
    )


def _withdraw(run: RunFolder) -> None:
    """Remove an earlier bundle, which holds another model than the one that failed, and its benchmark."""
    for stale in (run.bundle, run.benchmark):
        atomic.remove_folder(stale)


def _write_findings(recipe: Recipe, run: RunFolder, verdicts: Verdicts) -> None:
    """Write what became of each artifact, as a page and as JSON, and the receipts that are in no bundle."""
    states = {name: verdict.state for name, verdict in verdicts.items()}
    receipts = [verdict.receipt for verdict in verdicts.values() if verdict.receipt]
    with atomic.folder(run.verification) as folder:
        for verdict in verdicts.values():
            if verdict.receipt and not verdict.proven:
                path = folder / run.refused.name / f"{verdict.receipt.artifact}.json"
                atomic.write_bytes(path, verdict.receipt.to_bytes())
        page = render_receipts(recipe.name, states, receipts)
        atomic.write_bytes(folder / run.proof.name, page.encode())
        write_states(folder / run.artifacts.name, states)


def _gather(
    recipe: Recipe, run: RunFolder, card: CheckpointCard, judge: Judge, verdicts: Verdicts
) -> Contents:
    """Gather the contents of the bundle from what passed."""
    proven = [verdict.proven for verdict in verdicts.values() if verdict.proven]
    manifest = Manifest(
        name=recipe.name,
        version=judge.candidates.version,
        labels=card.labels,
        labels_sha256=hash_labels(card.labels),
        input=card.input,
        artifacts=tuple(each.artifact for each in proven),
        reference=FileRef(file=REFERENCE_FILE, sha256=judge.claim.reference_sha256),
        lineage=judge.candidates.lineage,
    )
    files: dict[str, Path] = {ref.file: run.checkpoint / ref.file for ref in card.input.files()}
    return Contents(manifest, proven, files | {REFERENCE_FILE: run.reference})
