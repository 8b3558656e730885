"""The stage ``data``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pipeline.files.layout import RunFolder
from pipeline.machine.versions import versions_of
from pipeline.modalities.registry import find_modality
from pipeline.recipe.reading import section_json
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Inputs, Stage


def _inputs(recipe: Recipe, _: RunFolder) -> Inputs:
    """Return the recipe's section, and a hash over every file's size and time of change.

    These cost less to read than the contents of the files.
    """
    from pipeline.data.intake import read_labelled

    states, modality = hashlib.sha256(), find_modality(recipe.modality)
    for example in read_labelled(recipe.data, modality).examples:
        content = _file_state(example.path) if example.path is not None else (example.text,)
        line = json.dumps([example.source, example.label, example.strata, *content])
        states.update(line.encode(errors="surrogatepass"))
    return {
        "section": section_json(recipe.data),
        "input": modality.content(recipe).settings,
        "seed": recipe.seed,
        "files": states.hexdigest(),
        "versions": versions_of("scikit-learn", *modality.packages),
    }


def _file_state(path: Path) -> tuple[int, ...]:
    """Return a file's size in bytes and time of change in nanoseconds.

    They are empty for a file that does not exist, which the audit will report.
    """
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns


DATA = Stage(
    name="data",
    work="pipeline.data.stage:prepare_data",
    inputs=_inputs,
    outputs=lambda run: [run.samples, run.contents, run.audit],
)
