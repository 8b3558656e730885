"""Jobs: every row exactly once, through kills, full disks and changed inputs."""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.jobs import answers
from pipeline.jobs import job as job_module
from pipeline.jobs import work as work_module
from pipeline.jobs.job import predict_table
from pipeline.jobs.rows import Fragment
from pipeline.jobs.work import Asked
from pipeline.run.jobs import predict_job
from pipeline.run.predict import Input, predict_all
from serving.model.predictor import Predictor, Scored
from serving.model.runtimes.memory import KeptMemory
from serving.model.schemas import ErrorBody
from tests.conftest import ROOT, run_graft

pytestmark = pytest.mark.slow
WORDS = ("good", "bad", "film", "plot", "dull", "fine", "weather")


def write_texts(path: Path, count: int) -> Path:
    chance = random.Random(7)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([n, " ".join(chance.choices(WORDS, k=1 + n % 9))] for n in range(count))
    return path


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def asked(text_run: Path, tmp_path: Path) -> Callable[..., Asked]:
    """What a user asks for: 2,500 texts of a CSV file to JSONL, unless told otherwise."""

    def ask(source: Path | None = None, output: str = "out.jsonl", **others: object) -> Asked:
        usual = tmp_path / "texts.csv"
        source = source or (usual if usual.exists() else write_texts(usual, 2500))
        return Asked(text_run / "bundle", source, tmp_path / output, **others)  # type: ignore[arg-type]

    return ask


def test_each_row_comes_back_once_with_what_predict_answers(
    asked: Callable[..., Asked], text_run: Path, tmp_path: Path
) -> None:
    result = predict_table(asked())
    rows = read_lines(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [str(n) for n in range(2500)]
    assert (result.rows, result.errors, result.kept) == (2500, 0, 0)
    answers = predict_all(text_run, [Input(text=str(row["text"])) for row in rows[:20]])
    assert [row["label"] for row in rows[:20]] == [
        each.prediction and each.prediction.label for each in answers
    ]
    probabilities = [each.prediction and dict(each.prediction.probabilities) for each in answers]
    for row, expected in zip(rows, probabilities, strict=False):
        assert row["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "texts.csv"]


@pytest.mark.parametrize("output", ["out.csv", "out.tsv", "out.parquet"])
def test_every_storage_holds_the_same_answers(
    asked: Callable[..., Asked], tmp_path: Path, output: str
) -> None:
    source = tmp_path / "few.csv"
    source.write_text(f'id,text\n1,good film\n2,\n3,"dull, ""bad"" plot\nand end"\n4,{"good " * 40}\n')
    predict_table(asked(source))
    predict_table(asked(source, output))
    expected = read_lines(tmp_path / "out.jsonl")
    if output.endswith("parquet"):
        found = pq.read_table(tmp_path / output).to_pylist()
        names = ("id", "text", "label", "probability", "probabilities", "truncation", "error_code")
        assert [{name: row[name] for name in names} for row in found] == [
            {name: row.get(name) for name in names} for row in expected
        ]
    else:
        with (tmp_path / output).open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if output.endswith("tsv") else ","))
        assert [row["text"] for row in rows] == [row["text"] for row in expected]
        assert json.loads(rows[0]["probabilities"]) == expected[0]["probabilities"]
        assert [row["error_code"] for row in rows] == ["", "missing_value", "", ""]
        assert json.loads(rows[3]["truncation"]) == expected[3]["truncation"]


def test_parquet_keeps_its_own_types_and_leaves_out_bytes(
    asked: Callable[..., Asked], tmp_path: Path
) -> None:
    source = tmp_path / "in.parquet"
    columns = {
        "id": pa.array([1, 2], pa.int32()),
        "text": ["good", None],
        "raw": [b"1", b"2"],
        "label": ["a", "b"],
    }
    pq.write_table(pa.table(columns), source)
    result = predict_table(asked(source, "out.parquet"))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("id").type == pa.int32()
    assert "raw" not in table.column_names
    assert table["label"].to_pylist() == ["a", "b"], "the input's own column"
    assert table["predicted_error_code"].to_pylist() == [None, "missing_value"]
    assert result.errors == 1


