"""Score labelled data that are no part of a run, through the predictor that the service runs."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from pipeline.data.intake import read_labelled
from pipeline.data.labelled import Labelled
from pipeline.errors import DataError
from pipeline.evaluate.report import Scored, render_score
from pipeline.files import atomic
from pipeline.files.layout import RunFolder, find_bundle
from pipeline.files.samples import read_samples
from pipeline.measures.metrics import measure_answers
from pipeline.modalities.registry import find_modality
from pipeline.recipe.data import Data, Labels, Split
from pipeline.recipe.reading import load_recipe
from pipeline.recipe.sections import Metric
from pipeline.reporting.printable import listing, printable
from pipeline.run.answering import answer_all
from pipeline.run.scored import ScoredPlace, Unread
from serving.model.predictor import Predictor, load_predictor
from serving.model.schemas import ErrorDetail, Prediction

log = logging.getLogger("graft")
METRICS: tuple[str, ...] = get_args(Metric)
SPLITS: tuple[str, ...] = get_args(Split)
RECIPES = {".yaml", ".yml"}
DRAWS = 1000
"""Number of draws behind the interval of the calibration error: the recipe's default."""


@dataclass(frozen=True)
class Wanted:
    """What of the data is scored.

    Attributes:
        split: Name of the one split of the data that is scored; None, the default, for all samples.
        leave_out_unknown: Whether samples with labels that the model does not know are left out and counted;
            by default they are refused.
        report: Path of a page to write; None, the default, for none.
    """

    split: str | None = None
    leave_out_unknown: bool = False
    report: Path | None = None


@dataclass(frozen=True)
class _Answer:
    sha256: str
    outcome: Prediction | Unread


def score_place(run: Path, place: str, wanted: Wanted | None = None) -> ScoredPlace:
    """Score labelled data with the artifact that is served by default. Nothing in the run is written.

    Args:
        run: A run's folder, or a bundle's.
        place: A folder or a table in any layout that a recipe takes, or a recipe, whose section ``data`` says
            where the data are and how they are read. A place that is no recipe is read with the columns and
            the new names of labels of the run's own recipe, where the run has one.
        wanted: What is scored; by default everything.

    Raises:
        BundleError: The bundle must not be served.
        DataError: The data cannot be read, have labels that the model does not know, or leave nothing to
            score.
    """
    wanted = wanted or Wanted()
    predictor = load_predictor(find_bundle(run))
    known = predictor.manifest.labels
    examples = _read(run, place, predictor.manifest.input.modality, wanted.split)
    left_out = Counter(example.label for example in examples if example.label not in known)
    if left_out and not wanted.leave_out_unknown:
        raise DataError(_refuse_unknown(place, left_out, known))
    examples = [example for example in examples if example.label in known]
    answers = _answer(predictor, examples)
    pairs = [
        (example, answer.outcome)
        for example, answer in zip(examples, answers, strict=True)
        if isinstance(answer.outcome, Prediction)
    ]
    unread = [answer.outcome for answer in answers if isinstance(answer.outcome, Unread)]
    if not pairs:
        raise DataError(f"{place}: leaves no sample to score. {_say_lost(left_out, unread)}")
    targets = np.array([known.index(example.label) for example, _ in pairs])
    probabilities = np.array([[found.probabilities[label] for label in known] for _, found in pairs])
    outcome = ScoredPlace(
        place=place,
        model=predictor.info,
        score=measure_answers(probabilities, targets, known, resamples=DRAWS, seed=0),
        left_out=dict(left_out),
        unread=unread,
        seen=_count_seen(run, answers),
    )
    if wanted.report is not None:
        scored = Scored([example for example, _ in pairs], targets, None, probabilities)
        _write_page(wanted.report, outcome, scored, predictor.manifest.input.modality)
    return outcome


