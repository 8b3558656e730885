"""What the registry of kinds says when something is wrong with one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import GraftError, RecipeError
from pipeline.modalities import registry
from pipeline.modalities.registry import find_modality, list_modalities, modules_of
from pipeline.recipe.reading import load_recipe
from pipeline.run.fingerprints import hash_code
from serving.model.inputs.registry import find_kind
from tests.conftest import make_folder, run_graft
from tests.kinds.installing import ROWS, Points, install

Install = Callable[..., Path]
SERVED = {"row": "graft_rows.served:ROW"}


def forget() -> None:
    find_modality.cache_clear()
    find_kind.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "graft_rows"]:
        del sys.modules[name]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install the rows' package with some entry points, for this process."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    forget()

    def put(points: Points = ROWS, name: str = "graft-rows") -> Path:
        return install(folder, points, name)

    yield put
    forget()


def test_own_kinds_are_light() -> None:
    code = (
        "import sys\nfrom pipeline.modalities.registry import find_modality, list_modalities\n"
        "assert [find_modality(name).name for name in list_modalities()] == ['image', 'text']\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'timm', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_list_modalities_names_own_kinds_first(installed: Install) -> None:
    installed()
    assert list_modalities() == ["image", "text", "row"]
    assert find_modality("row").recipe.own_keys() == ["row"]


def test_modules_of_names_what_makes_up_an_own_kind() -> None:
    assert modules_of("image") == (
        "pipeline.modalities.image.modality",
        "serving.model.inputs.image.kind",
        "pipeline.modalities.image.training",
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("graft_rows.recipe:RowRecipe", "is not the modality `row`, but is a ModelMetaclass"),
        ("pipeline.modalities.text.modality:TEXT", "is not the modality `row`, but is called `text`"),
        ("graft_rows.modality:NOTHING", "cannot be loaded from graft_rows.modality:NOTHING"),
        ("no_such_module:ROW", r"cannot be loaded from no_such_module:ROW \(No module named"),
    ],
)
def test_find_modality_refuses_what_is_no_modality(installed: Install, value: str, message: str) -> None:
    installed({"graft.modalities": {"row": value}, "graft.inputs": SERVED})
    with pytest.raises(GraftError, match=message):
        find_modality("row")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def (", r"cannot be loaded from graft_rows\.training \("),
        ("raise ValueError('no such device')", "no such device"),
        ("import graft_rows.missing", r"No module named 'graft_rows\.missing'"),
        ("UNIT = 'rows'", r"is not whole: graft_rows\.training lacks DYNAMIC_AXES"),
    ],
)
def test_load_refuses_what_cannot_train(installed: Install, content: str, message: str) -> None:
    (installed() / "graft_rows" / "training.py").write_text(content)
    modality = find_modality("row")
    with pytest.raises(GraftError, match=message):
        modality.load()


def test_load_names_a_library_that_is_not_installed(installed: Install) -> None:
    (installed() / "graft_rows" / "training.py").write_text("import no_such_library")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        find_modality("row").load()


def test_fingerprint_names_a_kind_whose_code_cannot_be_read(installed: Install) -> None:
    (installed() / "graft_rows" / "training.py").write_text("def (")
    hash_code.cache_clear()
    with pytest.raises(GraftError, match=r"The code of .*graft_rows.* cannot be read"):
        hash_code(*modules_of("row"))


def test_find_modality_refuses_a_kind_that_is_not_served(installed: Install) -> None:
    installed({"graft.modalities": ROWS["graft.modalities"]})
    with pytest.raises(GraftError, match=r"can be trained but not served\. No installed package brings"):
        find_modality("row")


def test_find_modality_refuses_two_packages_of_one_name(installed: Install) -> None:
    installed()
    installed({"graft.modalities": {"row": "other_rows.modality:ROW"}}, "other-rows")
    with pytest.raises(
        GraftError, match=r"Several installed packages bring the modality `row` \(entry points"
    ):
        find_modality("row")


def test_find_modality_lists_what_is_here_when_nobody_brings_it() -> None:
    with pytest.raises(GraftError, match=r"No installed package brings the modality `tune`.*: image, text\."):
        find_modality("tune")


def test_no_package_replaces_an_own_kind(installed: Install) -> None:
    installed({"graft.modalities": {"image": "graft_rows.modality:ROW"}})
    assert find_modality("image") is registry.OWN[0].load()
    assert list_modalities() == ["image", "text"]


def test_load_says_what_a_training_module_lacks(installed: Install) -> None:
    folder = installed()
    training = folder / "graft_rows" / "training.py"
    training.write_text(
        training.read_text().replace("def longest_axes", "def axes").replace("UNIT =", "WHAT =")
    )
    with pytest.raises(GraftError, match=r"graft_rows\.training lacks UNIT, longest_axes"):
        find_modality("row").load()


def test_load_recipe_lists_the_kinds_that_are_installed(installed: Install, tmp_path: Path) -> None:
    installed()
    path = tmp_path / "recipe.yaml"
    path.write_text("modality: tune\n")
    with pytest.raises(RecipeError, match="modality: is 'tune'; known are image, text, row"):
        load_recipe(path)
    path.write_text("name: x\nmodality: row\ndata: {source: t.csv}\nrow: {colums: 3}\n")
    with pytest.raises(RecipeError, match=r"row\.columns: is required\n.*did you mean `columns`"):
        load_recipe(path)


def test_init_names_a_kind_that_cannot_be_loaded_and_asks_the_others(tmp_path: Path) -> None:
    pictures = make_folder(tmp_path / "pictures", per_label=2)
    broken = install(tmp_path / "p", {"graft.modalities": {"row": "no_such_module:ROW"}})
    done = run_graft("init", pictures, "--output", tmp_path / "r.yaml", env={"PYTHONPATH": str(broken)})
    assert "4 samples (image) of 2 labels" in done.stdout
    assert "`row` is not asked: The modality `row` cannot be loaded from no_such_module:ROW" in done.stderr
