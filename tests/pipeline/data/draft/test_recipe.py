from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pipeline.data.draft.look import Wishes
from pipeline.data.draft.recipe import Found, write_recipe
from pipeline.data.intake import read_labelled
from pipeline.data.labelled import Labelled
from pipeline.data.stage import prepare_data
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.modalities.registry import find_modality
from pipeline.recipe.reading import load_recipe
from pipeline.recipe.sections import Recipe
from tests.pipeline.data.tiny import make_files, make_pictures, picture

TEXTS = [f"sentence {index} of {kind}" for index in range(6) for kind in ("joy", "fear")]
LABELS = ["joy", "fear"] * 6
ROWS = list(zip(TEXTS, LABELS, strict=True))
COUNTS = {"fear": 6, "joy": 6}


def draft(source: Path, **wishes: str) -> tuple[Found, Recipe, list[Labelled]]:
    """What init finds, the recipe that it writes, and the samples that are read by that recipe."""
    output = source.parent / "recipe.yaml"
    found = write_recipe(str(source), output, Wishes(**wishes), force=False)
    recipe = load_recipe(output)
    examples = read_labelled(recipe.data, find_modality(recipe.modality)).examples
    assert Counter(example.label for example in examples) == found.labels
    assert len(examples) == found.samples
    return found, recipe, examples


def delimited(separator: str = ",", header: tuple[str, ...] | None = ("text", "label")) -> str:
    lines = [separator.join(row) for row in ([header] if header else []) + ROWS]
    return "\n".join(lines) + "\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", delimited()),
        ("a.tsv", delimited("\t")),
        ("semicolons.csv", delimited(";")),
        ("sep.csv", "sep=;\n" + delimited(";")),
        ("mark.csv", b"\xef\xbb\xbf" + delimited().encode()),
        ("utf16.csv", delimited().encode("utf-16")),
        ("crlf.csv", delimited().replace("\n", "\r\n")),
        ("headerless.csv", delimited(header=None)),
        ("headerless.tsv", delimited("\t", header=None)),
        ("plural.csv", delimited(header=("text", "labels"))),
        ("intents.csv", delimited(header=("utterance", "intent"))),
        ("reviews.csv", delimited(header=("review", "rating"))),
        ("stranger.csv", delimited(header=("tweet", "emotion"))),
        ("lines.jsonl", "\n".join(json.dumps({"text": t, "label": k}) for t, k in ROWS) + "\n"),
        ("index.csv", ",text,label\n" + "\n".join(f"{i},{t},{k}" for i, (t, k) in enumerate(ROWS)) + "\n"),
        (
            "named.csv",
            "filename,text,label\n" + "\n".join(f"{i}.txt,{t},{k}" for i, (t, k) in enumerate(ROWS)),
        ),
    ],
)
def test_write_recipe_reads_texts_when_the_table_is_of_a_usual_form(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    found, recipe, examples = draft(write(tmp_path / name, content))
    assert (found.modality, found.labels) == ("text", COUNTS)
    assert [(example.text, example.label) for example in examples] == ROWS
    assert recipe.data.source == str(tmp_path / name)
    assert any("read as" in remark for remark in found.understood)


def test_write_recipe_guesses_the_encoding_when_the_table_is_of_windows(tmp_path: Path) -> None:
    text = delimited().replace("sentence", "phrase où café")
    _, recipe, examples = draft(write(tmp_path / "a.csv", text.encode("cp1252")))
    assert recipe.data.table.encoding == "cp1252"
    assert examples[0].text == "phrase où café 0 of joy"


def test_write_recipe_reads_a_workbook(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [("text", "label"), *ROWS]:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    found, _, examples = draft(tmp_path / "a.xlsx")
    assert (found.modality, [(example.text, example.label) for example in examples]) == ("text", ROWS)


def test_write_recipe_reads_embedded_pictures_when_the_table_is_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    images = [{"bytes": picture(index), "path": f"{index}.png"} for index in range(12)]
    pq.write_table(pa.table({"image": images, "label": LABELS}), tmp_path / "a.parquet")
    found, _, examples = draft(tmp_path / "a.parquet")
    assert (found.modality, found.labels) == ("image", COUNTS)
    assert [example.read() for example in examples] == [picture(index) for index in range(12)]


def test_write_recipe_keeps_the_splits_when_hugging_face_saved_the_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_dict(
        {"text": TEXTS, "label": [0, 1] * 6},
        features=datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["joy", "fear"])}
        ),
    )
    datasets.DatasetDict({"train": part, "test": part.select(range(4))}).save_to_disk(tmp_path / "saved")
    found, _, examples = draft(tmp_path / "saved")
    assert (found.modality, found.labels) == ("text", {"fear": 8, "joy": 8})
    assert Counter(example.split for example in examples) == {"train": 12, "test": 4}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_write_recipe_reads_metadata_when_a_folder_of_pictures_has_them(tmp_path: Path, name: str) -> None:
    folder = make_pictures(tmp_path / "pictures", [f"{index}.png" for index in range(12)])
    rows = [{"file_name": f"{index}.png", "label": label} for index, label in enumerate(LABELS)]
    if name.endswith("csv"):
        text = "file_name,label\n" + "".join(f"{row['file_name']},{row['label']}\n" for row in rows)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    write(folder / name, text)
    found, _, examples = draft(folder)
    assert (found.modality, found.labels) == ("image", COUNTS)
    assert [(example.source, example.label) for example in examples] == [
        (row["file_name"], row["label"]) for row in rows
    ]


