"""However an encoder is stored, it loads to the same tensors and token ids, or is refused with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from pipeline.errors import GraftError
from pipeline.modalities.text.pretrained import Encoder, load_encoder
from pipeline.modalities.text.reading.agreement import PROBES
from pipeline.modalities.text.recipe import TextBackbone
from tests.encoders import make_encoder

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
SECOND = "model-00002-of-00003.safetensors"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("encoders")
    return {kind: make_encoder(base / kind, kind) for kind in ("bert", "roberta")}


@pytest.fixture
def bert(encoders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoders["bert"], tmp_path / "bert"))


def load(folder: Path) -> Encoder:
    return load_encoder(TextBackbone(name="tiny", weights=str(folder)))


def ids_of(encoder: Encoder) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(encoder.tokenizer_json.decode())
    return [tokenizer.encode(text).ids for text in PROBES]


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    save_file(change(load_file(folder / SAFE)), folder / SAFE, metadata={"format": "pt"})


def renamed(prefix: str, **beside: torch.Tensor) -> Callable[[Path], None]:
    return lambda folder: rewrite(
        folder, lambda tensors: {f"{prefix}{name}": value for name, value in tensors.items()} | beside
    )


def as_type(kind: torch.dtype) -> Callable[[Path], None]:
    return lambda folder: rewrite(
        folder, lambda tensors: {name: value.to(kind) for name, value in tensors.items()}
    )


def pickled(wrap: Callable[[Tensors], object] = lambda tensors: tensors) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        torch.save(wrap(load_file(folder / SAFE)), folder / PICKLED)
        (folder / SAFE).unlink()

    return change


def sharded(suffix: str, write: Callable[[Tensors, Path], None]) -> Callable[[Path], None]:
    """The tensors in three files with an index, as save_pretrained() writes large models."""

    def change(folder: Path) -> None:
        tensors = load_file(folder / SAFE)
        (folder / SAFE).unlink()
        stem = suffix.partition(".")[0]
        places = {name: f"{stem}-{i % 3 + 1:05}-of-00003.{suffix.partition('.')[2]}" for i, name in
                  enumerate(tensors)}  # fmt: skip
        for place in set(places.values()):
            write({name: tensors[name] for name in tensors if places[name] == place}, folder / place)
        (folder / f"{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))

    return change


HEAD = {"classifier.weight": torch.ones(7, 32), "classifier.bias": torch.ones(7)}
STORAGES: dict[str, Callable[[Path], None]] = {
    "fp32": lambda folder: None,
    "fp64": as_type(torch.float64),
    "sharded": sharded(SAFE, lambda tensors, path: save_file(tensors, path, metadata={"format": "pt"})),
    "bert.": renamed("bert.", **HEAD),
    "model.": renamed("model."),
    "encoder.": renamed("encoder."),
    "module.bert.": renamed("module.bert.", **{f"module.{name}": value for name, value in HEAD.items()}),
    "a head beside it": renamed("", **HEAD),
    "positions of old versions": renamed("", **{"embeddings.position_ids": torch.arange(64)[None]}),
    "pickled": pickled(),
    "pickled in a checkpoint": pickled(lambda tensors: {"state_dict": tensors, "epoch": 3}),
    "pickled and sharded": sharded(PICKLED, torch.save),
}


@pytest.mark.parametrize("storage", STORAGES)
def test_load_encoder_gives_the_same_tensors(encoders: dict[str, Path], bert: Path, storage: str) -> None:
    STORAGES[storage](bert)
    expected, found = load(encoders["bert"]).model.state_dict(), load(bert).model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_load_encoder_keeps_its_tensors_when_the_file_changes(encoders: dict[str, Path], bert: Path) -> None:
    found, size = load(bert).model.state_dict(), (bert / SAFE).stat().st_size
    with (bert / SAFE).open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\1" * (size // 3))
    expected = load(encoders["bert"]).model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_load_encoder_gives_half_precision_back_in_float32(bert: Path, kind: torch.dtype) -> None:
    as_type(kind)(bert)
    found = load(bert).model.state_dict()
    stored = load_file(bert / SAFE)
    names = [name for name in stored if not name.startswith("pooler.")]
    assert {found[name].dtype for name in names} == {torch.float32}
    assert all(torch.equal(found[name], stored[name].float()) for name in names)


@pytest.mark.parametrize("head", ["BertForMaskedLM", "BertForSequenceClassification", "BertForPreTraining"])
def test_load_encoder_takes_the_encoder_of_a_model_with_a_head(tmp_path: Path, bert: Path, head: str) -> None:
    import transformers

    whole = getattr(transformers, head)(transformers.BertConfig.from_pretrained(bert))
    whole.save_pretrained(bert)
    found = load(bert).model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in whole.bert.state_dict().items()
               if not name.startswith("pooler."))  # fmt: skip


def with_layer(number: int) -> Callable[[Path], None]:
    name = "encoder.layer.{}.output.dense.weight"
    return lambda folder: rewrite(
        folder, lambda tensors: tensors | {name.format(number): tensors[name.format(1)].clone()}
    )


def with_value(value: float, kind: torch.dtype = torch.float64) -> Callable[[Path], None]:
    name = "encoder.layer.0.output.dense.bias"
    return lambda folder: rewrite(
        folder, lambda tensors: tensors | {name: torch.full((32,), value, dtype=kind)}
    )


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def and_then(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: [change(folder) for change in changes] and None


class Owned:
    """Something of a training's own that a file of weights may hold."""


