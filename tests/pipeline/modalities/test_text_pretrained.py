"""Encoders and tokenizers are exact, or refused with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.families.texts import FAMILIES
from pipeline.errors import GraftError
from pipeline.modalities.text.pretrained import load_encoder
from pipeline.modalities.text.recipe import TextBackbone
from pipeline.modalities.text.training import load_pretrained
from pipeline.recipe.reading import parse_recipe
from tests.encoders import KINDS, make_encoder, text_recipe


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("encoders")
    return {kind: make_encoder(base / kind, kind) for kind in KINDS}


def load(folder: Path, **options: str):
    return load_encoder(TextBackbone(name="tiny", weights=str(folder), **options))


@pytest.fixture
def bert(encoders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoders["bert"], tmp_path / "bert"))


@pytest.mark.parametrize(("kind", "pooling", "pad", "longest"), [
    ("bert", "mean", 0, 64), ("distilbert", "mean", 0, 64), ("roberta", "mean", 1, 64),
    ("modernbert", "mean", 1, 64), ("gpt2", "last", 2, 64),
])  # fmt: skip
def test_load_encoder_finds_pooling_padding_and_length(
    encoders: dict[str, Path], kind: str, pooling: str, pad: int, longest: int
) -> None:
    encoder = load(encoders[kind])
    assert (encoder.pooling, encoder.pad_id, encoder.longest) == (pooling, pad, longest)
    document = json.loads(encoder.tokenizer_json)
    assert document["padding"] is document["truncation"] is None


def test_load_encoder_refuses_when_weights_are_missing(bert: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(bert / "model.safetensors")
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, bert / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        GraftError, match=r"encoder\.layer\.1\.output\.dense\.weight` is missing.*Random weights are never"
    ):
        load(bert)


def test_load_encoder_refuses_code_from_the_folder(bert: Path) -> None:
    config = json.loads((bert / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (bert / "config.json").write_text(json.dumps(config))
    (bert / "own.py").write_text("raise SystemExit('code of the folder ran')")
    with pytest.raises(GraftError, match="did not give an encoder"):
        load(bert)


def test_load_encoder_refuses_a_tokenizer_of_another_model(bert: Path, encoders: dict[str, Path]) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(encoders["roberta"] / name, bert / name)
    with pytest.raises(GraftError, match="another model's"):
        load(bert)


@pytest.mark.parametrize(
    ("broken", "remedy"),
    [("tokenizer.json", "Three ways"), ("config.json", "Three ways"), ("model.safetensors", "Copy it again")],
)
def test_load_encoder_refuses_when_a_file_is_broken(bert: Path, broken: str, remedy: str) -> None:
    (bert / broken).write_bytes((bert / broken).read_bytes()[:50])
    with pytest.raises(GraftError, match=remedy):
        load(bert)


def test_load_encoder_names_three_ways_when_the_hub_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offline(monkeypatch, tmp_path)
    with pytest.raises(GraftError, match="Three ways"):
        load_encoder(TextBackbone(name="nobody/nothing"))


def test_load_encoder_reads_the_hub_from_a_filled_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoders: dict[str, Path]
) -> None:
    offline(monkeypatch, tmp_path)
    repository = tmp_path / "models--me--tiny"
    shutil.copytree(encoders["bert"], repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    found = load_encoder(TextBackbone(name="me/tiny")).model.state_dict()
    expected = load(encoders["bert"]).model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    import huggingface_hub
    import transformers.utils.hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    for name in ("TRANSFORMERS_CACHE", "HF_HUB_CACHE"):
        if hasattr(transformers.utils.hub, name):
            monkeypatch.setattr(transformers.utils.hub, name, str(cache))


def test_load_pretrained_refuses_more_tokens_than_there_are_positions(encoders: dict[str, Path]) -> None:
    recipe = parse_recipe(text_recipe(Path("t.csv"), encoders["roberta"], text={"max_tokens": 65}))
    with pytest.raises(GraftError, match=r"text\.max_tokens: 65, but tiny reads 64 at most"):
        load_pretrained(recipe)


def test_load_encoder_refuses_a_file_where_a_folder_is_needed(bert: Path) -> None:
    with pytest.raises(GraftError, match="an encoder is a folder"):
        load(bert / "model.safetensors")


@pytest.mark.parametrize("family", ["qwen2_vl", "gemma3"])
def test_load_encoder_reads_the_part_for_texts_of_a_model_of_pictures_too(
    tmp_path: Path, family: str
) -> None:
    encoder = load_encoder(FAMILIES[family](tmp_path))
    assert (encoder.pooling, encoder.pad_id, encoder.longest) == ("last", 0, 64)


def test_load_encoder_refuses_a_model_of_two_encoders(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="has no table of vectors of tokens"):
        load_encoder(FAMILIES["clip"](tmp_path))
