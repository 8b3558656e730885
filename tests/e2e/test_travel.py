"""Runs that travel: made in one folder, and carried on in another, with their data elsewhere or nowhere."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.errors import DataError, GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.run.runner import open_run, run_all, run_stage
from tests.conftest import make_folder, make_picture, recipe_document, run_graft

pytestmark = pytest.mark.slow


def version_of(run: RunFolder) -> str:
    return str(json.loads((run.bundle / "manifest.json").read_text())["version"])


def source_of(run: RunFolder) -> str:
    return str(yaml.safe_load(run.recipe.read_text())["data"]["source"])


def move(made: Path, folder: Path, *gone: Path) -> RunFolder:
    """A copy of a run as it stands on a machine on which some of the places that it names do not exist."""
    run = RunFolder(Path(shutil.copytree(made, folder / "B" / "other" / "run")))
    for path in (run.recipe, run.data_root):
        text = path.read_text()
        for place in gone:
            text = text.replace(str(place), str(folder / "A" / place.name))
        path.write_text(text)
    return run


@pytest.fixture
def moved(tiny_run: Path, pictures: Path, tiny_weights: Path, tmp_path: Path) -> RunFolder:
    return move(tiny_run, tmp_path, pictures, tiny_weights)


@pytest.fixture
def there(pictures: Path, tmp_path: Path) -> Path:
    """The pictures of the run in their new place."""
    return Path(shutil.copytree(pictures, tmp_path / "C" / "pics", copy_function=shutil.copyfile))


def test_a_moved_run_is_verified_packaged_and_benchmarked_with_its_data_elsewhere(
    moved: RunFolder, there: Path
) -> None:
    version = version_of(moved)
    verified = run_graft("verify", moved.root, "--data-root", there, "--json")
    assert [stage["skipped"] for stage in json.loads(verified.stdout)["stages"]] == [True]
    assert source_of(moved) == str(there)
    run_graft("benchmark", moved.root, "--seconds", "0.2", "--rounds", "2", "--batches", "1")
    assert (moved.benchmark / "benchmark.json").is_file()
    run = open_run(moved.root)
    for name in ("verify", "package"):
        assert run_stage(name, run, force=True).skipped is False
    assert version_of(moved) == version
    assert [result.stage for result in run_all(run) if not result.skipped] == []


def test_a_moved_run_without_its_data_does_what_needs_no_samples_and_says_what_it_needs(
    moved: RunFolder, there: Path, tmp_path: Path
) -> None:
    version, old = version_of(moved), tmp_path / "A" / "pictures"
    run = open_run(moved.root)
    assert run_stage("package", run, force=True).skipped is False
    assert run_stage("verify", run).skipped is True
    for name, words in (
        ("data", f"data.source: {old} does not exist. Correct the path in the recipe"),
        ("finetune", f"backbone.weights: {tmp_path / 'A' / 'tiny.safetensors'} does not exist. Correct"),
    ):
        with pytest.raises(GraftError) as refused:
            run_stage(name, run, force=True)
        assert str(refused.value).startswith(words)
    assert [result.stage for result in run_all(run) if not result.skipped] == [], "a refusal loses nothing"
    with pytest.raises(DataError) as refused:
        run_stage("verify", run, force=True)
    first = next(sample.source for sample in read_samples(moved) if sample.split == "test")
    assert str(refused.value) == (
        f"{first}: cannot be read (No such file or directory). The run {moved.root} has its data in {old}. "
        "Put the file back, or name the folder that they are in now: --data-root DIR"
    )
    assert run_stage("verify", open_run(moved.root, data_root=there)).skipped is False
    assert version_of(moved) == version


@pytest.mark.parametrize("keeps_times", [False, True])
def test_a_moved_run_is_refused_when_its_data_changed_on_the_way(
    moved: RunFolder, there: Path, keeps_times: bool
) -> None:
    assert run_stage("verify", open_run(moved.root, data_root=there)).skipped is True
    picture = there / "bars" / "003.png"
    before, content = picture.stat(), bytearray(picture.read_bytes())
    content[-20] ^= 1
    picture.write_bytes(content)
    if keeps_times:
        os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(GraftError, match="`data` is not done or outdated, and `verify` needs it"):
        run_stage("verify", open_run(moved.root))


def test_a_moved_run_is_refused_when_files_are_missing(moved: RunFolder, there: Path) -> None:
    (there / "bars" / "003.png").unlink()
    with pytest.raises(GraftError, match="`data` is not done or outdated"):
        run_stage("verify", open_run(moved.root, data_root=there))
    with pytest.raises(GraftError, match="no folder"):
        open_run(moved.root, data_root=there / "nowhere")


def test_a_moved_run_on_texts_is_verified_without_its_table(text_run: Path, tmp_path: Path) -> None:
    run = move(text_run, tmp_path, Path(source_of(RunFolder(text_run))).parent)
    assert not Path(source_of(run)).exists()
    version = version_of(run)
    for name in ("evaluate", "verify"):
        assert run_stage(name, open_run(run.root)).skipped is True
    assert run_stage("verify", open_run(run.root), force=True).skipped is False
    assert version_of(run) == version


@pytest.mark.parametrize("on_unreadable", ["refuse", "skip"])
def test_a_table_and_its_pictures_move_together_or_the_pictures_alone(
    tmp_path: Path, tiny_weights: Path, on_unreadable: str
) -> None:
    pictures = make_folder(tmp_path / "A" / "p", per_label=8)
    rows = [f"{path.relative_to(pictures.parent)},{path.parent.name}" for path in pictures.rglob("*.png")]
    table = tmp_path / "A" / "labels.csv"
    table.write_text("path,label\n" + "\n".join(rows) + "\n")
    data = {"source": str(table), "on_unreadable": on_unreadable}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe_document(table, tiny_weights, data=data)))
    run = open_run(tmp_path / "recipe.yaml", tmp_path / "run")
    assert run_stage("data", run).skipped is False
    assert {sample.source for sample in read_samples(run.folder)} == {row.split(",")[0] for row in rows}
    (tmp_path / "A").rename(tmp_path / "C")
    with pytest.raises(DataError, match="--data-root DIR"):
        read_samples(run.folder)[0].read()
    assert run_stage("data", open_run(run.folder.root, data_root=tmp_path / "C")).skipped is True
    assert source_of(run.folder) == str(tmp_path / "C" / "labels.csv")
    assert [sample.read() for sample in read_samples(run.folder)]
    (tmp_path / "D").mkdir()
    (tmp_path / "C" / "p").rename(tmp_path / "D" / "p")
    assert run_stage("data", open_run(run.folder.root)).skipped is True, "nothing reads the pictures"
    with pytest.raises(GraftError, match=r"none of the files that .*labels\.csv names is there\. Name the"):
        run_stage("data", open_run(run.folder.root), force=True)
    assert run_stage("data", open_run(run.folder.root, data_root=tmp_path / "D")).skipped is True
    assert source_of(run.folder) == str(tmp_path / "C" / "labels.csv")
    assert [sample.read() for sample in read_samples(run.folder)]
    (tmp_path / "D" / "p" / "bars" / "000.png").write_bytes(make_picture("bars", 700))
    assert run_stage("data", open_run(run.folder.root)).skipped is False
