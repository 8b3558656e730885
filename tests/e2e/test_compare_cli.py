"""``graft compare`` as a user runs it: killed, gone on with, and with a backbone that is not to be had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline.compare.command import Wishes, compare
from pipeline.compare.comparing import Budget
from pipeline.compare.result import Comparison
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.recipe.reading import load_recipe
from pipeline.run.runner import open_run, run_stage
from tests.conftest import ROOT, SIZE_PX, make_folder, recipe_document, run_graft

pytestmark = pytest.mark.slow
OTHER = "test_efficientnet"
SIZES = "25%,50%,100%"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """A recipe, a list of other backbones, and a run whose samples are read."""
    import timm
    import torch
    from safetensors.torch import save_file

    base = tmp_path_factory.mktemp("compare")
    torch.manual_seed(0)
    state = timm.create_model(OTHER).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, base / "other.safetensors")
    pictures = make_folder(base / "pictures", per_label=30)
    document = recipe_document(pictures, tiny_weights)
    document["finetune"] |= {"augment": {"horizontal_flip": False}}
    (base / "recipe.yaml").write_text(yaml.safe_dump(document))
    others = [
        {"backbone": {"name": OTHER, "weights": "other.safetensors"}},
        {"backbone": {"name": "test_vit", "weights": "nowhere.safetensors"}, "image": {"size": SIZE_PX}},
    ]
    (base / "others.yaml").write_text(yaml.safe_dump(others))
    run_stage("data", open_run(base / "recipe.yaml", base / "run"))
    # Whatever the comparison reads, the test split is not among it.
    for sample in read_samples(RunFolder(base / "run")):
        if sample.split == "test":
            (pictures / sample.source).unlink()
    return base


def pieces_of(place: Path) -> dict[str, tuple[int, bytes]]:
    """When each finished piece was written, and its content."""
    folder = place / "run" / "compare" / "pieces"
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("[!.]*.json")}


@pytest.fixture(scope="module")
def found(place: Path) -> Comparison:
    """What is found by a command that was killed after its first pieces, and then repeated."""
    arguments = ["compare", place / "run", "--backbones", place / "others.yaml", "--samples", SIZES, "--json"]
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    killed = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not pieces_of(place) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    before = pieces_of(place)
    assert 1 <= len(before) < 8

    done = run_graft(*arguments)
    after = pieces_of(place)
    # Two costs, two probes, two fine-tunings and two curves, besides a classic model where there is one.
    assert len(after) >= 8
    assert {name: after[name] for name in before} == before
    return Comparison.model_validate_json(done.stdout)


def test_what_is_found_stands_in_a_row_each_and_what_is_not_to_be_had_says_why(found: Comparison) -> None:
    rows = {row.name: row for row in found.rows}
    assert list(rows)[-1] == "test_vit"
    because = rows["test_vit"].because
    assert because is not None
    assert "nowhere.safetensors does not exist" in because
    assert "\n" not in because
    for name in ("test_resnet", OTHER):
        row = rows[name]
        assert row.because is None
        assert row.ms_interval[0] <= row.ms <= row.ms_interval[1]
        assert row.probe_interval[0] <= row.probe_accuracy <= row.probe_interval[1]
        assert row.tuned_epochs == 1
        assert row.onnx_bytes > 3.6 * row.parameters
    assert rows["test_resnet"].is_own
    assert found.more_samples
    assert found.without_transfer.name.startswith("without transfer: ")
    assert 0 <= found.without_transfer.validation_accuracy <= 1
    assert found.transfer.samples == found.validation
    assert found.transfer.against in found.without_transfer.name


def test_nothing_is_done_twice_nor_found_otherwise_when_it_is_repeated(
    place: Path, found: Comparison
) -> None:
    before = pieces_of(place)
    again = compare(place / "run", Wishes(backbones=(str(place / "others.yaml"),), samples=SIZES))
    assert again == found
    assert pieces_of(place) == before
    assert not list((place / "run" / "compare").glob("unfinished-*"))
    kept = (place / "run" / "compare" / "comparison.json").read_bytes()
    assert Comparison.model_validate_json(kept) == found


def test_the_recommended_recipe_is_one_that_run_takes(place: Path, found: Comparison) -> None:
    path = Path(found.recipe)
    recipe = load_recipe(path)
    assert f"Take {recipe.backbone.name}" in path.read_text()
    own = load_recipe(place / "recipe.yaml")
    assert recipe.data == own.data
    assert recipe.finetune == own.finetune
    assert Path(recipe.backbone.weights).is_file()


def test_the_page_holds_everything_itself(found: Comparison) -> None:
    page = Path(found.page).read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http://" not in page
    assert "https://" not in page
    for row in found.rows:
        assert row.name in page


def test_a_budget_leaves_out_what_is_over_it(place: Path, found: Comparison) -> None:
    least = min(row.ms for row in found.rows if row.ms is not None)
    cheap = next(row.name for row in found.rows if row.ms == least)
    wishes = Wishes((str(place / "others.yaml"),), budget=Budget(ms=1.001 * least), probe_only=True)
    within = compare(place / "run", wishes)
    rows = {row.name: row for row in within.rows}
    other = next(name for name in ("test_resnet", OTHER) if name != cheap)
    assert rows[cheap].because is None
    assert rows[other].because.startswith("over the budget")
    assert within.transfer.samples in {within.train, within.validation}
    assert within.recommendation.startswith(f"Take {cheap} ")


def test_compare_fails_where_no_backbone_is_to_be_had(place: Path) -> None:
    document = yaml.safe_load((place / "recipe.yaml").read_text())
    document["backbone"]["weights"] = str(place / "lost.safetensors")
    (place / "lost.yaml").write_text(yaml.safe_dump(document))
    make_folder(place / "more")
    document["data"]["source"] = str(place / "more")
    (place / "lost.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(GraftError) as raised:
        compare(place / "lost.yaml", Wishes(("test_vit=nowhere.safetensors",)), place / "lost")
    message = str(raised.value)
    assert message.startswith("None of the backbones")
    assert "lost.safetensors does not exist" in message
    assert "nowhere.safetensors does not exist" in message


def test_compare_asks_for_something_to_compare(place: Path) -> None:
    with pytest.raises(GraftError, match="--backbones, --suggest or --samples"):
        compare(place / "run", Wishes())
