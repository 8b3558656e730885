"""The walls inside `serving`.

There are few rooms and few arrows, and no file imports itself by a way round.
"""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp

MOST_ROOMS = 13
MOST_ARROWS = 35


def room_of(module: str) -> str:
    """A child of `serving`, or of its largest wing, the server."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1:2] == ["server"] else 2])


def test_serving_has_few_rooms_and_few_arrows() -> None:
    graph = grimp.build_graph("serving", cache_dir=None)
    modules = {module for module in graph.modules if module not in {"serving", "serving.server"}}
    arrows = {
        (room_of(module), room_of(imported))
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module)
        if imported in modules and room_of(module) != room_of(imported)
    }
    rooms = {room_of(module) for module in modules}
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)
    assert len(arrows) <= MOST_ARROWS, sorted(arrows)
    print(f"{len(rooms)} rooms, {len(arrows)} arrows")  # noqa: T201 - with -s


def test_serving_has_no_circle_of_files_deferred_imports_included() -> None:
    graph = grimp.build_graph("serving", cache_dir=None)
    sorter = TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    sorter.prepare()  # raises CycleError, which names the circle