def configured(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        document = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(document | changes))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_layer(2), r"`encoder\.layer\.2\.output\.dense\.weight` is left over"),
        (configured(num_hidden_layers=3), r"`encoder\.layer\.2\.\S+` is missing; .*; and 11 more"),
        (configured(intermediate_size=48), "has another shape"),
        (with_value(1e300), "is not finite in float32"),
        (with_value(float("nan"), torch.float32), "is not finite in float32"),
        (with_value(3, torch.int8), r"`encoder\.layer\.0\.output\.dense\.bias` is of type int8"),
        (pickled(lambda tensors: tensors | {"own": Owned()}), r"would run its code.*torch\.load\("),
        (pickled(lambda tensors: [tensors]), "holds no mapping of tensors by their names"),
        (and_then(STORAGES["sharded"], without(SECOND)), "not there: model-00002"),
        (without(SAFE), "has neither model.safetensors nor pytorch_model.bin"),
        (and_then(without(SAFE), lambda folder: (folder / "tiny.gguf").write_bytes(b"GGUF")), "is GGUF"),
        (configured(quantization_config={"quant_method": "gptq", "bits": 4}), "are quantised"),
        (
            and_then(without("config.json"), lambda folder: (folder / "adapter_config.json").touch()),
            "holds an adapter.*merge_and_unload",
        ),
    ],
)  # fmt: skip
def test_load_encoder_refuses_weights_that_are_not_the_encoder(
    bert: Path, change: Callable[[Path], None], words: str
) -> None:
    change(bert)
    with pytest.raises(GraftError, match=words) as refused:
        load(bert)
    assert "\n" not in str(refused.value)


def test_load_encoder_reads_a_vocabulary_alone(encoders: dict[str, Path], bert: Path) -> None:
    expected = load(bert)
    vocabulary = Tokenizer.from_file(str(bert / "tokenizer.json")).get_vocab()
    without("tokenizer.json", "tokenizer_config.json")(bert)
    (bert / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    assert ids_of(load(bert)) == ids_of(expected)


@pytest.mark.parametrize("stated", [{}, {"do_lower_case": False}])
def test_load_encoder_keeps_capitals_where_the_vocabulary_has_some(bert: Path, stated: object) -> None:
    without("tokenizer.json")(bert)
    (bert / "tokenizer_config.json").write_text(json.dumps(stated))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Good", "day"]
    (bert / "vocab.txt").write_text("\n".join(words))
    tokenizer = Tokenizer.from_str(load(bert).tokenizer_json.decode())
    assert tokenizer.encode("Good day").tokens == ["[CLS]", "Good", "day", "[SEP]"]


def test_load_encoder_refuses_a_folder_without_a_vocabulary(bert: Path) -> None:
    without("tokenizer.json", "tokenizer_config.json")(bert)
    with pytest.raises(GraftError, match=r"has no vocabulary|did not give an encoder and its tokenizer"):
        load(bert)


def test_load_encoder_reads_a_vocabulary_and_merges_alone(encoders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoders["roberta"], tmp_path / "roberta"))
    expected = load(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    without("tokenizer.json", "tokenizer_config.json")(folder)
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])])
    )
    assert ids_of(load(folder)) == ids_of(expected)


def test_load_encoder_reads_the_tokenizer_as_its_file_has_it(bert: Path) -> None:
    document = json.loads((bert / "tokenizer.json").read_text())
    document["normalizer"]["lowercase"] = False
    (bert / "tokenizer.json").write_text(json.dumps(document))
    without("tokenizer_config.json")(bert)  # from which transformers would know
    tokenizer = Tokenizer.from_str(load(bert).tokenizer_json.decode())
    assert tokenizer.encode("Good").tokens == ["[CLS]", "[UNK]", "[SEP]"]


def add_token(folder: Path, *, special: bool, rows: bool = False) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<new>"], special_tokens=special)
    tokenizer.save_pretrained(folder)
    if rows:
        model = AutoModel.from_pretrained(folder)
        model.resize_token_embeddings(len(tokenizer))
        model.save_pretrained(folder)


def test_load_encoder_keeps_an_added_token_that_has_a_row(bert: Path) -> None:
    add_token(bert, special=False, rows=True)
    encoder = load(bert)
    rows = encoder.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    assert Tokenizer.from_str(encoder.tokenizer_json.decode()).encode("a <new> day").ids[2] == rows - 1


def test_load_encoder_refuses_an_added_word_without_a_row(bert: Path) -> None:
    add_token(bert, special=False)
    with pytest.raises(GraftError, match=r"`<new>` was added to the tokenizer.*resize_token_embeddings"):
        load(bert)


def test_load_encoder_reads_a_special_token_without_a_row_as_plain_text(bert: Path) -> None:
    plain = ids_of(load(bert))
    add_token(bert, special=True)
    encoder = load(bert)
    assert ids_of(encoder) == plain
    rows = encoder.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    assert max(Tokenizer.from_str(encoder.tokenizer_json.decode()).encode("a <new> day").ids) < rows