def test_write_recipe_names_the_column_when_it_holds_the_splits(tmp_path: Path) -> None:
    parts = ["train", "train", "train", "val", "val", "test"] * 2
    lines = "".join(f"{t},{k},{s}\n" for (t, k), s in zip(ROWS, parts, strict=True))
    _, recipe, examples = draft(write(tmp_path / "a.csv", "text,label,split\n" + lines))
    assert recipe.data.table.split == "split"
    assert Counter(example.split for example in examples) == {"train": 6, "validation": 4, "test": 2}


@pytest.mark.parametrize("other", ["extra", ""])
def test_write_recipe_tells_of_a_column_of_splits_that_it_cannot_keep(tmp_path: Path, other: str) -> None:
    lines = "".join(f"{t},{k},{s}\n" for (t, k), s in zip(ROWS, ["train", "test", other] * 4, strict=True))
    found, recipe, _ = draft(write(tmp_path / "a.csv", "text,label,split\n" + lines))
    assert recipe.data.table.split is None
    assert any(f"`split` as the split, but '{other}'" in remark for remark in found.understood)
    assert "(data.table.split, data.splits.names)" in found.recipe.read_text()


def test_write_recipe_names_classes_legibly_when_folders_are_not_utf_8(tmp_path: Path) -> None:
    folders = [os.fsdecode(name) for name in (b"caf\xe9", b"caf\xe8", b"tea")]
    names = [f"{folder}/{index}.png" for folder in folders for index in range(3)]
    found, _, _ = draft(make_pictures(tmp_path / "data", names))
    assert found.labels == {"cafè": 3, "café": 3, "tea": 3}
    assert not any("one class" in remark for remark in found.understood)


def test_write_recipe_keeps_the_splits_when_each_has_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        write(folder / f"{name}.csv", delimited().replace("sentence", name))
    found, _, examples = draft(folder)
    assert any("data.layout: '{split}.csv'" in remark for remark in found.understood)
    assert found.samples == 36
    assert Counter(example.split for example in examples) == {"train": 12, "validation": 12, "test": 12}


