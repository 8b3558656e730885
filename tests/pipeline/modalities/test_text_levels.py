from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.modalities.text.augment import Augmenter, create_augmenter
from pipeline.modalities.text.recipe import TEXT_LEVELS, TextAugment, TextFinetune

SENTENCE = "The service was slow, but the food was well worth the wait in the cold."
anything = st.text(st.characters(exclude_categories=["C"]), max_size=80)


def count_words(text: str) -> int:
    return sum(any(character.isalnum() for character in word) for word in text.split())


@given(anything, st.sampled_from([0.15, 0.6, 0.99]), st.integers(0, 2**31))
def test_change_leaves_half_of_the_words_and_never_an_empty_text(text: str, share: float, seed: int) -> None:
    changed = Augmenter(TextAugment(delete=share, swap=share)).change(text, seed)
    assert count_words(changed) >= max(count_words(text) / 2, min(count_words(text), 3))
    assert bool(changed.strip()) == bool(text.strip())


@pytest.mark.parametrize("text", ["", "   ", "!!! ... ?", "\U0001f600 \U0001f600", "great"])
def test_change_leaves_a_text_with_one_word_or_none_as_it_is(text: str) -> None:
    augmenter = Augmenter(TextAugment(delete=0.9, swap=0.9))
    assert {augmenter.change(text, seed) for seed in range(20)} == {text}


def test_change_never_takes_a_word_out_of_a_very_short_text() -> None:
    augmenter = Augmenter(TextAugment(delete=0.9, swap=0.5))
    assert {augmenter.change("not good", seed) for seed in range(50)} == {"not good", "good not"}


def test_change_replaces_no_word_of_one_or_two_letters() -> None:
    augmenter = Augmenter(TextAugment(synonym=0.99), lambda word: ("other",))
    changed = {augmenter.change("I am in awe", seed) for seed in range(50)}
    assert changed == {"I am in other"}


def test_change_keeps_one_word_beside_punctuation() -> None:
    augmenter = Augmenter(TextAugment(delete=0.9))
    assert all("great" in augmenter.change("great ! ! :-)", seed) for seed in range(50))


@pytest.mark.parametrize(
    "text",
    [
        "\u4eca\u5929\u5929\u6c14\u5f88\u597d \u6211\u4eec\u53bb\u516c\u56ed",
        "\u3053\u3093\u306b\u3061\u306f \u4e16\u754c",
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    ],
)
def test_change_leaves_scripts_without_spaces_as_they_are(text: str) -> None:
    augmenter = Augmenter(TextAugment(level="strong", delete=0.9))
    assert {augmenter.change(text, seed) for seed in range(20)} == {text}
    mixed = {augmenter.change(f"one two {text} three four", seed) for seed in range(20)}
    assert len(mixed) > 1
    assert all(clause in changed for changed in mixed for clause in text.split())


def test_change_works_on_other_alphabets_with_spaces() -> None:
    greek = "\u03b1\u03b2 \u03b3\u03b4 \u03b5\u03b6 \u03b7\u03b8 \u03b9\u03ba"
    assert len({Augmenter(TextAugment(level="strong")).change(greek, seed) for seed in range(20)}) > 3


def test_levels_are_distinct_and_grow() -> None:
    assert create_augmenter(TextFinetune.model_validate({"augment": "none"}).augment) is None
    changed = {}
    for level in ("light", "strong"):
        augmenter = create_augmenter(TextFinetune.model_validate({"augment": level}).augment)
        assert augmenter is not None
        changed[level] = sum(augmenter.change(SENTENCE, seed) != SENTENCE for seed in range(200)) / 200
    assert 0.2 < changed["light"] < changed["strong"] <= 1


def test_level_fills_in_what_is_left_out_and_comes_back_from_its_own_dump() -> None:
    chosen = TextAugment.model_validate({"level": "strong", "swap": 0.0})
    assert (chosen.delete, chosen.swap) == (TEXT_LEVELS["strong"]["delete"], 0.0)
    assert TextAugment.model_validate(chosen.model_dump(mode="json")) == chosen


@pytest.mark.parametrize(
    "wrong", ["heavy", ["light"], {"level": 3}, {"delete": 1.0}, {"level": "light", "x": 1}]
)
def test_recipe_refuses_what_is_no_level(wrong: object) -> None:
    with pytest.raises(ValidationError):
        TextFinetune.model_validate({"augment": wrong})
