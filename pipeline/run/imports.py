"""The closure of a module's imports, read from the source files without importing any of them."""

from __future__ import annotations

import ast
import functools
import importlib.util
import pkgutil
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

PACKAGES = frozenset({"pipeline", "serving"})


def import_closure(*roots: str) -> frozenset[str]:
    """Follow imports from the given modules, those inside functions included.

    Imports below ``if TYPE_CHECKING:`` are left out, since they are never carried out. What is imported by a
    name that is only known at run time is not seen either: it has to be among the roots.

    Args:
        roots: Dotted names of modules. Imports are followed within ``pipeline``, ``serving``, and the roots'
            own top-level packages.

    Returns:
        Dotted names of all modules that are loaded, the roots and all parent packages included.

    Raises:
        ModuleNotFoundError: One of the roots does not exist.
    """
    scope = PACKAGES | {_top(root) for root in roots}
    loaded, pending = set[str](), set(roots)
    while pending:
        module = pending.pop()
        loaded.add(module)
        parent = {module.rpartition(".")[0]} - {""}
        pending |= (_direct_imports(module, scope) | parent) - loaded
    return frozenset(loaded)


@functools.cache
def find_module(name: str) -> ModuleSpec | None:
    """Find a module without importing it, nor the packages that contain it.

    ``importlib.util.find_spec`` imports the parents of what it looks for, and those of a plug-in may be
    heavy. Each package is therefore looked up in the folder of the one above it.

    Returns:
        The module's spec, or None if there is no such module.
    """
    parent = name.rpartition(".")[0]
    if not parent:
        return importlib.util.find_spec(name)
    package = find_module(parent)
    places = package.submodule_search_locations if package else None
    finders = (pkgutil.get_importer(place) for place in places or ())
    specs = (finder.find_spec(name) for finder in finders if finder)
    return next((spec for spec in specs if spec), None)


def source_path(module: str) -> Path | None:
    """Return the file of a module; None for a namespace package, which has none.

    Raises:
        ModuleNotFoundError: There is no such module.
    """
    spec = find_module(module)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    return Path(spec.origin) if spec.origin and spec.has_location else None


def package_of(module: str) -> str:
    """Return the dotted name of the package whose folder a module's file lies in."""
    spec = find_module(module)
    is_package = spec is not None and spec.submodule_search_locations is not None
    return module if is_package else module.rpartition(".")[0]


@functools.cache
def _direct_imports(module: str, scope: frozenset[str]) -> frozenset[str]:
    """The modules that one names in its import statements, of the packages in ``scope``."""
    path = source_path(module)
    if path is None or path.suffix != ".py":  # a namespace package, or a compiled module of a plug-in's
        return frozenset()
    names = _imported_names(ast.parse(path.read_bytes(), path).body, package_of(module), scope)
    return frozenset(name for name in names if find_module(name))


def _imported_names(body: Sequence[ast.stmt], package: str, scope: frozenset[str]) -> Iterator[str]:
    for statement in _statements(body):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names if _top(alias.name) in scope)
        elif isinstance(statement, ast.ImportFrom):
            relative = "." * statement.level + (statement.module or "")
            origin = importlib.util.resolve_name(relative, package)
            if _top(origin) in scope:
                # What is imported from a package is a module of it, or else a name that the package defines.
                for alias in statement.names:
                    inside = f"{origin}.{alias.name}"
                    yield inside if find_module(inside) else origin


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield all statements, nested ones included, but for those that only a type checker reads.

    Expressions hold no imports. Leaving them out makes this several times as fast as ``ast.walk``.
    """
    for statement in body:
        yield statement
        if not (isinstance(statement, ast.If) and _is_type_checking(statement.test)):
            yield from _statements(getattr(statement, "body", ()))
        for field in ("orelse", "finalbody"):
            yield from _statements(getattr(statement, field, ()))
        for field in ("handlers", "cases"):
            for part in getattr(statement, field, ()):
                yield from _statements(part.body)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _top(module: str) -> str:
    return module.partition(".")[0]