PATHS = [f"pictures/{label}/{index}.png" for index, label in enumerate(LABELS)]


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("path,label", PATHS),
        ("filename,species", PATHS),
        ("path,label", [path.replace("/", "\\") for path in PATHS]),
        ("path,label", [f"/home/else/data/{path}" for path in PATHS]),
        ("path,label", [f"C:\\Users\\else\\{path}".replace("/", "\\") for path in PATHS]),
        ("path,label", [f"/mnt/k/{path}".replace("/pictures", "") for path in PATHS]),
        ("id,breed", [path.removesuffix(".png") for path in PATHS]),
        ("path,label", [path.removeprefix("pictures/") for path in PATHS]),
        ("image,label", [f" {path} " for path in PATHS]),
        ("file_path,label", [f"file:///home/else/{path}" for path in PATHS]),
    ],
    ids=[
        "plain",
        "names",
        "backslashes",
        "absolute",
        "windows",
        "elsewhere",
        "suffix",
        "root",
        "spaces",
        "url",
    ],
)
def test_write_recipe_finds_the_files_when_a_table_names_them(
    tmp_path: Path, header: str, values: list[str]
) -> None:
    folder = make_pictures(tmp_path / "data", PATHS)
    lines = [f"{value},{label}" for value, label in zip(values, LABELS, strict=True)]
    found, _, examples = draft(write(folder / "labels.csv", "\n".join([header, *lines]) + "\n"))
    assert (found.modality, found.labels) == ("image", COUNTS)
    assert [(example.path.resolve(), example.label) for example in examples if example.path] == [
        (folder / path, label) for path, label in zip(PATHS, LABELS, strict=True)
    ]


def test_write_recipe_makes_twins_one_class_and_says_so(tmp_path: Path) -> None:
    labels = ["Pos", "pos", "pos", "pos\u200b", "neg", "neg ", "neg"]
    lines = "".join(f"text {index},{label}\n" for index, label in enumerate(labels))
    found, recipe, _ = draft(write(tmp_path / "a.csv", "text,label\n" + lines))
    assert found.labels == {"neg": 3, "pos": 4}
    assert recipe.data.labels.rename == {"Pos": "pos", "pos\u200b": "pos"}
    assert any("'Pos' as 'pos'" in remark for remark in found.understood)


HOSTILE = "good\nname: evil # x\r\u2028data: {source: /etc}"


