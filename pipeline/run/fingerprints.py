"""Fingerprints of stages: one hash over everything that a stage's result depends on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.modalities.registry import modules_of
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Absent, Stage
from pipeline.run.imports import import_closure, package_of, source_path

CODE_SUFFIXES = frozenset({".py", ".pyc", ".so"})


@dataclass(frozen=True)
class Dependencies:
    """Everything that a stage's result depends on.

    Attributes:
        code: SHA-256, in hexadecimal, of the source files of its work.
        inputs: What it depends on besides; what is not on this machine is as the stage's record has it.
        absent: Names of the inputs that are not on this machine, with what is missing.
    """

    code: str
    inputs: Mapping[str, object]
    absent: Mapping[str, Absent]

    def fingerprint(self, stage: str) -> str:
        """Return the SHA-256, in hexadecimal, of a stage's name and all of this."""
        document = {"stage": stage, "code": self.code, "inputs": self.inputs}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def find_dependencies(
    stage: Stage, recipe: Recipe, run: RunFolder, recorded: Mapping[str, object]
) -> Dependencies:
    """Look at everything that a stage's result depends on.

    Args:
        stage: The stage.
        recipe: The run's recipe.
        run: The run's folder.
        recorded: The inputs with which the stage was carried out, for what is not on this machine.

    Raises:
        GraftError: An input is not on this machine, and the record does not have it.
    """
    inputs = stage.inputs(recipe, run)
    absent = {name: value for name, value in inputs.items() if isinstance(value, Absent)}
    for name, value in absent.items():
        if name not in recorded:
            raise GraftError(f"{value.what}. {value.remedy}")
    code = hash_code(*roots_of(stage, recipe.modality))
    known = {name: recorded[name] if name in absent else value for name, value in inputs.items()}
    return Dependencies(code, known, absent)


def roots_of(stage: Stage, kind: str) -> tuple[str, ...]:
    """Return the dotted names of the modules whose import closure is the code of a stage.

    Args:
        stage: The stage.
        kind: Name of the recipe's kind of input.
    """
    return (stage.module, *(modules_of(kind) if stage.depends_on_kind else ()))


@functools.cache
def hash_code(*roots: str) -> str:
    """Return the SHA-256, in hexadecimal, of the source files that some modules are made of.

    It is computed once in a process, whose modules do not change while it runs.

    Args:
        roots: Dotted names of modules, each counted with everything that it imports.

    Raises:
        GraftError: A module of a plug-in is missing or is no Python.
    """
    try:
        files = code_files(import_closure(*roots))
    except (ImportError, SyntaxError) as error:
        raise GraftError(f"The code of {', '.join(roots)} cannot be read ({error}).") from error
    digest = hashlib.sha256()
    for label, path in sorted(files.items()):
        digest.update(label.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def code_files(modules: Iterable[str]) -> dict[str, Path]:
    """Return the files that some modules are made of, by their path from their top-level package's parent.

    These are their sources, and whatever lies beside them that a source names, such as a template or a table.

    Args:
        modules: Dotted names.
    """
    files: dict[str, Path] = {}
    for module in modules:
        if path := source_path(module):
            label, source = package_of(module).replace(".", "/"), path.read_bytes()
            resources = (other for other in _resources_in(path.parent) if other.name.encode() in source)
            files |= {f"{label}/{file.name}": file for file in (path, *resources)}
    return files


@functools.cache
def _resources_in(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in folder.iterdir() if path.is_file() and path.suffix not in CODE_SUFFIXES)
