from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.files.layout import RunFolder
from pipeline.files.places import write_root
from pipeline.files.samples import Sample, digest, labels_of, read_samples, write_samples


def make(folder: Path) -> list[Sample]:
    made = []
    for name, label, split in (
        ("a,b.png", "x", "train"),
        ("ü.png", "y", "test"),
        ('q".png', "x", "validation"),
    ):
        (folder / name).write_bytes(name.encode())
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        made.append(Sample(str(folder / name), label, split, sha256))  # type: ignore[arg-type]
    return made


def test_samples_read_back_as_written(tmp_path: Path) -> None:
    run, samples = RunFolder(tmp_path / "run"), make(tmp_path)
    write_samples(run, samples)
    assert read_samples(run) == samples
    assert run.samples.read_text().splitlines()[0] == "source,label,split"
    assert labels_of(samples) == ("x", "y")


def test_digest_depends_on_content_not_place(tmp_path: Path) -> None:
    samples = make(tmp_path)
    moved = [Sample(f"/elsewhere/{s.sha256}", s.label, s.split, s.sha256) for s in samples]
    assert digest(samples) == digest(moved)
    assert digest(samples) != digest(samples[:2])


def test_read_refuses_when_the_file_changed_or_went(tmp_path: Path) -> None:
    sample = make(tmp_path)[0]
    assert sample.read() == b"a,b.png"
    Path(sample.source).write_bytes(b"other")
    with pytest.raises(DataError, match="changed since"):
        sample.read()
    Path(sample.source).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        sample.read()


def test_texts_read_back_as_written_without_their_table(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    words = ['two\nlines, "quoted"', "\r\n tail ", "a\rb", "é \u2603 \U0001f600", "\ufeffmark"]
    samples = [
        Sample(f"t.csv:{line}", "x", "train", hashlib.sha256(text.encode()).hexdigest(), text)
        for line, text in enumerate(words, 2)
    ]
    write_samples(run, samples)
    assert read_samples(run) == samples
    assert [sample.read().decode() for sample in read_samples(run)] == words


def test_samples_are_read_below_the_root_whatever_their_names_are(tmp_path: Path) -> None:
    run, names = RunFolder(tmp_path / "run"), ["a/\udcff.png", '../b\r\n,".png', "c \u0301.png"]
    samples = [
        Sample(name, "x", "test", hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest())
        for name in names
    ]
    for place in ("one/root", "two/\udcfe"):
        root = tmp_path / place
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(name.encode(errors="surrogateescape"))
        write_root(run, root)
        write_samples(run, samples)
        assert read_samples(run) == samples
        assert [sample.read() for sample in read_samples(run)] == [
            name.encode(errors="surrogateescape") for name in names
        ]


def test_read_samples_refuses_when_the_two_tables_are_of_other_samples(tmp_path: Path) -> None:
    run, samples = RunFolder(tmp_path / "run"), make(tmp_path)
    write_samples(run, samples)
    whole = run.contents.read_text()
    for text in (whole.replace("a,b.png", "z.png"), whole + f"more,{'0' * 64}\n", "source,sha256\n"):
        run.contents.write_text(text)
        with pytest.raises(DataError, match="not of the same samples"):
            read_samples(run)
