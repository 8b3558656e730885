"""Fingerprints of stages: one hash over everything that a stage's result depends on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.modalities.registry import modules_of
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Stage
from pipeline.run.imports import import_closure, package_of, source_path

CODE_SUFFIXES = frozenset({".py", ".pyc", ".so"})


def fingerprint(stage: Stage, recipe: Recipe, run: RunFolder) -> str:
    """Return the SHA-256, in hexadecimal, of everything that a stage's result depends on."""
    code = hash_code(*roots_of(stage, recipe.modality))
    document = {"stage": stage.name, "code": code, "inputs": stage.inputs(recipe, run)}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


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
