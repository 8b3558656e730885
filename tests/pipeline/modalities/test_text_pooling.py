"""The layouts of sentence-transformers: what they say of pooling is heeded, or refused."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.modalities.text.pretrained import load_encoder
from pipeline.modalities.text.recipe import TextBackbone
from tests.encoders import make_encoder

OLD, NEW = "sentence_transformers.models", "sentence_transformers.sentence_transformer.modules.pooling"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "bert", "bert")


@pytest.fixture
def folder(encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder, tmp_path / "bert"))


def load(folder: Path, **options: str):
    return load_encoder(TextBackbone(name="tiny", weights=str(folder), **options))


def describe(root: Path, transformer: str, *steps: tuple[str, str, object]) -> None:
    """Write modules.json, and the config.json of each step's folder."""
    modules = [{"idx": 0, "name": "0", "path": transformer, "type": f"{OLD}.Transformer"}]
    for index, (kind, path, config) in enumerate(steps, 1):
        modules.append({"idx": index, "name": str(index), "path": path, "type": f"{NEW}.{kind}"})
        (root / path).mkdir()
        (root / path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (root / "modules.json").write_text(json.dumps(modules))


CLS = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"embedding_dimension": 32, "pooling_mode": ["lasttoken"], "include_prompt": True}, "last"),
        ({"embedding_dimension": 32, "pooling_mode": "mean"}, "mean"),
        (CLS, "cls"),
        (CLS | {"pooling_mode": "cls"}, "cls"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_load_encoder_follows_the_pooling_noted_beside_the_model(
    folder: Path, config: dict[str, object], pooling: str, listed: bool
) -> None:
    describe(folder, "", ("Pooling", "1_Pooling", config))
    if not listed:
        (folder / "modules.json").unlink()
    assert load(folder).pooling == pooling
    assert load(folder, pooling="last").pooling == "last"


@pytest.mark.parametrize("inner", [True, False])
def test_load_encoder_follows_the_pooling_beside_a_transformer_in_a_folder_of_its_own(
    encoder: Path, tmp_path: Path, inner: bool
) -> None:
    root = tmp_path / "model"
    shutil.copytree(encoder, root / "0_Transformer")
    describe(root, "0_Transformer", ("Pooling", "1_Pooling", CLS))
    assert load(root / "0_Transformer" if inner else root).pooling == "cls"


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("linked", [True, False])
def test_load_encoder_follows_the_pooling_beside_an_inner_folder_linked_or_listed_nowhere(
    encoder: Path, tmp_path: Path, *, listed: bool, linked: bool
) -> None:
    root = tmp_path / "model"
    inner = root / "0_Transformer"
    shutil.copytree(encoder, inner)
    describe(root, "0_Transformer", ("Pooling", "1_Pooling", CLS))
    if not listed:
        (root / "modules.json").unlink()
    link = tmp_path / "elsewhere"
    link.symlink_to(inner)
    assert load(link if linked else inner).pooling == "cls"


def test_load_encoder_follows_the_list_whose_folder_is_a_link(encoder: Path, tmp_path: Path) -> None:
    root = tmp_path / "model"
    root.mkdir()
    (root / "0_Transformer").symlink_to(encoder)
    describe(root, "0_Transformer", ("Pooling", "1_Pooling", CLS))
    assert load(root / "0_Transformer").pooling == load(root).pooling == "cls"


def test_load_encoder_refuses_a_list_that_names_a_folder_that_is_not_there(folder: Path) -> None:
    describe(folder, "0_Transformer", ("Pooling", "1_Pooling", CLS))
    with pytest.raises(GraftError, match=r"backbone\.weights: .*names the folder .*0_Transformer, which is"):
        load(folder)


def test_load_encoder_refuses_a_pooling_whose_folder_is_not_there(folder: Path) -> None:
    describe(folder, "", ("Pooling", "1_Pooling", CLS))
    shutil.rmtree(folder / "1_Pooling")
    with pytest.raises(GraftError, match=r"backbone\.weights: .*1_Pooling/config\.json cannot be read"):
        load(folder)
    assert load(folder, pooling="mean").pooling == "mean"


def test_load_encoder_does_not_heed_a_list_of_other_folders(encoder: Path, tmp_path: Path) -> None:
    root = tmp_path / "models"
    shutil.copytree(encoder, root / "another")
    describe(root, "0_Transformer", ("Pooling", "1_Pooling", CLS))
    assert load(root / "another").pooling == "mean"


def test_load_encoder_says_which_steps_it_leaves_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    describe(folder, "", ("Pooling", "1_Pooling", CLS), ("Dense", "2_Dense", {}), ("Normalize", "3_N", {}))
    with caplog.at_level(logging.INFO, "graft"):
        assert load(folder).pooling == "cls"
    assert "Dense and Normalize of bert, after the pooling, is left out" in caplog.text


@pytest.mark.parametrize("steps", [
    [("LSTM", "1_LSTM", {}), ("Pooling", "2_Pooling", CLS)],
    [("Pooling", "1_Pooling", CLS), ("LSTM", "2_LSTM", {})],
    [("WeightedLayerPooling", "1_WeightedLayerPooling", {})],
])  # fmt: skip
def test_load_encoder_refuses_steps_that_it_cannot_build(
    folder: Path, steps: list[tuple[str, str, object]]
) -> None:
    describe(folder, "", *steps)
    with pytest.raises(
        GraftError, match=r"has the step\S* (LSTM|WeightedLayerPooling).*backbone\.pooling: mean"
    ):
        load(folder)
    assert load(folder, pooling="mean").pooling == "mean", "the choice of who knows better"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"pooling_mode": "max"}, "says max, which is not one"),
        ({"pooling_mode": ["mean", "cls"]}, "says cls, mean"),
        ({"pooling_mode": "weightedmean"}, "says weightedmean"),
        ({"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens, which is not one"),
        (CLS | {"pooling_mode_mean_tokens": True}, "pooling_mode_cls_token, pooling_mode_mean_tokens"),
        (CLS | {"pooling_mode": "mean"}, "says mean, pooling_mode_cls_token"),
        ({}, "says nothing"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_load_encoder_refuses_a_pooling_that_it_does_not_have(
    folder: Path, config: object, words: str
) -> None:
    describe(folder, "", ("Pooling", "1_Pooling", config))
    with pytest.raises(GraftError, match=words) as refused:
        load(folder)
    assert str(refused.value).startswith("backbone.weights: ")
    assert "backbone.pooling" in str(refused.value)


@pytest.mark.parametrize("content", ["{", "[1]", '[{"idx": 0}]', "{}", '"x"'])
def test_load_encoder_refuses_a_list_of_steps_that_cannot_be_read(folder: Path, content: str) -> None:
    (folder / "modules.json").write_text(content)
    with pytest.raises(GraftError, match=r"modules\.json cannot be read"):
        load(folder)


def test_load_encoder_heeds_a_broken_list_above_a_numbered_folder_alone(
    encoder: Path, tmp_path: Path
) -> None:
    (tmp_path / "modules.json").write_text("{}")
    assert load(Path(shutil.copytree(encoder, tmp_path / "mine"))).pooling == "mean"
    with pytest.raises(GraftError, match=r"modules\.json cannot be read"):
        load(Path(shutil.copytree(encoder, tmp_path / "0_Transformer")))


def test_load_encoder_refuses_a_model_that_does_not_begin_with_a_transformer(folder: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{OLD}.WordEmbeddings"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(GraftError, match="begins with a WordEmbeddings"):
        load(folder)


def test_load_encoder_makes_capitals_small_where_the_folder_says_so(encoder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = make_encoder(tmp_path / "roberta", "roberta")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32, "do_lower_case": true}')
    loaded = load(folder)
    tokenizer = Tokenizer.from_str(loaded.tokenizer_json.decode())
    assert tokenizer.encode("GREAT").ids == tokenizer.encode("great").ids
    assert (loaded.limit.longest, loaded.limit.noted) == (64, 32)
