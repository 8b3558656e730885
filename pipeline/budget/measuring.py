"""The work of ``graft budget``: the image is written, looked into and tried, and its figures are judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.budget.contents import read_contents
from pipeline.budget.figures import judge_contents, judge_trial, judge_untried
from pipeline.budget.junit import require_place, write_junit
from pipeline.budget.records import BudgetRecord, Figure
from pipeline.budget.trial import Inputs, try_image
from pipeline.budget.vulnerabilities import Known, Vulnerability, find_vulnerabilities
from pipeline.errors import GraftError, IsolationError
from pipeline.files.layout import RunFolder
from pipeline.files.records import write_record
from pipeline.files.samples import evenly, read_samples
from pipeline.machine.settings import cpu_name
from pipeline.package.container.layout import open_layout
from pipeline.run.package import package_for
from pipeline.run.runner import Run
from serving.model.bundle import open_bundle
from serving.model.inputs.registry import find_kind

SAMPLES = 64
RECORD = "budget.json"


def measure_budget(run: Run, dumps: Sequence[Path], junit: Path | None) -> BudgetRecord:
    """Measure a run's image against the limits of its recipe, and write ``budget/budget.json``.

    Args:
        run: The run, whose bundle is proven.
        dumps: Known vulnerabilities as OSV offers them.
        junit: The file of JUnit's XML; None for none.

    Raises:
        GraftError: The image or the XML cannot be written, or a dump cannot be read.
    """
    if junit is not None:
        require_place(junit)
    package_for(run, "oci")
    layout, limits = run.folder.image, run.recipe.budget
    contents = read_contents(layout)
    known = find_vulnerabilities(contents, dumps) if dumps else None
    figures = [*judge_contents(contents, known, limits), *_try(run, layout)]
    record = BudgetRecord(
        image=open_layout(layout).digest,
        machine=cpu_name(),
        figures=tuple(figures),
        vulnerabilities=_describe(known),
    )
    write_record(run.folder.budget / RECORD, record)
    if junit is not None:
        write_junit(junit, run.recipe.name, record)
    return record


def _try(run: Run, layout: Path) -> list[Figure]:
    """Return the figures of a trial; without a value where none is possible here, or where it failed."""
    kind = find_kind(open_bundle(run.folder.bundle).manifest.input.modality)
    try:
        return judge_trial(try_image(layout, kind, _read_inputs(run.folder)), run.recipe.budget)
    except IsolationError as error:
        return judge_untried(str(error), run.recipe.budget)
    except GraftError as error:
        return judge_untried(str(error), run.recipe.budget, failed=True)


def _read_inputs(run: RunFolder) -> Inputs:
    """Return the bytes of some samples of the test split, evenly over all of it, or why there are none."""
    try:
        samples = [sample for sample in read_samples(run) if sample.split == "test"]
        chosen = tuple(samples[index].read() for index in evenly(len(samples), SAMPLES))
    except (GraftError, OSError) as error:
        return Inputs((), f"no sample can be sent: {error}")
    return Inputs(chosen, "" if chosen else "no sample can be sent: the test split is empty")


def _describe(known: Known | None) -> tuple[str, ...]:
    return tuple(map(_line, known.vulnerabilities)) if known else ()


def _line(found: Vulnerability) -> str:
    mended = f"mended in {found.fixed}" if found.fixed else "not mended yet"
    return f"{found.id}: {found.package} {found.version}, {mended}. {found.summary}"
