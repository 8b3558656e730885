"""Networks are rebuilt from a checkpoint's card as they were loaded, and cards of old are read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from benchmarks.families.texts import FAMILIES
from pipeline.errors import GraftError
from pipeline.modalities.text.reading.lengths import Limit, limit_of
from pipeline.modalities.text.training import build_classifier, load_pretrained
from pipeline.recipe.reading import parse_recipe
from tests.encoders import _config, make_encoder, text_recipe

FEEDS = {"input_ids": torch.tensor([[2, 5, 6, 7, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.int64)}


def load(family: str, folder: Path, **text: int):
    FAMILIES[family](folder)
    return load_pretrained(parse_recipe(text_recipe(Path("t.csv"), folder, text={"max_tokens": 20} | text)))


@pytest.mark.parametrize(
    ("family", "model_class", "encoder_only", "features"),
    [
        ("t5", "T5EncoderModel", True, 32),
        ("bart", "BartModel", True, 32),
        ("opt", "OPTModel", False, 16),  # its hidden_size is 32
        ("squeezebert", "SqueezeBertModel", False, 32),  # it calls its pooler whether it has one or not
        ("reformer", "ReformerModel", False, 64),
        ("mamba2", "Mamba2Model", False, 32),  # its configuration holds an infinity
    ],
)
def test_build_classifier_gives_the_network_that_was_loaded(
    tmp_path: Path, family: str, model_class: str, encoder_only: bool, features: int
) -> None:
    pretrained = load(family, tmp_path)
    card = pretrained.network
    assert (card["model_class"], card["encoder_only"], card["features"]) == (
        model_class,
        encoder_only,
        features,
    )
    rebuilt = build_classifier(card, 2)
    state = pretrained.classifier.saved().state_dict()
    assert not any("pooler" in name or "decoder" in name for name in state if family != "opt")
    rebuilt.load_state_dict(state)
    with torch.inference_mode():
        expected = pretrained.classifier.embed(**FEEDS)
        assert expected.shape == (1, features)
        assert torch.equal(rebuilt.eval().embed(**FEEDS), expected)


def test_load_pretrained_takes_the_encoder_of_weights_with_a_decoder(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    FAMILIES["t5"](tmp_path)
    torch.manual_seed(1)
    whole = T5ForConditionalGeneration(T5Config.from_pretrained(tmp_path)).eval()
    whole.save_pretrained(tmp_path)
    recipe = parse_recipe(text_recipe(Path("t.csv"), tmp_path))
    with torch.inference_mode():
        expected = whole.encoder(**FEEDS).last_hidden_state.mean(dim=1)
        assert torch.equal(load_pretrained(recipe).classifier.embed(**FEEDS), expected)


def test_build_classifier_reads_a_card_without_a_class() -> None:
    card = {"config": _config("bert", 100).to_diff_dict(), "pooling": "mean"}
    network = build_classifier(card, 3)
    assert type(network.encoder).__name__ == "BertModel"
    assert network.head.weight.shape == (3, 32)


@pytest.mark.parametrize("name", ["NoSuchModel", "AutoModel", "pipeline", "BertConfig"])
def test_build_classifier_refuses_a_class_that_transformers_does_not_have(name: str) -> None:
    card = {"config": _config("bert", 100).to_diff_dict(), "pooling": "mean", "model_class": name}
    with pytest.raises(GraftError, match=f"has no {name}"):
        build_classifier(card, 3)


def test_load_pretrained_refuses_what_is_not_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="no table of vectors of tokens"):
        load("canine", tmp_path)


@pytest.mark.parametrize(
    ("family", "noted", "longest"),
    [
        ("bert", 20, Limit(64, 20)),
        ("bert", 64, Limit(64, None)),
        ("roberta", None, Limit(64, None)),
        ("opt", None, Limit(64, None)),
        ("bart", None, Limit(64, None)),
        ("mpt", None, Limit(64, None)),
        ("t5", None, Limit(8192, None)),
        ("t5", 512, Limit(8192, 512)),
        ("xlnet", None, Limit(8192, None)),  # it notes -1
        ("mamba", None, Limit(8192, None)),
    ],
)
def test_limit_of_finds_the_number_of_tokens(family: str, noted: int | None, longest: Limit) -> None:
    from transformers import AutoConfig, AutoModel

    from benchmarks.families.texts import CONFIGURATIONS, IDS

    with torch.device("meta"):
        config = AutoConfig.for_model(family, vocab_size=50, **IDS | CONFIGURATIONS[family])
        model = AutoModel.from_config(config)
    encoder = model.get_encoder() if config.is_encoder_decoder else model
    assert limit_of(encoder, noted) == longest


def test_load_pretrained_says_that_texts_are_longer_than_the_encoder_was_made_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_encoder(tmp_path / "bert")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    with caplog.at_level(logging.WARNING, "graft"):
        load_pretrained(parse_recipe(text_recipe(Path("t.csv"), folder)))
    assert "text.max_tokens: 20, but tiny notes that it was made for 12 tokens at most." in caplog.text
