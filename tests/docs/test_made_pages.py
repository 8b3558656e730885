"""What the pages have from the code is what the code says today."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from types import ModuleType

import pytest
from pydantic import BaseModel

from tests.conftest import ROOT


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("generate")


@pytest.fixture
def tables(generate: ModuleType) -> ModuleType:
    return importlib.import_module("recipe_tables")


def fields_of(section: type[BaseModel], place: str = "") -> Iterator[str]:
    """Every key of a section, dotted, by its JSON schema: another way than the script's."""
    schema = section.model_json_schema(by_alias=True)

    def walk(node: dict, place: str) -> Iterator[str]:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        for inner in (node.get("additionalProperties"), *node.get("anyOf", ()), *node.get("allOf", ())):
            if isinstance(inner, dict):
                yield from walk(inner, f"{place}*." if inner is node.get("additionalProperties") else place)
        for name, inner in node.get("properties", {}).items():
            yield f"{place}{name}"
            yield from walk(inner, f"{place}{name}.")

    yield from walk(schema, place)


@pytest.mark.parametrize("page", ["recipe.md", "commands.md", "install.md", "adr/README.md"])
def test_page_is_what_the_script_makes(generate: ModuleType, page: str) -> None:
    assert set(generate.PAGES) == {"recipe.md", "commands.md", "install.md", "adr/README.md"}
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert generate.make_page(page) == written, "run: python docs/generate.py"


def test_every_key_of_every_recipe_is_in_a_table_and_nothing_else(tables: ModuleType) -> None:
    parts = tables.parts()
    for kind, recipe in tables.recipe_classes().items():
        documented = re.findall(r"^\| `([\w.*]+)` \|", parts["common"] + "\n" + parts[kind], re.MULTILINE)
        sections = {
            name for name in fields_of(recipe) if "." not in name and f"{name}." in " ".join(documented)
        }
        assert sorted(documented) == sorted(set(fields_of(recipe)) - sections)


def test_every_key_has_a_type_and_a_meaning(tables: ModuleType) -> None:
    for recipe in tables.recipe_classes().values():
        for key in tables.keys_of(recipe):
            assert key.kind, key.name
            assert key.meaning.endswith((".", ")")), key.name


def test_keys_of_refuses_a_key_without_a_description(tables: ModuleType) -> None:
    class Bare(BaseModel):
        """A section.

        Attributes:
            told: A key with a description.
        """

        told: int = 1
        untold: int = 2

    with pytest.raises(ValueError, match="`untold` has no line under Attributes:"):
        list(tables.keys_of(Bare))


def test_every_command_stands_on_the_page_of_commands() -> None:
    from pipeline.cli.main import COMMANDS

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^### graft (\w+)$", page, re.MULTILINE) == list(COMMANDS)
    assert all(f"| `graft {name}" in page for name in COMMANDS)


def test_replace_part_refuses_a_page_without_the_place(generate: ModuleType) -> None:
    with pytest.raises(ValueError, match="other: 0 places"):
        generate.replace_part("<!-- made: one -->\n<!-- end: one -->\n", "other", "text")
