"""A sentencepiece model alone gives its own ids, or is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from pipeline.errors import GraftError
from pipeline.modalities.text.reading.agreement import PROBES, first_difference
from pipeline.modalities.text.reading.architectures import read_config
from pipeline.modalities.text.reading.layout import find_layout
from pipeline.modalities.text.reading.tokenizing import load_tokenizer
from tests.encoders import WORDS

spm = pytest.importorskip("sentencepiece")

BERT_ENDS = {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]", "pad_piece": "[PAD]"}
COMMON = {"vocab_size": 120, "hard_vocab_limit": False, "minloglevel": 2}
MODELS: dict[str, dict[str, object]] = {
    "unigram": {"model_type": "unigram"},
    "t5": {"model_type": "unigram", "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "deberta": {"model_type": "unigram", "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, **BERT_ENDS},
    "albert": {
        "model_type": "unigram",
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": -1,
        "eos_id": -1,
        "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
        "user_defined_symbols": ["(", ")", '"', "-", ".", "\u2013"],
    },
    "llama": {
        "model_type": "bpe",
        "vocab_size": 400,
        "byte_fallback": True,
        "split_digits": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
}
# Kind, model, file, the offset of its ids, and its ids of no text.
KINDS = [
    ("xlm-roberta", "unigram", "sentencepiece.bpe.model", 1, ["<s>", "</s>"]),
    ("camembert", "unigram", "sentencepiece.bpe.model", 4, ["<s>", "</s>"]),
    ("big_bird", "unigram", "spiece.model", 0, ["[CLS]", "[SEP]"]),
    ("deberta-v2", "deberta", "spm.model", 0, ["[CLS]", "[SEP]"]),
    ("t5", "t5", "spiece.model", 0, ["</s>"]),
    ("umt5", "t5", "spiece.model", 0, ["</s>"]),
    ("llama", "llama", "tokenizer.model", 0, ["<s>"]),
    ("mistral", "llama", "tokenizer.model", 0, ["<s>"]),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models of a few words, accents, digits, Chinese and emoji."""
    base, chance = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    words = [
        *WORDS,
        "Hello",
        "2024",
        "100",
        "na\u00efve",
        "e\u0301",
        "\u4f60\u597d",
        "\u4e16\u754c",
        "\U0001f389",
    ]
    lines = [" ".join(chance.choice(words, 8)) for _ in range(400)]
    for name, options in MODELS.items():
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_prefix=str(base / name), **(COMMON | options)
        )
    return base


def write(folder: Path, kind: str, model: Path, file: str) -> Path:
    folder.mkdir()
    shutil.copy(model, folder / file)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    return folder


def load(folder: Path) -> Tokenizer:
    loaded = load_tokenizer(find_layout(folder), read_config(folder))
    return Tokenizer.from_str(loaded.to_bytes().decode())


@pytest.mark.parametrize(("kind", "model", "file", "offset", "ends"), KINDS)
def test_load_tokenizer_gives_the_ids_of_sentencepiece(
    models: Path, tmp_path: Path, kind: str, model: str, file: str, offset: int, ends: list[str]
) -> None:
    tokenizer = load(write(tmp_path / kind, kind, models / f"{model}.model", file))
    pieces = spm.SentencePieceProcessor(model_file=str(models / f"{model}.model"))
    unknown = tokenizer.token_to_id(pieces.id_to_piece(pieces.unk_id()))
    for text in PROBES:
        expected = [unknown if i == pieces.unk_id() else i + offset for i in pieces.encode(text)]
        assert tokenizer.encode(text, add_special_tokens=False).ids == expected, text
    assert tokenizer.encode("").tokens == ends


def test_load_tokenizer_cleans_texts_as_albert_does(models: Path, tmp_path: Path) -> None:
    tokenizer = load(write(tmp_path / "albert", "albert", models / "albert.model", "spiece.model"))
    pieces = spm.SentencePieceProcessor(model_file=str(models / "albert.model"))
    encoded = tokenizer.encode("  ``The  SUN'' (na\u00efve-e\u0301) was\tgood.", add_special_tokens=False)
    assert encoded.ids == pieces.encode('"the sun" (naive-e) was good.')
    assert tokenizer.encode("").tokens == ["[CLS]", "[SEP]"]


def test_load_tokenizer_heeds_which_special_tokens_a_llama_gets(models: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "llama", "llama", models / "llama.model", "tokenizer.model")
    stated = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False, "add_eos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    assert load(folder).encode("").tokens == ["</s>"]


def test_load_tokenizer_refuses_a_class_whose_ids_are_not_known(models: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "mbart", "mbart", models / "unigram.model", "sentencepiece.bpe.model")
    with pytest.raises(GraftError, match=r"how a MBartTokenizer uses it is not known.*save_pretrained"):
        load(folder)


def test_load_tokenizer_refuses_what_gets_other_ids(models: Path, tmp_path: Path) -> None:
    """RemBERT's own models have other special pieces, so that the ids of unknown letters differ."""
    folder = write(tmp_path / "rembert", "rembert", models / "unigram.model", "sentencepiece.model")
    with pytest.raises(GraftError, match=r"no fast tokenizer could be made.*it does not for 'The quick"):
        load(folder)


@pytest.mark.parametrize("name", ["tokenizer.model", "qwen.tiktoken"])
def test_load_tokenizer_refuses_a_list_of_ranks(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("IQ== 0\nIg== 1\n")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(GraftError, match=rf"is {name} alone, which does not say how texts are split"):
        load(tmp_path)


def test_load_tokenizer_names_the_extra_where_sentencepiece_is_missing(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "t5", "t5", models / "t5.model", "spiece.model")
    monkeypatch.setattr("pipeline.machine.extras.find_spec", lambda name: None)
    with pytest.raises(GraftError, match=r"`sentencepiece` is needed.*graft-ml\[text\]"):
        load(folder)


def test_first_difference_returns_the_text_that_differs() -> None:
    assert first_difference(lambda text: [len(text)], lambda text: [len(text)]) is None
    found = first_difference(lambda text: [1], lambda text: [2 if "\U0001f389" in text else 1])
    assert found is not None
    assert "\U0001f389" in found
