"""The data of a run, shared by commands that work side by side."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from pipeline.errors import GraftError
from pipeline.run.runner import Run, open_run, run_stage
from pipeline.run.sharing import sharing_data
from tests.conftest import recipe_document


@pytest.fixture
def run(tmp_path: Path, pictures: Path, tiny_weights: Path) -> Run:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_document(pictures, tiny_weights)))
    return open_run(path, tmp_path / "run")


def test_several_share_a_run_and_what_would_change_it_is_refused(run: Run) -> None:
    with sharing_data(run), sharing_data(run):
        assert run.folder.samples.is_file()
        with pytest.raises(GraftError, match="another graft command is working on this run"):
            run_stage("finetune", run)
    run_stage("data", run)


def test_two_that_begin_at_once_read_the_data_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "graft")
    both = threading.Barrier(2, timeout=60)

    def share() -> None:
        with sharing_data(run):
            both.wait()  # which none of them passes while it keeps the other out

    workers = [threading.Thread(target=share) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not both.broken
    assert caplog.text.count("data: started") == 1
