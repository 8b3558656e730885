from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.layouts.pattern import Found, literal, read_pattern
from pipeline.errors import DataError

NAMES = st.text("ab1 .*#{}[]()\\?é'\"\n", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("{label}/**", "cat/a.jpg", Found(label="cat")),
        ("{label}/**", "cat/deep/er/a.jpg", Found(label="cat")),
        ("{label}/**", "a.jpg", None),
        ("{split}/{label}/**", "train/cat/a.jpg", Found("train", "cat")),
        ("*/{label}/**", "x/cat/a.jpg", Found(label="cat")),
        ("*/{label}/**", "x/y.jpg", None),
        ("{split}/{label}.*", "train/cat.0.jpg", Found("train", "cat")),
        ("{split}_{label}_*", "train_cat_dog_1.jpg", Found("train", "cat")),
        ("{label}_#.*", "great_dane_12.jpg", Found(label="great_dane")),
        ("{label}_#.*", "great_dane_x.jpg", None),
        ("{label}/{group}-*.png", "cat/p1-2.png", Found(label="cat", group="p1")),
        ("**/unsup/**", "train/unsup/a.txt", Found()),
        ("**/unsup/**", "unsup/a.txt", Found()),
        ("**/unsup/**", "train/unsupported/a.txt", None),
        ("**/*.png", "a.png", Found()),
        ("{label}/**", "two\nlines/a.jpg", Found(label="two\nlines")),
        ("a+b/{label}/**", "a+b/c/d", Found(label="c")),
        ("a.c/{label}/**", "abc/c/d", None),
    ],
)
def test_match_reads_what_a_path_says(text: str, path: str, found: Found | None) -> None:
    assert read_pattern(text, "data.layout").match(path) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{class}/**", "`{class}` is no place"),
        ("{split}/**", "`{label}` is missing"),
        ("{label}/{label}/**", "one place stands in it twice"),
        ("{}/{label}", "`{}` is no place"),
    ],
)
def test_read_pattern_refuses_with_an_example(text: str, words: str) -> None:
    with pytest.raises(DataError) as refused:
        read_pattern(text, "data.layout", ["label"])
    assert words in str(refused.value)
    assert "data.layout" in str(refused.value)
    assert "{split}/{label}/**" in str(refused.value)


@given(NAMES, NAMES)
def test_literal_fits_its_own_name_whatever_is_in_it(folder: str, label: str) -> None:
    found = read_pattern(f"{literal(folder)}/{{label}}/**", "data.layout").match(f"{folder}/{label}/x")
    assert found == Found(label=label)