def test_write_recipe_writes_nothing_live_when_a_label_holds_yaml(tmp_path: Path) -> None:
    rows = [{"text": f"text {index}", "label": HOSTILE if index % 2 else "b: c"} for index in range(12)]
    path = write(tmp_path / "lines.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found, recipe, _ = draft(path)
    assert found.labels == {"b: c": 6, "good name: evil # x data: {source: /etc}": 6}
    assert recipe.name == "lines"
    text = found.recipe.read_text()
    assert "\r" not in text
    assert "\u2028" not in text
    assert not [line for line in text.splitlines() if line.startswith(("name: evil", "data: {"))]
    document = yaml.safe_load(text)
    assert document["data"]["labels"]["rename"] == recipe.data.labels.rename
    assert not [line for line in found.to_text().splitlines() if line.startswith(("name:", "data:"))]


def test_write_recipe_writes_nothing_live_when_folders_hold_yaml(tmp_path: Path) -> None:
    names = [f"{folder}/{index}.png" for folder in ("a\nseed: 7", "{label}*") for index in range(3)]
    found, recipe, _ = draft(make_pictures(tmp_path / "odd\nname: evil", names))
    assert (recipe.seed, recipe.name) == (0, "odd-name--evil")
    assert found.labels == {"a seed: 7": 3, "{label}*": 3}


def test_write_recipe_names_the_encoding_when_texts_of_a_folder_are_not_utf_8(tmp_path: Path) -> None:
    for index, (text, label) in enumerate(ROWS):
        make_files(tmp_path / "texts", [f"{label}/{index}.txt"], f"{text} café".encode("cp1252"))
    found, recipe, examples = draft(tmp_path / "texts")
    assert (found.modality, recipe.data.encoding) == ("text", "cp1252")
    assert {example.text for example in examples} == {f"{text} café" for text in TEXTS}


def test_write_recipe_takes_texts_when_a_folders_files_have_no_suffix(tmp_path: Path) -> None:
    for index, (text, label) in enumerate(ROWS):
        make_files(tmp_path / "mails", [f"{label}/{index}"], text.encode())
    found, _, _ = draft(tmp_path / "mails")
    assert (found.modality, found.labels) == ("text", COUNTS)


def test_write_recipe_names_both_when_two_readings_are_possible(tmp_path: Path) -> None:
    names = [
        f"{path}/{index}.png"
        for path in ("pets/cat", "pets/dog", "wild/fox", "wild/owl")
        for index in (0, 1, 2)
    ]
    found, recipe, _ = draft(make_pictures(tmp_path / "animals", names))
    assert recipe.data.layout == "*/{label}/**"
    assert found.labels == {"cat": 3, "dog": 3, "fox": 3, "owl": 3}
    assert '# layout: "{label}/**"' in found.recipe.read_text()
    assert any("could be" in remark and "'{label}/**'" in remark for remark in found.understood)


def test_write_recipe_leaves_out_missing_labels_and_says_so(tmp_path: Path) -> None:
    found, recipe, _ = draft(write(tmp_path / "a.csv", delimited() + "without,\n"))
    assert recipe.data.labels.on_missing == "skip"
    assert any("1 sample(s) without a label are left out" in remark for remark in found.understood)


def test_write_recipe_takes_the_users_word(tmp_path: Path) -> None:
    lines = "".join(f"{t}|{k}|{'ab'[index % 2]}\n" for index, (t, k) in enumerate(ROWS))
    path = write(tmp_path / "a.csv", "words|label|other\n" + lines)
    found, recipe, examples = draft(path, text="words", label="other", separator="|", modality="text")
    assert found.labels == {"a": 6, "b": 6}
    assert (recipe.data.table.text, recipe.data.table.label) == ("words", "other")
    assert [example.text for example in examples] == TEXTS


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            [f"images/{i}.jpg" for i in range(4)] + [f"labels/{i}.txt" for i in range(4)],
            ["labels", "data.layout"],
        ),
        ([f"{i:02}.png" for i in range(8)], ["one subfolder a class"]),
        ([f"only/{i}.png" for i in range(8)], ["class"]),
        (["a/weights.bin", "b/weights.bin"], ["--modality"]),
    ],
)
def test_write_recipe_refuses_with_the_remedy_when_nothing_is_a_label(
    tmp_path: Path, names: list[str], words: list[str]
) -> None:
    folder = make_pictures(tmp_path / "data", names)
    make_files(folder, [name for name in names if name.endswith(".txt")], b"0 0.5 0.5 0.1 0.1\n")
    make_files(folder, [name for name in names if name.endswith(".bin")], b"\0\1\2")
    with pytest.raises(GraftError) as refused:
        draft(folder)
    assert all(word in str(refused.value) for word in words)
    assert not (tmp_path / "recipe.yaml").exists()


def test_write_recipe_refuses_when_the_recipe_exists_or_the_source_does_not(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="does not exist"):
        draft(tmp_path / "nothing")
    write(tmp_path / "recipe.yaml", "name: mine\n")
    with pytest.raises(GraftError, match="--force"):
        draft(write(tmp_path / "a.csv", delimited()))


def prepared(found: Found, folder: Path) -> list[tuple[str, str, str]]:
    run = RunFolder(folder / "run")
    run.root.mkdir()
    prepare_data(load_recipe(found.recipe), run)
    return [(sample.source, sample.label, sample.split) for sample in read_samples(run)]


def test_prepare_data_keeps_every_sample_of_a_drafted_table(tmp_path: Path) -> None:
    found, _, _ = draft(write(tmp_path / "a.csv", delimited(";")))
    samples = prepared(found, tmp_path)
    assert Counter(label for _, label, _ in samples) == COUNTS
    assert {(label, split) for _, label, split in samples} == {
        (label, split) for label in COUNTS for split in ("train", "validation", "test")
    }


def test_prepare_data_keeps_the_splits_of_a_drafted_folder(tmp_path: Path) -> None:
    names = [
        f"{split}/{label}/{index}.png"
        for split in ("train", "val", "test")
        for label in "ab"
        for index in range(4)
    ]
    found, _, _ = draft(make_pictures(tmp_path / "data", names))
    samples = prepared(found, tmp_path)
    assert len(samples) == len(names)
    assert all(
        {"train": "train", "val": "validation", "test": "test"}[Path(path).parts[-3]] == split
        for path, _, split in samples
    )
