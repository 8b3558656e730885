"""The stage ``data``: what its result depends on, and the files that it leaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files.layout import RunFolder
from pipeline.files.sources import HUB, SOURCE_KEY, SourceMissingError, hash_files, locate
from pipeline.machine.versions import versions_of
from pipeline.modalities.modality import Modality
from pipeline.modalities.registry import find_modality
from pipeline.recipe.data import Data
from pipeline.recipe.reading import section_json, without_places
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Absent, Inputs, Stage

if TYPE_CHECKING:
    from pipeline.data.labelled import Labelled


def _inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    """Return the recipe's section, without places, and a hash over what every example is and holds."""
    modality = find_modality(recipe.modality)
    return {
        "section": section_json(without_places(recipe).data),
        "input": modality.content(recipe).settings,
        "seed": recipe.seed,
        "examples": _hash_examples(recipe.data, run, modality),
        "kept_splits": _hash_kept(recipe.data),
        "versions": versions_of(*modality.packages),
    }


def _hash_kept(data: Data) -> str | Absent | None:
    """Return a hash of the tables of the earlier run whose splits are kept; None where there is none."""
    if data.splits.keep is None:
        return None
    table = Path(data.splits.keep)
    tables = [table, table.with_name("contents.csv")]
    if not all(path.is_file() for path in tables):
        return Absent(f"data.splits.keep: {table} or its contents.csv is not there", "Correct the path.")
    return json.dumps(hash_files(tables))


def _hash_examples(data: Data, run: RunFolder, modality: Modality) -> str | Absent:
    """Return a hash over the names, labels and contents of all examples, wherever they lie.

    Contents of files come from the run's record of them, as long as the files are as they were.
    """
    from pipeline.data.intake import read_labelled
    from pipeline.data.paths import FilesElsewhereError
    from pipeline.data.states import hash_unchanged

    try:
        examples = read_labelled(data, modality).examples
    except SourceMissingError as error:
        return Absent(error.what, error.remedy)
    except FilesElsewhereError:
        if not run.samples.is_file():
            raise
        return _files_elsewhere(data)
    tables = _folder_of_tables(data)
    files = {
        name: path for name, path in (_file_of(example, tables) for example in examples) if path is not None
    }
    hashes = hash_unchanged(files, run.states)
    if files and not hashes and run.samples.is_file():  # the recipe skips what is missing, which is not all
        return _files_elsewhere(data)
    digest = hashlib.sha256()
    for example in examples:
        content = hashes.get(_file_of(example, tables)[0], "")
        digest.update(_line(example, content or _own_content(example)))
    return digest.hexdigest()


def _files_elsewhere(data: Data) -> Absent:
    return Absent(
        f"data.source: none of the files that {data.source} names is there",
        "Name the folder that they are in now: --data-root DIR",
    )


def _folder_of_tables(data: Data) -> Path | None:
    """Return the folder that the names of tables count from; None for a data set of the hub."""
    if data.source.startswith(HUB):
        return None
    source = locate(data.source, SOURCE_KEY)
    return source if source.is_dir() else source.parent


def _file_of(example: Labelled, tables: Path | None) -> tuple[str, Path | None]:
    """Return the name and path of the file that decides an example's content, if one does.

    For bytes in a table that is the table, since to read every row of it would take too long.
    """
    if example.path is not None:
        return example.source, example.path
    if example.load is not None and tables is not None:
        table = example.source.rpartition(":")[0]
        return table, tables / table
    return "", None


def _own_content(example: Labelled) -> str:
    """Return the text of an example, or a hash of its bytes; nothing for a file that cannot be read."""
    if example.text is not None:
        return example.text
    return hashlib.sha256(example.load()).hexdigest() if example.load is not None else ""


def _line(example: Labelled, content: str) -> bytes:
    told = [example.source, example.label, example.split, example.strata, example.group, example.time]
    return json.dumps([*told, example.probabilities, example.weight, content]).encode()


DATA = Stage(
    name="data",
    work="pipeline.data.stage:prepare_data",
    inputs=_inputs,
    outputs=lambda run: [run.samples, run.contents, run.audit],
)
