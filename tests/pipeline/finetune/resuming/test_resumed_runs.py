from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from pipeline.errors import GraftError
from pipeline.finetune.steps.training import Training
from pipeline.run.runner import open_run, run_all, run_stage
from serving.model.files import hash_file
from tests.pipeline.finetune.resuming.test_resuming import Crash, crash, do_at

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A finished run whose training checkpoints whenever it can."""
    copy = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    change(copy, checkpoint_minutes=1e-6)
    return copy


def change(folder: Path, **changes: object) -> None:
    document = yaml.safe_load((folder / "recipe.yaml").read_text())
    document["finetune"] |= changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document))


def crash_in_step(number: int, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        do_at(patch, "_step", number, crash)
        with pytest.raises(Crash):
            run_stage("finetune", open_run(run))


def test_the_same_command_goes_on_and_ends_in_the_weights_of_the_run_that_nothing_stopped(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = hash_file(run / "checkpoint" / "model.safetensors")
    (run / ".stages" / "finetune.json").unlink()
    crash_in_step(6, run, monkeypatch)
    unfinished = run / ".unfinished-finetune"
    assert list(unfinished.glob("*/*.safetensors"))
    change(run, checkpoint_minutes=5)  # has no part in the result
    done_before: list[int] = []
    restore = Training.restore

    def restoring(self: Training, state: Mapping[str, object]) -> None:
        restore(self, state)
        done_before.append(len(self.epoch_losses))

    monkeypatch.setattr(Training, "restore", restoring)
    run_stage("finetune", open_run(run))
    assert done_before == [1]  # five steps are kept, of four in an epoch
    assert hash_file(run / "checkpoint" / "model.safetensors") == expected
    assert not unfinished.exists()


def test_how_often_checkpoints_are_made_is_no_reason_to_train_again(run: Path) -> None:
    change(run, checkpoint_minutes=7)
    assert run_stage("finetune", open_run(run)).skipped


def test_a_changed_recipe_is_refused_until_force_begins_anew(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / ".stages" / "finetune.json").unlink()
    crash_in_step(3, run, monkeypatch)
    change(run, weight_decay=0.123)
    with pytest.raises(GraftError, match=r"finetune\.weight_decay \(\S+ before, 0\.123 now\)") as caught:
        run_all(open_run(run))
    assert f"To begin anew: graft finetune {run} --force" in str(caught.value)
    assert not run_stage("finetune", open_run(run), force=True).skipped
    assert not (run / ".unfinished-finetune").exists()
