from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.splits.kept import read_kept
from pipeline.errors import DataError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, write_samples


def test_read_kept_gives_the_splits_of_a_run_by_content(tmp_path: Path) -> None:
    samples = [
        Sample("a,\n.txt", "x", "train", "1" * 64, "a\rb"),
        Sample('b".txt', "y", "test", "2" * 64, "c"),
    ]
    run = RunFolder(tmp_path)
    write_samples(run, samples)
    assert read_kept(run.samples) == {"1" * 64: "train", "2" * 64: "test"}


@pytest.mark.parametrize(
    ("samples", "contents", "words"),
    [
        (None, "", "cannot be read"),
        ("source,label\na,b\n", "source,sha256\na,1\n", "no columns source, split"),
        ("source,label,split\na,b,train\n", "source,text\na,1\n", "no columns source, sha256"),
        (
            "source,label,split\na,b,hold\x1bout\n",
            "source,sha256\na,1\n",
            r"`hold\\x1bout`, which is no split",
        ),
        ("source,label,split\na,b,train\n", "source,sha256\n", "a has no content hash"),
    ],
)
def test_read_kept_refuses_what_is_no_table_of_a_run(
    tmp_path: Path, samples: str | None, contents: str, words: str
) -> None:
    (tmp_path / "contents.csv").write_text(contents or "source,sha256\n")
    if samples is not None:
        (tmp_path / "samples.csv").write_text(samples)
    with pytest.raises(DataError, match=words):
        read_kept(tmp_path / "samples.csv")
