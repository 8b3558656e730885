"""The look at what tests leave behind sees what it is for."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import BEFORE, CHANGED, LONGEST, ROOT, WATCHED, pytest_sessionfinish
from tests.leftovers import IGNORED, Watched, changes_since, watched_places


def test_changes_are_named_when_files_come_go_or_change(tmp_path: Path) -> None:
    (tmp_path / "models" / "run").mkdir(parents=True)
    for name in ("kept", "goes", "grows", "models/run/touched"):
        (tmp_path / name).write_text("1")
    watched = Watched((tmp_path,), ())
    before = watched.look()
    assert changes_since(before, watched.look()) == []
    (tmp_path / "goes").unlink()
    (tmp_path / "grows").write_text("12")
    os.utime(tmp_path / "models" / "run" / "touched", ns=(1, 1))
    (tmp_path / "models" / "new").mkdir()
    assert changes_since(before, watched.look()) == [
        f"{tmp_path}/goes is gone",
        f"{tmp_path}/grows was changed",
        f"{tmp_path}/models/new is new",
        f"{tmp_path}/models/run/touched was changed",
    ]


def test_caches_of_tools_do_not_count_and_of_lists_only_the_names_do(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "list" / "inside").mkdir(parents=True)
    watched = Watched((tmp_path / "tree", tmp_path / "nowhere"), (tmp_path / "list",))
    before = watched.look()
    for name in IGNORED:
        (tmp_path / "tree" / name).mkdir()
        (tmp_path / "tree" / name / "file").touch()
    (tmp_path / "list" / "inside" / "file").touch()
    assert changes_since(before, watched.look()) == []
    (tmp_path / "list" / "new").touch()
    assert changes_since(before, watched.look()) == [f"{tmp_path}/list/new is new"]


def test_a_store_is_watched_where_the_environment_has_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "elsewhere"))
    trees = watched_places().trees
    assert tmp_path / "elsewhere" in trees
    assert tmp_path / ".cache" / "graft" in trees


def test_this_session_lives_apart(common: Path) -> None:
    for name in ("HOME", "GRAFT_CACHE", "BENTOML_HOME"):
        assert Path(os.environ[name]).is_relative_to(common.parent)


def test_session_fails_and_names_what_changed(tmp_path: Path) -> None:
    watched = Watched((tmp_path,), ())
    stash = pytest.Stash()
    stash[WATCHED], stash[BEFORE] = watched, watched.look()
    session = SimpleNamespace(config=SimpleNamespace(stash=stash), exitstatus=pytest.ExitCode.OK)
    pytest_sessionfinish(session)
    assert (session.exitstatus, stash[CHANGED]) == (pytest.ExitCode.OK, [])
    (tmp_path / "left").touch()
    pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED
    assert stash[CHANGED] == [f"{tmp_path}/left is new"]


def test_files_that_begin_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
