"""What a stage's result depends on: of the source files, those that make it, and no others."""

from __future__ import annotations

import pytest

from pipeline.run.stages import ROOT, STAGES, Stage, hash_code


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_stage_names_code_that_is_there(stage: Stage) -> None:
    """A file that was moved away would count as one that never changes."""
    empty = hash_code(())
    assert [place for place in stage.code if hash_code((place,)) == empty] == []


@pytest.mark.parametrize("stage", STAGES[:-1], ids=lambda stage: stage.name)
def test_no_result_before_the_package_depends_on_the_server_or_the_client(stage: Stage) -> None:
    wings = {place.split("/")[1] for place in stage.code if place.startswith("serving")}
    assert wings <= {"model"}
    assert (ROOT / "serving" / "model").is_dir()


def test_training_depends_on_decoding_and_not_on_what_a_page_says() -> None:
    (finetune,) = [stage for stage in STAGES if stage.name == "finetune"]
    of_inputs = [place for place in finetune.code if place.startswith("serving")]
    assert "serving/model/inputs/image/pixels.py" in of_inputs
    assert not any(place.endswith(("kind.py", "registry.py")) for place in of_inputs)
