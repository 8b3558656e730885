"""What a decoder in a model repository carries: the files of ``serving`` that decode, and their packages."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.package.bento.carried import find_requirements, serving_folder
from serving.model.inputs.kind import InputKind
from serving.model.inputs.registry import GROUP

# Of `serving`, what decoding imports. A test holds this list and the imports together.
CARRIED = ("__init__.py", "model/__init__.py", "model/errors.py", "model/files.py", "model/schemas.py",
           "model/inputs")  # fmt: skip


def copy_code(target: Path) -> None:
    """Copy the files of ``serving`` that decode.

    Args:
        target: The folder that becomes the package ``serving``.
    """
    for name in CARRIED:
        source, place = serving_folder() / name, target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, place)


def list_requirements(kind: InputKind) -> list[str]:
    """List the packages that decode one kind of input, in the versions of the service.

    Those of Graft's own kinds are read from what their files import, that of another is what brings the kind.

    Raises:
        GraftError: The kind is in no installed package.
    """
    package, _, rest = kind.spec.__module__.partition(".")
    if package != serving_folder().name:
        return ["numpy", "pydantic", _find_package(kind)]
    room = serving_folder() / Path(*rest.split(".")).parent
    common = [serving_folder() / name for name in CARRIED]
    files = [*room.glob("*.py"), *(file for place in common for file in [place, *place.glob("*.py")])]
    modules = {name for file in files if file.is_file() for name in _imported(file)}
    distributions = packages_distributions()
    wanted = {name.lower() for module in modules for name in distributions.get(module, ())}
    lines = find_requirements().read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.partition("==")[0].lower() in wanted]


def _imported(file: Path) -> Iterator[str]:
    """Yield the first names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _find_package(kind: InputKind) -> str:
    for point in entry_points(group=GROUP, name=kind.name):
        if point.dist is not None:
            return f"{point.dist.name}=={point.dist.version}"
    raise GraftError(f"The kind of input `{kind.name}` is in no package that Triton's image could install.")
