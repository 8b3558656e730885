"""Records: what is written is read back, and every other file is one error with its remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.artifacts.history import Epoch, History, read_history, write_history
from pipeline.errors import GraftError
from pipeline.files.audit import Audit, read_audit, write_audit
from pipeline.files.records import VersionedRecord
from pipeline.machine.settings import Settings
from pipeline.measures.records import read_metrics, write_metrics
from tests.histories import HEAD, UNTRAINED
from tests.pipeline.measures.test_records import METRICS

START = Epoch(
    epoch=0, train_loss=None, validation_loss=0.1 + 0.2, validation_accuracy=0.5, samples_per_s=None
)
HISTORY = History(
    settings=Settings("cpu", "fp32", threads=2, why="a test"),
    class_weights=(0.5, 1.5),
    head=HEAD,
    trained=UNTRAINED,
    best_epoch=0,
    kept="the best head",
    epochs=(START,),
)
AUDIT = Audit(
    samples=2,
    found={"a": 3, "b": 3},
    counts={"train": {"a": 1, "b": 1}},
    skipped_unreadable={"c.png": "is no picture"},
    dropped_repeats={"b.png": "a.png"},
    repeats_left_train=1,
    skipped_conflicts=({"d.png": "a", "e.png": "b"},),
    remarks={"a.png": "is white"},
    warnings=("All is dark.",),
)

Write = Callable[[Path, VersionedRecord], None]
Read = Callable[[Path], VersionedRecord]


def write_history_file(path: Path, history: History) -> None:
    write_history(path.parent, history)


def read_history_file(path: Path) -> History:
    return read_history(path.parent)


RECORDS = [
    pytest.param(METRICS, write_metrics, read_metrics, "graft evaluate RUN --force", id="metrics"),
    pytest.param(HISTORY, write_history_file, read_history_file, "graft finetune RUN --force", id="history"),
    pytest.param(AUDIT, write_audit, read_audit, "graft data RUN --force", id="audit"),
]
FORMS = pytest.mark.parametrize(("record", "write", "read", "remedy"), RECORDS)


@FORMS
def test_record_is_read_back_as_it_was_written(
    record: VersionedRecord, write: Write, read: Read, remedy: str, tmp_path: Path
) -> None:
    write(tmp_path / "history.json", record)
    assert read(tmp_path / "history.json") == record
    first = next(iter(json.loads((tmp_path / "history.json").read_text()).items()))
    assert first == ("schema_version", record.schema_version)


DAMAGES = {
    "no file": (lambda _: None, r"cannot be read \(No such file or directory\)"),
    "no JSON": (lambda document: json.dumps(document)[:-5], r"is damaged \(Invalid JSON"),
    "another version": (
        lambda document: json.dumps(document | {"schema_version": 9, "new": 1}),
        "was written by another version of Graft",
    ),
    "no version": (
        lambda document: json.dumps({key: document[key] for key in document if key != "schema_version"}),
        "was written by another version of Graft",
    ),
    "an unknown key": (
        lambda document: json.dumps(document | {"surplus": 1}),
        r"is damaged \(surplus: Extra inputs are not permitted\)",
    ),
    "a missing key": (
        lambda document: json.dumps({"schema_version": document["schema_version"]}),
        r"is damaged \(\w+: Field required\)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@FORMS
def test_read_refuses_another_file_and_names_it_and_the_remedy(
    record: VersionedRecord, write: Write, read: Read, remedy: str, damage: str, tmp_path: Path
) -> None:
    path = tmp_path / "history.json"
    change, reason = DAMAGES[damage]
    content = change(record.model_dump(mode="json"))
    if content is not None:
        path.write_text(content)
    with pytest.raises(GraftError, match=reason) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert str(refused.value).endswith(remedy)


@FORMS
def test_records_cannot_be_changed(record: VersionedRecord, write: Write, read: Read, remedy: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record.schema_version = 1


def test_history_keeps_the_keys_that_programs_read() -> None:
    document = HISTORY.model_dump(mode="json")
    assert list(document)[1:] == [
        "settings",
        "class_weights",
        "balance",
        "head",
        "trained",
        "trials",
        "best_epoch",
        "kept",
        "epochs",
        "remarks",
        "views",
    ]
    settings = {"device": "cpu", "precision": "fp32", "threads": 2, "why": "a test", "processes": 1}
    assert document["settings"] == settings
    assert document["epochs"] == [
        {
            "epoch": 0,
            "train_loss": None,
            "seen_loss": None,
            "validation_loss": 0.1 + 0.2,
            "validation_accuracy": 0.5,
            "samples_per_s": None,
            "over_head": None,
            "over_best": None,
        }
    ]


def test_audit_keeps_the_keys_that_programs_read() -> None:
    assert list(AUDIT.model_dump(mode="json"))[1:] == [
        "samples",
        "found",
        "counts",
        "skipped_unreadable",
        "dropped_repeats",
        "repeats_left_train",
        "skipped_conflicts",
        "remarks",
        "warnings",
        "understood",
    ]
