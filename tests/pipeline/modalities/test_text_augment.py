from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import GraftError
from pipeline.modalities.text.augment import Augmenter, create_augmenter
from pipeline.modalities.text.recipe import TextAugment
from pipeline.modalities.text.wordnet import load_wordnet

texts = st.lists(
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8), min_size=1, max_size=30
).map(" ".join)
TEN = " ".join(f"w{i}" for i in range(10))


@given(texts, st.floats(0, 0.99), st.integers(0, 2**31))
def test_deletion_keeps_order_and_at_least_one_word(text: str, share: float, seed: int) -> None:
    words, left = text.split(), Augmenter(TextAugment(delete=share)).change(text, seed).split()
    assert left
    remaining = iter(words)
    assert all(word in remaining for word in left), "a subsequence"


@given(texts, st.floats(0, 0.99), st.integers(0, 2**31))
def test_swaps_keep_every_word(text: str, share: float, seed: int) -> None:
    assert Counter(Augmenter(TextAugment(swap=share)).change(text, seed).split()) == Counter(text.split())


def test_changes_follow_the_seed_and_their_shares() -> None:
    augmenter = Augmenter(TextAugment(delete=0.3))
    assert augmenter.change(TEN, 1) == augmenter.change(TEN, 1)
    kept = sum(len(augmenter.change(TEN, seed).split()) for seed in range(300)) / 3000
    assert 0.65 < kept < 0.75


def test_synonyms_replace_words_but_not_names_and_numbers() -> None:
    augmenter = Augmenter(TextAugment(synonym=0.99), lambda word: ("glad",) if word == "happy" else ())
    changed = {augmenter.change("Happy @happy happy2 #happy", seed) for seed in range(20)}
    assert "glad @happy happy2 #happy" in changed
    assert all(text.split()[1:] == ["@happy", "happy2", "#happy"] for text in changed)


def test_create_augmenter_gives_none_when_all_is_off() -> None:
    assert create_augmenter(TextAugment()) is None


def test_load_wordnet_knows_synonyms_of_common_words() -> None:
    synonyms = load_wordnet()
    assert "car" not in synonyms("car")
    assert {"auto", "automobile"} <= set(synonyms("car"))
    assert "detest" in synonyms("hate"), "the verb is more frequent than the noun"
    assert synonyms("zzzzz") == ()


def test_load_wordnet_names_the_extra_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.machine.extras.find_spec", lambda name: None)
    with pytest.raises(GraftError, match=r"graft-ml\[wordnet\]"):
        create_augmenter(TextAugment(synonym=0.1))
