"""The walls inside `pipeline`, and sizes, widths, circles and untyped dictionaries in both packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.conftest import ROOT

MOST_ARROWS = 151
MOST_UNTYPED = 1  # `dict[str, Any]` between rooms
MOST_COLUMNS = 110
MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 50

GENERATED = "_pb2.py"  # protoc writes these, in lines of any length
SOURCES = sorted(
    path
    for name in ("pipeline", "serving")
    for path in (ROOT / name).rglob("*.py")
    if not path.name.endswith(GENERATED)
)
EVERYTHING = sorted(
    path
    for name in ("pipeline", "serving", "tests", "benchmarks", "examples")
    for path in (ROOT / name).rglob("*.py")
    if not path.name.endswith(GENERATED)
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Who imports whom, deferred imports included."""
    return grimp.build_graph("pipeline", "serving", exclude_type_checking_imports=True, cache_dir=None)


def room_of(module: str) -> str:
    """The second name of a module's path, with the package's."""
    return ".".join(module.split(".")[:2])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_pipeline_has_few_arrows_between_its_rooms(graph: grimp.ImportGraph) -> None:
    modules = graph.find_descendants("pipeline")
    arrows = {
        (room_of(module), room_of(imported))
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module) & modules
        if room_of(module) != room_of(imported)
    }
    lines = [f"{start} -> {end}" for start, end in sorted(arrows)]
    rooms = {room for arrow in arrows for room in arrow}
    print(f"{len(rooms)} rooms, {len(arrows)} arrows", *lines, sep="\n  ")  # noqa: T201 - with -s
    assert len(arrows) <= MOST_ARROWS, lines


def test_no_file_imports_itself_by_a_way_round(graph: grimp.ImportGraph) -> None:
    sorter = TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    sorter.prepare()  # raises CycleError, which names the circle


def test_pipeline_has_no_loose_module_but_its_errors() -> None:
    assert {path.name for path in (ROOT / "pipeline").glob("*.py")} == {"__init__.py", "errors.py"}


def test_no_line_is_too_wide() -> None:
    wide = [
        f"{name_of(path)}:{number}"
        for path in EVERYTHING
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > MOST_COLUMNS
    ]
    assert wide == []


def test_no_file_is_too_long() -> None:
    long = {
        name_of(path) for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert long == set()


def test_no_function_is_too_long() -> None:
    long = {
        f"{name_of(path)}:{node.name}"
        for path in SOURCES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    }
    assert long == set()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), path)


def test_few_untyped_dictionaries_cross_a_wall(graph: grimp.ImportGraph) -> None:
    found = [
        f"{name_of(path)}: {place}"
        for path in SOURCES
        if is_imported_by_another_room(graph, module_of(path))
        for place in untyped_places(parse(path).body)
    ]
    print(f"{len(found)} dict[str, Any] cross a room's wall", *found, sep="\n  ")  # noqa: T201 - with -s
    assert len(found) <= MOST_UNTYPED, found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_imported_by_another_room(graph: grimp.ImportGraph, module: str) -> bool:
    importers = graph.find_modules_that_directly_import(module)
    return any(room_of(importer) != room_of(module) for importer in importers)


def untyped_places(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """The name of what is annotated with `dict[str, Any]`, for each time that one is visible from outside."""
    for node in body:
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            yield from untyped_places(node.body, f"{owner}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(node.name):
            arguments = ast.walk(node.args)
            for argument in (each for each in arguments if isinstance(each, ast.arg)):
                yield from repeated(f"{owner}{node.name}({argument.arg})", argument.annotation)
            yield from repeated(f"{owner}{node.name}()", node.returns)
        elif isinstance(node, ast.AnnAssign) and is_public(ast.unparse(node.target)):
            yield from repeated(f"{owner}{ast.unparse(node.target)}", node.annotation)
        elif isinstance(node, ast.Assign) and is_public(ast.unparse(node.targets[0])):
            alias = node.value if isinstance(node.value, ast.Subscript) else None  # `Group = dict[str, Any]`
            yield from repeated(f"{owner}{ast.unparse(node.targets[0])}", alias)


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in {"__init__", "__call__", "__getitem__"}


def repeated(place: str, annotation: ast.expr | None) -> Iterator[str]:
    if annotation is not None:
        yield from [place] * ast.unparse(annotation).count("dict[str, Any]")


def test_untyped_dictionaries_are_found_wherever_they_cross() -> None:
    source = """
Alias = dict[str, Any]
value: Mapping[str, dict[str, Any]]
_hidden: dict[str, Any]
def function(
    a: dict[str, Any] | None, *rest: dict[str, Any], **named: dict[str, Any]
) -> list[dict[str, Any]]: ...
def _private(a: dict[str, Any]): local: dict[str, Any] = {}
class Public:
    field: dict[str, Any]
    _field: dict[str, Any]
    async def method(self, a: dict[str, int]) -> dict[str, Any]: ...
class _Private:
    field: dict[str, Any]
"""
    assert list(untyped_places(ast.parse(source).body)) == [
        "Alias", "value", "function(a)", "function(rest)", "function(named)", "function()", "Public.field",
        "Public.method()",
    ]  # fmt: skip