def test_values_are_what_the_service_takes(
    asked: Callable[..., Asked], text_run: Path, tmp_path: Path
) -> None:
    values = ["good film", 42, 1.5, True, ["good", "film"], {"path": "good film"}, {"a": 1}, [], "good " * 40]
    source = tmp_path / "values.jsonl"
    source.write_text("".join(json.dumps({"text": value}) + "\n" for value in values))
    predict_table(asked(source))
    rows = read_lines(tmp_path / "out.jsonl")
    texts = ["good film", "42", "1.5", "true", values[-1]]
    answers = predict_all(text_run, [Input(text=str(text)) for text in texts])
    predictions = [answer.to_json() for answer in answers]
    found = [rows[index] for index in (0, 1, 2, 3, 8)]
    names = ("label", "truncation")
    assert [[row.get(name) for name in names] for row in found] == [
        [each.get(name) for name in names] for each in predictions
    ]
    assert found[-1]["truncation"] == {"tokens": 42, "used": 20}
    assert [row.get("error_code") for row in rows[4:8]] == ["wrong_json_type"] * 4
    assert rows[4]["error"] == "`text` is a list, but must be a string."


def test_values_that_are_no_files_are_rows_with_an_error(tiny_run: Path, tmp_path: Path) -> None:
    values = [5, ["a.png"], {"bytes": 7}, {"bytes": None, "path": None}, {"path": "a.png"}]
    source = tmp_path / "values.jsonl"
    source.write_text("".join(json.dumps({"image": value}) + "\n" for value in values))
    predict_table(Asked(tiny_run / "bundle", source, tmp_path / "out.jsonl"))
    codes = [row["error_code"] for row in read_lines(tmp_path / "out.jsonl")]
    assert codes == ["bad_value", "bad_value", "bad_value", "missing_value", "unreadable_file"]


