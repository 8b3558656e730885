from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.run.runner import open_run, run_all, run_stage
from tests.conftest import make_picture

pytestmark = pytest.mark.slow
STAGES = ["data", "finetune", "transfer", "evaluate", "export", "verify", "package"]


@pytest.fixture
def run_folder(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def redone(folder: Path) -> list[str]:
    return [result.stage for result in run_all(open_run(folder)) if not result.skipped]


def change(folder: Path, section: str, **changes: object) -> None:
    document = yaml.safe_load((folder / "recipe.yaml").read_text())
    document[section] |= changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document))


def test_run_all_skips_every_stage_when_nothing_changed(run_folder: Path) -> None:
    assert redone(run_folder) == []


def test_run_all_redoes_what_depends_on_a_changed_section(run_folder: Path) -> None:
    change(run_folder, "evaluate", bootstrap=120)
    assert redone(run_folder)[0] == "evaluate"
    assert redone(run_folder) == []


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("data/samples.csv", "data"),
        ("checkpoint/model.safetensors", "finetune"),
        ("transfer/answers.npz", "transfer"),
        ("evaluate/metrics.json", "evaluate"),
        ("export/model.onnx", "export"),
        ("bundle/model.onnx", "verify"),
        ("bundle/manifest.json", "verify"),
        ("bundle/receipts/onnx-fp32.json", "verify"),
        ("package/bento.json", "package"),
    ],
)
def test_run_all_redoes_a_stage_when_its_output_is_missing_or_changed(
    run_folder: Path, name: str, first: str
) -> None:
    before = (run_folder / name).read_bytes()
    (run_folder / name).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert redone(run_folder)[0] == first
    assert (run_folder / name).read_bytes() == before
    (run_folder / name).unlink()
    assert redone(run_folder)[0] == first
    assert (run_folder / name).read_bytes() == before


def test_run_all_redoes_nothing_when_a_file_is_touched(run_folder: Path, pictures: Path) -> None:
    picture = pictures / "bars" / "000.png"
    before = picture.stat()
    picture.touch()
    try:
        assert redone(run_folder) == []
    finally:
        os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_run_all_keeps_its_result_when_forced(run_folder: Path) -> None:
    names = [
        "checkpoint/model.safetensors",
        "checkpoint/augmented.json",
        "evaluate/metrics.json",
        "bundle/model.onnx",
        "bundle/manifest.json",
        "package/bento.json",
    ]
    before = {name: (run_folder / name).read_bytes() for name in names}
    results = run_all(open_run(run_folder), force=True)
    assert [result.stage for result in results if not result.skipped] == STAGES
    assert {name: (run_folder / name).read_bytes() for name in names} == before


def test_run_stage_refuses_when_the_one_before_is_not_done(run_folder: Path) -> None:
    RunFolder(run_folder).marker("finetune").unlink()
    with pytest.raises(GraftError, match=r"`finetune` is not done or outdated, and `evaluate` needs it"):
        run_stage("evaluate", open_run(run_folder))


def test_run_all_refuses_when_another_command_holds_the_run(run_folder: Path) -> None:
    with RunFolder(run_folder).lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(GraftError, match="another graft command"):
            run_all(open_run(run_folder))


def test_open_run_refuses_to_overwrite_a_recipe_that_is_not_of_a_run(tmp_path: Path, tiny_run: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    shutil.copy(tiny_run / "recipe.yaml", recipe)
    before = recipe.read_bytes()
    for target, folder in ((recipe, tmp_path), (tmp_path, None)):
        with pytest.raises(GraftError):
            open_run(target, folder)
    with pytest.raises(GraftError, match="--run goes with a recipe"):
        open_run(tiny_run, tmp_path / "other")
    assert recipe.read_bytes() == before


def test_run_stage_refuses_when_an_earlier_stage_is_outdated_and_leaves_the_recipe_alone(
    run_folder: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.yaml"
    document = yaml.safe_load((run_folder / "recipe.yaml").read_text())
    document["finetune"]["epochs"] = 1
    changed.write_text(yaml.safe_dump(document))
    before = (run_folder / "recipe.yaml").read_bytes()
    for name in ("export", "package"):
        with pytest.raises(GraftError, match=f"`finetune` is not done or outdated, and `{name}` needs it"):
            run_stage(name, open_run(changed, run_folder))
    assert (run_folder / "recipe.yaml").read_bytes() == before


def test_run_all_exports_anew_when_the_test_split_changed(
    run_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "pictures"
    shutil.copytree(pictures, copy)
    change(run_folder, "data", source=str(copy))
    assert redone(run_folder) == []
    run, before = RunFolder(run_folder), {s.source: s.split for s in read_samples(RunFolder(run_folder))}
    source = next(source for source, split in before.items() if split == "test")
    for index in range(950, 1000):  # another content may belong to another split
        (copy / source).write_bytes(make_picture(Path(source).parent.name, index))
        run_stage("data", open_run(run_folder))
        if {s.source: s.split for s in read_samples(run)} == before:
            break
    assert redone(run_folder) == ["transfer", "evaluate", "export", "verify", "package"]


def test_run_all_removes_what_a_killed_command_left(run_folder: Path) -> None:
    (run_folder / ".bundle.partial").mkdir()
    (run_folder / "data" / ".samples.csv.99.partial").touch()
    (run_folder / ".decoded-train.npy").touch()
    redone(run_folder)
    assert not list(run_folder.rglob(".*partial"))
    assert not (run_folder / ".decoded-train.npy").exists()


def test_run_all_puts_in_place_what_a_killed_command_had_finished(run_folder: Path) -> None:
    """A kill between the two renames, and one before them: neither loses a folder."""
    (run_folder / "bundle").rename(run_folder / ".bundle.ready")
    shutil.copytree(run_folder / "checkpoint", run_folder / ".checkpoint.ready")
    (run_folder / "checkpoint" / "model.safetensors").write_bytes(b"an older one")
    assert redone(run_folder) == []
    assert not [path for path in run_folder.iterdir() if path.suffix in {".ready", ".old"}]


def test_checkpoint_is_the_same_when_the_feature_cache_is_cold(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run_folder / "checkpoint" / "model.safetensors").read_bytes()
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cold"))
    run_stage("finetune", open_run(run_folder), force=True)
    assert (run_folder / "checkpoint" / "model.safetensors").read_bytes() == before


def test_open_run_refuses_when_the_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="not a run's folder"):
        open_run(tmp_path)
