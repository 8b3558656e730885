"""Nothing of `pipeline` outside the kinds' rooms names a kind, and no file imports itself by a way round."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

from tests.conftest import ROOT

PIPELINE = ROOT / "pipeline"
KINDS = ("image", "text")
ROOMS = [ROOT / side / kind for side in ("pipeline/modalities", "serving/model/inputs") for kind in KINDS]
EXCEPTIONS = {
    ("pipeline/files/samples.py", "text"): "the column of contents.csv that holds cells",
    ("pipeline/machine/extras.py", "text"): "the name of what pip installs for text encoders",
    ("pipeline/modalities/registry.py", "image"): "the list of our own kinds",
    ("pipeline/modalities/registry.py", "text"): "the list of our own kinds",
    ("pipeline/recipe/data.py", "text"): "the default of the column `data.table.text`",
    ("pipeline/data/layouts/names.py", "image"): "a word that people write into the names of folders",
    ("pipeline/data/tables/header.py", "image"): "a usual name of a column",
    ("pipeline/data/tables/header.py", "text"): "a usual name of a column",
    ("pipeline/jobs/opening.py", "image"): "a usual name of a column",
    ("pipeline/jobs/opening.py", "text"): "a usual name of a column",
    (
        "pipeline/package/kubernetes/values.py",
        "image",
    ): "the name that manifests have for what a container is",
    ("pipeline/run/predict.py", "text"): "the key under which `--text` comes back in JSON",
    ("pipeline/tracking/tensorboard.py", "Image"): "the name that TensorBoard has for a plot",
}


def names_of_rooms() -> set[str]:
    """The classes and constants that the kinds' rooms define, and the rooms' own import names."""
    found = {f"pipeline.modalities.{kind}" for kind in KINDS} | {"IMAGE", "TEXT"}
    for path in (path for room in ROOMS for path in room.rglob("*.py")):
        found |= {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
    return found


def names_in(path: Path) -> Iterator[str]:
    """Every identifier, attribute, imported module and string constant of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id if node.id not in KINDS else ""  # a local name says nothing of a kind
        elif isinstance(node, ast.Attribute):
            # `.text` of a sample or a plot says nothing of a kind, but `recipe.text` does.
            yield node.attr if node.attr not in KINDS or "recipe" in ast.unparse(node.value) else ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def named_kinds() -> dict[tuple[str, str], int]:
    """How often each file outside the rooms names each kind."""
    rooms = names_of_rooms()
    found: dict[tuple[str, str], int] = {}
    for path in sorted(PIPELINE.rglob("*.py")):
        if not set(ROOMS).isdisjoint(path.parents):
            continue
        for name in names_in(path):
            room = next((kind for kind in KINDS if name.startswith(f"pipeline.modalities.{kind}.")), None)
            served = next((kind for kind in KINDS if name.startswith(f"serving.model.inputs.{kind}.")), None)
            if name in KINDS or name in rooms or room or served:
                key = path.relative_to(ROOT).as_posix(), room or served or name
                found[key] = found.get(key, 0) + 1
    return found


def test_no_file_outside_the_rooms_names_a_kind() -> None:
    unknown = set(named_kinds()) - set(EXCEPTIONS)
    assert not unknown, sorted(unknown)


def test_every_exception_is_still_needed() -> None:
    found = named_kinds()
    needless = set(EXCEPTIONS) - set(found)
    assert not needless, sorted(needless)


def test_pipeline_has_no_circle_of_files_deferred_imports_included() -> None:
    graph = grimp.build_graph("pipeline", cache_dir=None)
    sorter = TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    sorter.prepare()  # raises CycleError, which names the circle