@pytest.mark.parametrize(("held_bytes", "expected"), [(1, [1, 1]), (answers.HELD_BYTES, [2])])
def test_as_many_files_are_held_as_their_size_allows(
    held_bytes: int,
    expected: list[int],
    tiny_run: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    score_many = Predictor.score_many

    def count(self: Predictor, items: Sequence[bytes]) -> list[Scored | ErrorBody]:
        sizes.append(len(items))
        return score_many(self, items)

    monkeypatch.setattr(Predictor, "score_many", count)
    monkeypatch.setattr(answers, "HELD_BYTES", held_bytes)
    name = str(next(pictures.rglob("*.png")))
    (tmp_path / "in.csv").write_text(f"image,text\n{name},good\n,\n{name},bad\n")
    bundle = tiny_run / "bundle"
    assert predict_table(Asked(bundle, tmp_path / "in.csv", tmp_path / "out.csv")).errors == 1
    assert sizes == expected


def test_freed_memory_is_looked_at_after_the_model_is_loaded_and_after_each_fragment(
    text_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(KeptMemory, "settle", lambda _: calls.append("settle"))
    monkeypatch.setattr(KeptMemory, "refresh", lambda _: calls.append("refresh"))
    monkeypatch.setattr(job_module, "CELLS", 2)
    (tmp_path / "in.csv").write_text("text\ngood\nbad\ngood\n")
    predict_table(Asked(text_run / "bundle", tmp_path / "in.csv", tmp_path / "out.csv"))
    assert calls == ["settle", "refresh", "refresh"]


def test_folder_and_table_of_paths_are_read_as_files(tiny_run: Path, pictures: Path, tmp_path: Path) -> None:
    names = [str(path.relative_to(pictures)) for path in sorted(pictures.rglob("*.png"))[:5]]
    (tmp_path / "folder").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "folder" / f"{number}.png").write_bytes((pictures / name).read_bytes())
    (tmp_path / "folder" / "notes.txt").write_text("no picture")
    (tmp_path / "folder" / "table.csv").write_text(
        "path\n" + "".join(f"{n}.png\n" for n in range(5)) + "6.png\n"
    )
    bundle = tiny_run / "bundle"
    predict_table(Asked(bundle, tmp_path / "folder", tmp_path / "a.jsonl"))
    predict_table(Asked(bundle, tmp_path / "folder" / "table.csv", tmp_path / "b.jsonl"))
    of_folder, of_table = read_lines(tmp_path / "a.jsonl"), read_lines(tmp_path / "b.jsonl")
    assert [row.get("label") for row in of_folder[:5]] == [row.get("label") for row in of_table[:5]]
    assert all(row["label"] for row in of_table[:5])
    assert of_folder[5]["file"] == "notes.txt"
    assert of_folder[5]["error_code"] == "unsupported_image" or of_folder[5]["error_code"]
    assert of_table[5]["error_code"] == "unreadable_file"


def test_job_that_is_killed_goes_on_and_answers_each_row_once(
    asked: Callable[..., Asked], text_run: Path, tmp_path: Path
) -> None:
    source = write_texts(tmp_path / "many.csv", 12_000)
    predict_table(asked(source, "whole.jsonl"))
    command = [sys.executable, "-m", "pipeline.cli", "predict", str(text_run), "--input", str(source)]
    command += ["--output", str(tmp_path / "out.jsonl")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    unfinished, kills = tmp_path / "out.jsonl.unfinished", 0
    for written in (2, 5):
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while process.poll() is None and len(list(unfinished.glob("fragment-*[0-9]"))) < written:
            time.sleep(0.005)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "out.jsonl").exists()
    last = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert kills == 2
    assert "of them before" in last.stdout
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not unfinished.exists()


def test_job_that_is_interrupted_says_how_it_goes_on(
    asked: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job_module, "answer_locally", press)
    with pytest.raises(KeyboardInterrupt):
        predict_table(asked())
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "The same command goes on with what is kept in" in said
    assert said.endswith("out.jsonl.unfinished")


def test_exit_code_is_1_only_if_no_row_has_an_answer(text_run: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "texts.csv", tmp_path / "out.csv"
    source.write_text("id,text\n1,good\n2,\n")
    some = run_graft("predict", text_run, "--input", source, "--output", output)
    assert "2 rows" in some.stdout
    assert "; 1 with an error instead" in some.stdout
    source.write_text("id,text\n1,\n2,\n")
    none = run_graft("predict", text_run, "--input", source, "--output", output, "--force", check=1)
    assert "; none has an answer, and each says why" in none.stdout
    assert output.read_text().count("missing_value") == 2


def test_disk_that_fills_up_loses_nothing(
    asked: Callable[..., Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_table(asked(output="whole.jsonl"))
    real, written = atomic.write_bytes, []

    def fill_up(path: Path, data: bytes) -> None:
        if path.name != "job.json":
            written.append(path)
            if len(written) > 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(work_module.atomic, "write_bytes", fill_up)
    with pytest.raises(
        GraftError, match=r"row [\d,]+ and those after it cannot be written \(the disk is full\)"
    ):
        predict_table(asked())
    assert not (tmp_path / "out.jsonl").exists()
    monkeypatch.setattr(work_module.atomic, "write_bytes", real)
    result = predict_table(asked())
    assert result.kept == 1024
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_job_goes_on_with_what_it_was_begun_with_alone(
    asked: Callable[..., Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.jobs.job.answer_locally", stop)
        with pytest.raises(KeyboardInterrupt):
            predict_table(asked())
    write_texts(tmp_path / "texts.csv", 1400)
    with pytest.raises(GraftError, match="was begun with another content of the input"):
        predict_table(asked(tmp_path / "texts.csv"))
    with pytest.raises(GraftError, match="another content of the input and column"):
        predict_table(asked(tmp_path / "texts.csv", column="id"))
    assert predict_table(asked(tmp_path / "texts.csv", anew=True)).rows == 1400


def test_input_that_changes_meanwhile_gives_no_table(
    asked: Callable[..., Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_texts(tmp_path / "texts.csv", 2500)
    real = work_module.Work.do

    def change(work: work_module.Work, fragment: Fragment) -> int:
        write_texts(source, 2400)
        return real(work, fragment)

    monkeypatch.setattr(work_module.Work, "do", change)
    with pytest.raises(GraftError, match=r"the input has changed since the job was begun|cannot be read"):
        predict_table(asked(source))
    assert not (tmp_path / "out.jsonl").exists()


def test_parquet_values_come_back_as_they_were(asked: Callable[..., Asked], tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    table = pa.table(
        {
            "text": ["good", "bad", "fine"],
            "number": pa.array([float("nan"), float("inf"), 1.5]),
            "time": pa.array([1, 2, 3], pa.time64("ns")),
            "far": pa.array([10**12, 0, 1], pa.timestamp("s")),
            "nested": [[1.0, float("nan")], [], None],
            "files": [[b"1"], [], None],
        }
    )
    pq.write_table(table, source)
    predict_table(asked(source, "out.parquet"))
    found, given = pq.read_table(tmp_path / "out.parquet"), pq.read_table(source)
    for name in ("text", "number", "time", "far", "nested"):
        assert str(found[name].combine_chunks()) == str(given[name].combine_chunks()), name
    assert "files" not in found.column_names
    predict_table(asked(source, "out.jsonl"))
    rows = read_lines(tmp_path / "out.jsonl")
    assert [row["number"] for row in rows] == [None, None, 1.5]
    assert rows[0]["nested"] == [1.0, None]


def test_csv_that_is_written_is_read_back_by_others(asked: Callable[..., Asked], tmp_path: Path) -> None:
    import pandas as pd

    source = tmp_path / "in.jsonl"
    texts = ["good\rfilm", 'a "quote", and\nmore', "plain"]
    source.write_text("".join(json.dumps({"text": text, "more": {"a": True}}) + "\n" for text in texts))
    predict_table(asked(source, "out.csv"))
    frame = pd.read_csv(tmp_path / "out.csv")
    assert frame["text"].tolist() == texts
    assert frame["more"].tolist() == ['{"a": true}'] * 3
    predict_table(asked(source, "out.parquet"))
    assert pq.read_table(tmp_path / "out.parquet")["more"].to_pylist() == ['{"a": true}'] * 3


def test_folder_of_that_name_which_is_the_users_stays(asked: Callable[..., Asked], tmp_path: Path) -> None:
    notes = tmp_path / "out.jsonl.unfinished" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("precious")
    for anew in (False, True):
        with pytest.raises(GraftError, match=r"holds notes\.txt, which is of no job"):
            predict_table(asked(write_texts(tmp_path / "few.csv", 3), anew=anew))
    assert notes.read_text() == "precious"


def test_links_and_pipes_are_rows_with_an_error(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").symlink_to("nowhere")
    os.mkfifo(folder / "b.png")
    result = predict_table(Asked(tiny_run / "bundle", folder, tmp_path / "out.jsonl"))
    assert (result.rows, result.errors) == (2, 2)
    table = tmp_path / "table.csv"
    table.write_text("path\n/dev/zero\n")
    predict_table(Asked(tiny_run / "bundle", table, tmp_path / "table.jsonl"))
    assert read_lines(tmp_path / "table.jsonl")[0]["error"] == "The path is of no regular file."


def test_output_that_exists_is_replaced_only_if_asked(asked: Callable[..., Asked], tmp_path: Path) -> None:
    source = write_texts(tmp_path / "few.csv", 3)
    predict_table(asked(source))
    with pytest.raises(GraftError, match=r"out\.jsonl: exists already"):
        predict_table(asked(source))
    assert predict_table(asked(source, anew=True)).rows == 3


def test_output_that_is_a_link_stays_one(text_run: Path, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.csv", 3)
    (tmp_path / "far").mkdir()
    link = tmp_path / "out.csv"
    link.symlink_to(tmp_path / "far" / "answers.csv")
    result = predict_job(text_run, tmp_path / "texts.csv", link, None, None, "local")
    assert result.output == tmp_path / "far" / "answers.csv"
    assert link.is_symlink()
    assert len(link.read_text().splitlines()) == 4
    with pytest.raises(GraftError, match="exists already"):
        predict_job(text_run, tmp_path / "texts.csv", link, None, None, "local")
    itself = tmp_path / "itself.csv"
    itself.symlink_to(itself)
    with pytest.raises(GraftError, match=r"itself.csv: cannot be written \(.*link"):
        predict_job(text_run, tmp_path / "texts.csv", itself, None, None, "local")


def test_output_is_never_the_input_or_in_it(
    asked: Callable[..., Asked], tiny_run: Path, tmp_path: Path
) -> None:
    source = write_texts(tmp_path / "few.csv", 3)
    before = source.read_bytes()
    with pytest.raises(GraftError, match="lies in the input"):
        predict_table(asked(source, "few.csv", anew=True))
    assert source.read_bytes() == before
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    with pytest.raises(GraftError, match="lies in the input"):
        predict_table(Asked(tiny_run / "bundle", folder, folder / "out.csv"))
    with pytest.raises(GraftError, match="is a folder"):
        predict_table(Asked(tiny_run / "bundle", source, folder))
    assert [path.name for path in folder.iterdir()] == ["a.png"]


def test_two_commands_do_not_work_on_one_output(asked: Callable[..., Asked], tmp_path: Path) -> None:
    import fcntl

    folder = tmp_path / "out.jsonl.unfinished"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(GraftError, match="another command works on it"):
            predict_table(asked(write_texts(tmp_path / "few.csv", 3)))


@pytest.mark.parametrize(
    ("output", "reason"),
    [("out.txt", "write to a table whose name ends in"), ("few.csv/out.csv", "lies in the input")],
)
def test_output_that_cannot_be_written_is_refused(
    asked: Callable[..., Asked], tmp_path: Path, output: str, reason: str
) -> None:
    with pytest.raises(GraftError, match=reason):
        predict_table(asked(write_texts(tmp_path / "few.csv", 3), output))


def test_empty_table_gives_an_empty_table(asked: Callable[..., Asked], tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("id,text\n")
    assert predict_table(asked(tmp_path / "none.csv", "out.csv")).rows == 0
    header = "id,text,label,probability,probabilities,truncation,error_code,error\n"
    assert (tmp_path / "out.csv").read_text() == header


def test_cluster_that_cannot_be_reached_is_named(
    asked: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(GraftError, match=r"RAY_ADDRESS=127\.0\.0\.1:1: there is no Ray cluster"):
        predict_table(asked(engine="ray"))


def test_empty_address_of_ray_names_no_cluster(
    asked: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*, address: str | None, **_: object) -> None:
        raise ConnectionError(f"no port for {address}")

    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.setattr("ray.init", start)
    with pytest.raises(GraftError, match=r"Ray cannot be started on this machine \(no port for None\)"):
        predict_table(asked(engine="ray"))


def test_ray_that_is_not_installed_is_named_with_the_remedy(
    asked: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.machine.extras._is_found", lambda module: module != "ray")
    with pytest.raises(GraftError, match=r"pip install 'graft-ml\[ray\]'"):
        predict_table(asked(engine="ray"))
