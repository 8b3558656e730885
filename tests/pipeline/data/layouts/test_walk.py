from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from pipeline.data.layouts.walk import Tree, walk
from pipeline.errors import DataError
from pipeline.modalities.registry import find_modality
from tests.pipeline.data.tiny import make_files, make_pictures, picture


def look(root: Path, kind: str = "image") -> Tree:
    return walk(root, find_modality(kind).takes)


JUNK = (
    ".DS_Store", "a/.DS_Store", "a/Thumbs.db", "a/desktop.ini", "a/._x.png", "a/@eaDir/x.png",
    "__MACOSX/a/x.png", "a/.ipynb_checkpoints/x-checkpoint.png", ".git/x.png",
    "a/.hidden/x.png", "a/THUMBS.DB", "a/Icon\r",
)  # fmt: skip


def test_walk_leaves_out_what_is_hidden_or_left_behind(tmp_path: Path) -> None:
    make_files(make_pictures(tmp_path, ["a/x.png", "b/y.png"]), JUNK, picture(9))
    tree = look(tmp_path)
    assert (tree.files, tree.others, tree.empty) == (["a/x.png", "b/y.png"], [], [])


def test_walk_counts_files_that_are_no_samples(tmp_path: Path) -> None:
    make_files(
        make_pictures(tmp_path, ["a/x.png"]), ["a/x.txt", "a/x.json", "a/y.xml", "b/LICENSE", "b/z.TXT"]
    )
    tree = look(tmp_path)
    assert tree.files == ["a/x.png"]
    assert tree.suffixes() == {".txt": 2, ".json": 1, ".xml": 1, "LICENSE": 1}


def test_walk_goes_by_the_first_bytes_when_a_name_says_nothing(tmp_path: Path) -> None:
    make_files(make_pictures(tmp_path, ["a/picture"]), ["a/mail"], b"Dear all")
    assert look(tmp_path).files == ["a/picture"]
    assert look(tmp_path, "text").files == ["a/mail"]


def test_walk_follows_links_and_keeps_dead_ones_for_the_audit(tmp_path: Path) -> None:
    make_pictures(tmp_path, ["away/x.png", "data/cat/y.png"])
    (tmp_path / "data/dog").symlink_to(tmp_path / "away")
    (tmp_path / "data/cat/link.png").symlink_to(tmp_path / "away/x.png")
    (tmp_path / "data/cat/dead.png").symlink_to(tmp_path / "nowhere")
    tree = look(tmp_path / "data")
    assert tree.files == ["cat/dead.png", "cat/link.png", "cat/y.png", "dog/x.png"]


def test_walk_tells_of_loops_and_does_not_follow_them(tmp_path: Path) -> None:
    make_pictures(tmp_path, ["cat/x.png"])
    (tmp_path / "cat/loop").symlink_to(tmp_path)
    (tmp_path / "cat/self").symlink_to("self")
    tree = look(tmp_path)
    assert tree.files == ["cat/x.png"]
    assert tree.loops == ["cat/loop"]


def test_walk_takes_a_pipe_for_no_sample(tmp_path: Path) -> None:
    make_pictures(tmp_path, ["cat/x.png"])
    os.mkfifo(tmp_path / "cat/pipe.png")
    (tmp_path / "cat/linked.png").symlink_to("pipe.png")
    tree = look(tmp_path)
    assert tree.others == ["cat/linked.png", "cat/pipe.png"]


def test_walk_tells_of_empty_folders(tmp_path: Path) -> None:
    make_files(tmp_path, ["cat/x.png", "lizard/.DS_Store"])
    (tmp_path / "dog/inner").mkdir(parents=True)
    assert look(tmp_path).empty == ["dog/inner", "dog", "lizard"]


def test_walk_gives_every_name_as_it_is(tmp_path: Path) -> None:
    names = sorted(
        [
            "a b/x y.png",
            'it\'s "so"/x.png',
            "two\nlines/x.png",
            f"{unicodedata.normalize('NFC', 'é')}/x.png",
            f"{unicodedata.normalize('NFD', 'é')}/x.png",
            os.fsdecode(b"caf\xe9/\xff.png"),
        ]
    )
    make_pictures(tmp_path, names)
    assert look(tmp_path).files == names


def test_walk_refuses_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        look(tmp_path / "none")
