"""The recipe's section ``tracking``: no password, and nothing that a result depends on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import yaml

from pipeline.errors import RecipeError
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import hash_recipe, load_recipe, parse_recipe
from pipeline.run.fingerprints import find_dependencies
from pipeline.run.stages import STAGES
from tests.conftest import recipe_document

PASSWORD = "s3cret-word"


def write_recipe(folder: Path, tracking: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_document(Path("x"), Path("w"), tracking=tracking)))
    return path


@pytest.mark.parametrize(
    "tracking",
    [
        {"mlflow": {"uri": f"http://graft:{PASSWORD}@host:5000"}},
        {"mlflow": {"uri": f"https://{PASSWORD}@host"}},
        {"mlflow": {"uri": f"postgresql://graft:{PASSWORD}@host/db"}},
        {"mlflow": {"uri": f"postgresql://graft:{PASSWORD}@[host/db"}},
        {"mlflow": {"uri": f"postgresql://graft@127.0.0.1:1/db?password={PASSWORD}"}},
        {"mlflow": {"uri": f"http://host/?Token={PASSWORD}"}},
        {"mlflow": {"uri": f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{PASSWORD}"}},
        {"mlflow": {"uri": [f"http://host/?api-key={PASSWORD}"]}},
        {"mlflow": f"http://graft:{PASSWORD}@host:5000"},
        {"mlflow": {"url": f"http://graft:{PASSWORD}@host:5000"}},
        {"mlflow": {"uri": [f"http://graft:{PASSWORD}@host"]}},
    ],
)
def test_a_password_is_refused_without_being_repeated(tracking: object, tmp_path: Path) -> None:
    done = refusal_of(write_recipe(tmp_path, tracking))
    assert "tracking.mlflow" in done
    assert PASSWORD not in done


def refusal_of(recipe: Path) -> str:
    """The message with which the recipe is refused, as the command shows it."""
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe)
    assert PASSWORD not in "".join(traceback.format_exception(error.value)), "graft --debug shows it"
    return str(error.value)


def test_a_recipe_that_is_no_yaml_shows_no_password(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"tracking: {{mlflow: {{uri: 'http://me:{PASSWORD}@host\n")
    assert PASSWORD not in refusal_of(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("uri", ["./mlruns", "file:///mlruns", "sqlite:///", "mlflow.db", "databricks"])
def test_what_is_no_address_is_refused_with_what_is(uri: str, tmp_path: Path) -> None:
    assert "sqlite:///mlflow.db" in refusal_of(write_recipe(tmp_path, {"mlflow": {"uri": uri}}))


def test_places_count_from_the_recipe(tmp_path: Path) -> None:
    tracking = load_recipe(
        write_recipe(tmp_path, {"tensorboard": "boards", "mlflow": {"uri": "sqlite:///m.db"}})
    ).tracking
    assert tracking.tensorboard == str(tmp_path / "boards")
    assert tracking.mlflow.uri == f"sqlite:///{tmp_path}/m.db"


def test_no_result_depends_on_it(tiny_run: Path) -> None:
    folder = RunFolder(tiny_run)
    recipe = load_recipe(folder.recipe)
    document = recipe.model_dump(mode="json", by_alias=True)
    document["tracking"] = {"tensorboard": True, "mlflow": {"uri": "http://host", "experiment": "x"}}
    other = parse_recipe(document)
    assert hash_recipe(other) == hash_recipe(recipe)
    for stage in STAGES:
        before, after = (find_dependencies(stage, each, folder, {}) for each in (recipe, other))
        assert after == before


def test_a_run_without_it_imports_neither_package(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for arguments in (["--help"], ["run", str(run)]):
        imported = imported_by(arguments)
        assert "pipeline.cli.main" in imported
        assert not imported & {"mlflow", "tensorboard"}, arguments


def imported_by(arguments: list[str]) -> set[str]:
    script = (
        "import sys, atexit; atexit.register(lambda: print('MODULES', *sys.modules)); "
        "from pipeline.cli.main import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("MODULES"))
    return set(line.split()[1:])