def _read(run: Path, place: str, modality: str, split: str | None) -> Sequence[Labelled]:
    """Read the labelled examples of a place, or of one split of it."""
    intake = read_labelled(_section_of(run, place, split), find_modality(modality))
    for remark in intake.remarks:
        log.info("evaluate: %s", remark)
    if split is None:
        return intake.examples
    chosen = [example for example in intake.examples if example.split == split]
    if not chosen:
        named = sorted({example.split for example in intake.examples if example.split})
        raise DataError(
            f"{place}: names no split {split}; it names {', '.join(named) or 'none'}. Leave out --split, or"
            " name a recipe whose section data says where the split stands (data.layout, data.table.split)."
        )
    return chosen


def _section_of(run: Path, place: str, split: str | None) -> Data:
    """Return the section ``data`` that a place is read by."""
    if Path(place).suffix in RECIPES:
        return load_recipe(Path(place)).data
    own = RunFolder(run).recipe
    if not own.is_file():
        return Data(source=place, labels=Labels(on_twins="keep"))
    data = load_recipe(own).data
    # What only trains need not be among the columns of what is scored.
    unused: dict[str, object] = {"probabilities": {}, "weight": None} | ({} if split else {"split": None})
    table = data.table.model_copy(update=unused)
    return Data(
        source=place,
        encoding=data.encoding,
        table=table,
        labels=Labels(rename=data.labels.rename, on_twins="keep"),
        splits=data.splits.model_copy(update={"given": "keep"}),
    )


def _refuse_unknown(place: str, unknown: Mapping[str, int], known: Sequence[str]) -> str:
    """Return the message for labels that the model does not know."""
    lines = [f"{printable(label)}: {count}" for label, count in unknown.items()]
    names = ", ".join(map(printable, known[:20])) + (
        f" and {len(known) - 20} more" if len(known) > 20 else ""
    )
    return (
        f"{place}: has labels that the model does not know:\n{listing(lines)}\n"
        f"It knows {names}. Give them the model's names with data.labels.rename in a recipe, and name that"
        " recipe as --data; or leave these samples out: --leave-out-unknown"
    )


def _say_lost(left_out: Mapping[str, int], unread: Sequence[Unread]) -> str:
    """Return what became of the samples of which none is left."""
    lines = [f"{printable(each.source)}: {each.message}" for each in unread]
    return (
        f"{sum(left_out.values())} have labels that the model does not know,"
        f" {len(unread)} could not be read.\n{listing(lines)}"
    ).rstrip()


def _answer(predictor: Predictor, examples: Sequence[Labelled]) -> list[_Answer]:
    """Answer all examples; one that cannot be read or decoded gets the reason instead."""
    hashes = [""] * len(examples)

    def read(index: int) -> bytes:
        content = examples[index].read()
        hashes[index] = hashlib.sha256(content).hexdigest()
        return content

    found = answer_all(predictor, range(len(examples)), read, what="evaluate", unit="samples")
    return [
        _Answer(sha256, each if isinstance(each, Prediction) else _unread(example, each))
        for example, sha256, each in zip(examples, hashes, found, strict=True)
    ]


def _unread(example: Labelled, error: ErrorDetail) -> Unread:
    return Unread(example.source, error.code, error.message)


def _count_seen(run: Path, answers: Sequence[_Answer]) -> int:
    """Return how many samples trained or selected the model; 0 where the run's samples are not here."""
    folder = RunFolder(run)
    if not (folder.samples.is_file() and folder.contents.is_file()):
        return 0
    used = {sample.sha256 for sample in read_samples(folder) if sample.split != "test"}
    return sum(answer.sha256 in used for answer in answers if isinstance(answer.outcome, Prediction))


def _write_page(path: Path, outcome: ScoredPlace, scored: Scored, kind: str) -> None:
    model = outcome.model
    answered_by = f"{model.artifact} of {model.name} {model.version[:12]}"
    page = render_score(
        model.name, outcome.place, answered_by, outcome.score, scored, outcome.remarks(), kind
    )
    atomic.write_bytes(path, page.encode(errors="backslashreplace"))
