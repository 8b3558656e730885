"""What a module imports, found in its source alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.run.imports import import_closure, source_path

FILES = {
    "{name}/__init__.py": "raise RuntimeError('importing a plug-in takes long, and must not happen')",
    "{name}/work.py": """
        from typing import TYPE_CHECKING
        import typing
        import numpy as np, {name}.plain
        import {name}.renamed as other
        from {name} import module, VALUE
        from {name}.names import NAME
        from . import beside
        from .inner.deep import thing
        from .inner import *
        from serving.model.errors import ServingError
        if TYPE_CHECKING:
            from {name} import only_checked
        else:
            import {name}.at_run_time
        if typing.TYPE_CHECKING:
            import {name}.only_checked_too
        try:
            import {name}.tried
        except ImportError:
            import {name}.instead
        finally:
            import {name}.last
        async def work(value):
            match value:
                case 1:
                    with value:
                        from {name} import in_function
            class Local:
                import {name}.in_class
        """,
    "{name}/inner/__init__.py": "from {name} import by_parent",
    "{name}/inner/deep.py": "from ..module import x",
    "{name}/space/leaf.py": "import {name}.last",
    "{name}_other/__init__.py": "",
}
MODULES = (
    "plain", "renamed", "module", "names", "beside", "at_run_time", "tried", "instead", "last", "in_function",
    "in_class", "by_parent", "only_checked", "only_checked_too", "never",
)  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a package that nobody has imported."""
    name = f"plugin_{request.node.name}"
    for template, text in {**FILES, **{f"{{name}}/{module}.py": "" for module in MODULES}}.items():
        path = tmp_path / template.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.replace("{name}", name).split("\n        ")
        path.write_text("\n".join(lines).strip())
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_import_closure_follows_every_import_that_can_be_carried_out(plugin: str) -> None:
    found = import_closure(f"{plugin}.work")
    expected = {*MODULES, "work", "inner", "inner.deep"} - {"only_checked", "only_checked_too", "never"}
    own = {module.removeprefix(f"{plugin}.") for module in found if module.startswith(f"{plugin}.")}
    assert own == expected
    assert found - {f"{plugin}.{name}" for name in expected} == {
        plugin, "serving", "serving.model", "serving.model.errors",
    }  # fmt: skip
    assert plugin not in sys.modules


def test_import_closure_leaves_out_other_packages_that_no_root_is_of(plugin: str) -> None:
    assert not any(name.startswith("numpy") for name in import_closure(f"{plugin}.work"))
    assert "pipeline" not in import_closure(f"{plugin}.work")


def test_import_closure_passes_through_a_folder_without_an_init(plugin: str) -> None:
    found = import_closure(f"{plugin}.space.leaf")
    assert found == {plugin, f"{plugin}.space", f"{plugin}.space.leaf", f"{plugin}.last"}
    assert source_path(f"{plugin}.space") is None


@pytest.mark.parametrize("name", ["pipeline.data.stagee", "no_such_package", "no_such_package.module"])
def test_import_closure_refuses_a_root_that_does_not_exist(name: str) -> None:
    """It would count as code that never changes."""
    with pytest.raises(ModuleNotFoundError, match=name.rpartition(".")[2]):
        import_closure(name)
