"""Where packaging for a target may write, and what it may replace there."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.errors import GraftError
from pipeline.package.targets import Packager
from pipeline.run.package import package_for
from pipeline.run.runner import Run, open_run

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Run:
    folder = Path(shutil.copytree(tiny_run, tmp_path / "runs" / "tiny"))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["deploy"] |= {"image": "registry.example.org/team/tiny"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return open_run(folder)


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "history" not in path.name and "lock" not in path.name
    }


@pytest.mark.parametrize("place", [".", "..", "../..", "bundle", "package", "package/triton", "new/one"])
def test_run_is_never_replaced_nor_written_into(run: Run, place: str) -> None:
    before = files_of(run.folder.root)
    with pytest.raises(GraftError, match="nothing there is replaced"):
        package_for(run, "kserve", run.folder.root / place, replace=True)
    assert files_of(run.folder.root) == before


def test_folder_of_its_own_may_be_named_and_is_replaced(run: Run) -> None:
    for _ in range(2):
        package_for(run, "kserve", run.folder.packaged("kserve"))
    assert (run.folder.packaged("kserve") / "inferenceservice.yaml").is_file()


@pytest.mark.parametrize("target", ["kserve", "kubernetes", "triton"])
def test_only_what_was_written_for_the_target_is_replaced(run: Run, tmp_path: Path, target: str) -> None:
    output = tmp_path / "out"
    package_for(run, target, output)
    first = files_of(output)
    with pytest.raises(GraftError, match="holds something already"):
        package_for(run, target, output)
    package_for(run, target, output, replace=True)
    assert files_of(output) == first
    with pytest.raises(GraftError, match="not written for the target"):
        package_for(run, "oci", output, replace=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("precious")
    with pytest.raises(GraftError, match="not written for the target"):
        package_for(run, target, tmp_path / "mine", replace=True)
    assert (tmp_path / "mine" / "README.md").read_text() == "precious"


def test_full_disk_is_named_with_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Packager, "write", fail)
    with pytest.raises(GraftError, match=rf"{tmp_path / 'out'}: No space left .*--output DIR.*GRAFT_CACHE"):
        package_for(run, "oci", tmp_path / "out")


@pytest.mark.parametrize("place", ["file/out", "/proc/out", f"{'x' * 300}/out", "x" * 250])
def test_place_that_nothing_can_be_written_to_is_named_with_what_to_do(
    run: Run, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GraftError, match=r"nothing was written.*--output DIR"):
        package_for(run, "kserve", tmp_path / place)


def test_output_may_be_the_folder_that_one_is_in(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    package_for(run, "kserve", Path())
    assert (here / "inferenceservice.yaml").is_file()
