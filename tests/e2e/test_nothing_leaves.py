"""Nothing that Graft starts talks to other machines or writes under HOME.

This holds whatever the defaults of the libraries are.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, recipe_document
from tests.e2e.namespace import Command, Heard, listen_to, why_not

pytestmark = pytest.mark.slow
# ONNX Runtime 1.31 looks up its maker's collector 8 to 9 s after it was imported.
SECONDS = 20
CONTROL = "control.example"
PORTS = {
    "service": 20111,
    "read-only": 20112,
    "bento": 20113,
}  # of a namespace of their own, in which nobody else listens


@dataclass(frozen=True)
class Place:
    """Where commands find what they need, and where each has its own HOME."""

    base: Path
    bundle: Path
    recipe: Path
    bento: str

    def home(self, name: str) -> Path:
        return self.base / "homes" / name

    def command(self, name: str, *arguments: object, ready: str | None = None) -> Command:
        """A command with nothing in its environment but where to keep things."""
        self.home(name).mkdir(parents=True)
        environment = {
            "HOME": self.home(name),
            "GRAFT_CACHE": self.base / "cache",
            "BENTOML_HOME": self.base / "bentoml",
        }
        texts = {key: str(value) for key, value in environment.items()}
        return Command((sys.executable, *map(str, arguments)), texts, str(self.base / f"{name}.log"), ready)


def start_service(place: Place, name: str) -> Command:
    port = PORTS[name]
    return place.command(
        name, "-m", "serving", place.bundle, "--port", port, ready=f"http://127.0.0.1:{port}/readyz"
    )


def start_bento(place: Place, name: str) -> Command:
    """Start a service of a store that is a copy.

    BentoML reports the start and writes beside the store unless it is told not to.
    """
    port, store = PORTS[name], place.base / "bentoml-with-bento"
    shutil.copytree(os.environ["BENTOML_HOME"], store)
    arguments = ("-m", "bentoml", "serve", place.bento, "--port", port)
    command = place.command(name, *arguments, ready=f"http://127.0.0.1:{port}/readyz")
    return replace(command, environment=command.environment | {"BENTOML_HOME": str(store)})


def carry_out_recipe(place: Place, name: str) -> Command:
    return place.command(name, "-m", "pipeline.cli", "run", place.recipe, "--run", place.base / "run")


def examine_machine(place: Place, name: str) -> Command:
    """It tries every runtime that is installed, OpenVINO included."""
    return place.command(name, "-m", "pipeline.cli", "doctor")


def use_library(place: Place, name: str) -> Command:
    script = (
        "from pathlib import Path; from serving.model.predictor import load_predictor; import sys, time; "
    )
    script += f"load_predictor(Path(sys.argv[1])); time.sleep({SECONDS})"
    return place.command(name, "-c", script, place.bundle)


def speak(place: Place, name: str) -> Command:
    """What must be heard, or the listener is deaf."""
    script = "import socket, sys; s = socket.socket(); sys.exit(s.connect_ex((sys.argv[1], 4430)) == 0)"
    return place.command(name, "-c", script, CONTROL)


COMMANDS: dict[str, Callable[[Place, str], Command]] = {
    "service": start_service,
    "read-only": start_service,
    "bento": start_bento,
    "run": carry_out_recipe,
    "doctor": examine_machine,
    "library": use_library,
    "control": speak,
}


@pytest.fixture(scope="module")
def place(
    tiny_run: Path, pictures: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    base = tmp_path_factory.mktemp("nothing-leaves")
    recipe = base / "recipe.yaml"
    tracking = {"tensorboard": True, "mlflow": {"uri": "sqlite:///mlflow.db"}}
    recipe.write_text(yaml.safe_dump(recipe_document(pictures, tiny_weights, tracking=tracking)))
    bento = json.loads((tiny_run / "package" / "bento.json").read_text())["bento"]
    return Place(base, tiny_run / "bundle", recipe, bento)


@pytest.fixture(scope="module")
def heard(place: Place) -> Heard:
    """All commands side by side, each with a HOME of its own."""
    reason = why_not()
    if reason:
        pytest.skip(f"no namespaces here: {reason}")
    commands = [make(place, name) for name, make in COMMANDS.items()]
    return listen_to(commands, SECONDS, read_only=[place.home("read-only")])


def test_commands_do_their_work(heard: Heard, place: Place) -> None:
    logs = {name: (place.base / f"{name}.log").read_text()[-2000:] for name in COMMANDS}
    assert dict(zip(COMMANDS, heard.exit_codes, strict=True)) == dict.fromkeys(COMMANDS, 0), logs


def test_nothing_but_the_control_is_heard(heard: Heard) -> None:
    assert {name for _, name in heard.names} == {CONTROL}
    assert [target for _, target in heard.targets] == ["tcp 10.9.9.9:4430"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "read-only"])
@pytest.mark.usefixtures("heard")
def test_home_stays_empty(name: str, place: Place) -> None:
    assert [str(path) for path in place.home(name).rglob("*")] == []


@pytest.mark.usefixtures("heard")
def test_plots_keep_their_fonts_in_the_cache(place: Place) -> None:
    assert list((place.base / "cache" / "matplotlib").iterdir())


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("name", ["service", "read-only"])
def test_log_of_a_service_is_json_even_where_home_is_read_only(name: str, place: Place) -> None:
    lines = [json.loads(line) for line in (place.base / f"{name}.log").read_text("ascii").splitlines()]
    assert lines
    assert all("logger" in line for line in lines)


def imports_of(path: Path) -> Iterator[str]:
    """The modules that a file imports, those for type checkers left out."""
    tree = ast.parse(path.read_bytes())
    checked = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    skipped = {id(node) for block in checked for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) not in skipped and isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif id(node) not in skipped and isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("package", ["serving", "pipeline"])
def test_no_file_imports_onnxruntime_directly(package: str) -> None:
    """Its telemetry is on unless `load_onnxruntime`, which sets a variable first, is what imports it."""
    files = sorted((ROOT / package).rglob("*.py"))
    found = {
        str(file.relative_to(ROOT))
        for file in files
        for name in imports_of(file)
        if name.split(".")[0] == "onnxruntime"
    }
    assert found == set()
