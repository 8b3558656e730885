"""A bundle that changes under a service: what takes over, what is refused, and what stays."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from serving.model.errors import BundleError
from serving.server.engine.live import LiveModel

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(tiny_run: Path, tmp_path: Path) -> Path:
    """A link to a bundle, as a deployment would have it."""
    shutil.copytree(tiny_run / "bundle", tmp_path / "one")
    (tmp_path / "current").symlink_to("one")
    return tmp_path / "current"


def move_on(link: Path, target: str) -> None:
    """What ``ln -sfn`` does."""
    (link.parent / "next").symlink_to(target)
    (link.parent / "next").replace(link)


def make_version(folder: Path, version: str, **changes: object) -> None:
    """A copy of the first bundle under another version."""
    shutil.copytree(folder.parent / "one", folder)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"version": version} | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_new_version_takes_over_when_the_link_moves_on(bundle: Path) -> None:
    live = LiveModel(bundle)
    assert live.refresh() is True
    first = live.predictor
    assert live.refresh() is None
    make_version(bundle.parent / "two", "b2")
    move_on(bundle, "two")
    assert live.refresh() is True
    assert live.predictor.version == "b2"
    assert first.version != "b2"  # a request that began with it ends with it


def test_a_changed_file_is_refused_and_the_old_version_stays(bundle: Path) -> None:
    live = LiveModel(bundle)
    live.refresh()
    before = live.predictor
    make_version(bundle.parent / "two", "b2")
    with (bundle.parent / "two" / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    move_on(bundle, "two")
    assert live.refresh() is False
    assert live.predictor is before
    assert live.refusal is not None
    assert live.refusal.code == "hash_mismatch"
    assert live.refresh() is None  # it is not tried again before it changes
    move_on(bundle, "one")
    assert live.refresh() is True
    assert live.refusal is None


@pytest.mark.parametrize("broken", ["manifest.json", "model.onnx", "receipts"])
def test_a_bundle_that_is_half_there_is_refused_until_it_is_whole(bundle: Path, broken: str) -> None:
    live = LiveModel(bundle)
    live.refresh()
    make_version(bundle.parent / "two", "b2")
    (bundle.parent / "two" / broken).rename(bundle.parent / "held back")
    move_on(bundle, "two")
    assert live.refresh() is False
    assert live.predictor.version != "b2"
    (bundle.parent / "held back").rename(bundle.parent / "two" / broken)
    assert live.refresh() is True
    assert live.predictor.version == "b2"


def test_another_kind_of_input_is_refused(bundle: Path, text_run: Path) -> None:
    live = LiveModel(bundle)
    live.refresh()
    move_on(bundle, os.fspath(text_run / "bundle"))
    assert live.refresh() is False
    assert live.refusal is not None
    assert live.refusal.code == "wrong_service"
    assert live.predictor.manifest.input.modality == "image"


def test_nothing_answers_until_a_bundle_appears(bundle: Path) -> None:
    live = LiveModel(bundle.parent / "later")
    assert live.refresh() is False
    with pytest.raises(BundleError) as refused:
        _ = live.predictor
    assert refused.value.code == "missing_file"
    (bundle.parent / "later").symlink_to("one")
    assert live.refresh() is True
    assert live.is_ready


def test_whatever_goes_wrong_while_loading_the_old_version_stays_and_it_is_told(bundle: Path) -> None:
    def fail(folder: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(folder))

    live = LiveModel(bundle)
    live.refresh()
    before = live.predictor
    make_version(bundle.parent / "two", "b2")
    move_on(bundle, "two")
    live._load = fail
    assert live.refresh() is False
    assert live.predictor is before
    assert live.refusal is not None
    assert live.refusal.code == "not_loaded"
    assert "Permission denied" in live.refusal.message
    shutil.rmtree(bundle.parent / "two")
    assert live.refresh() is False
    assert live.predictor is before


def test_what_was_begun_is_taken_over_without_another_load(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveModel(bundle)
    live.begin()
    begun = live._begun
    assert begun is not None
    assert not live.is_ready
    monkeypatch.setattr(live, "_load", None)  # a second load would fail
    assert live.refresh() is True
    assert live.predictor is begun[1].result()


def test_what_was_begun_is_dropped_when_the_link_has_moved_on_since(bundle: Path) -> None:
    live = LiveModel(bundle)
    live.begin()
    make_version(bundle.parent / "two", "b2")
    move_on(bundle, "two")
    assert live.refresh() is True
    assert live.predictor.version == "b2"


def test_what_was_begun_and_is_refused_is_refused_by_the_refresh(tmp_path: Path) -> None:
    live = LiveModel(tmp_path / "nowhere")
    live.begin()
    assert live.refusal is None
    assert live.refresh() is False
    assert live.refusal is not None
    assert live.refusal.code == "missing_file"
