"""Receipts on texts, healthy and broken; and what becomes of an int8 artifact."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pipeline.artifacts.checkpoint import read_card
from pipeline.artifacts.states import read_states
from pipeline.export.stage import export
from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import load_recipe
from pipeline.recipe.sections import LimitChanges
from pipeline.verify import judge
from pipeline.verify.stage import verify
from serving.model.bundle import open_bundle
from serving.model.errors import BundleError
from serving.model.files import FileRef
from serving.model.inputs.item import Item
from serving.model.inputs.text.tokens import TextPreprocessor
from serving.model.predictor import load_predictor
from serving.model.records import Speedup
from tests.pipeline.verify.receipts import load, receipt_of

pytestmark = pytest.mark.slow


@pytest.fixture
def run(text_run: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(text_run, tmp_path / "run")))


class Changed:
    """A preprocessor with a fault."""

    def __init__(
        self, inner: TextPreprocessor, decode=lambda item: item, collate=lambda feeds: feeds
    ) -> None:
        self.inner, self.change_item, self.change_feeds = inner, decode, collate

    def decode(self, data: bytes) -> Item:
        return self.change_item(self.inner.decode(data))

    def collate(self, arrays):
        return self.change_feeds(self.inner.collate(arrays))

    def blank(self):
        return self.inner.blank()


def test_receipt_of_a_healthy_text_model_repeats_itself(run: RunFolder) -> None:
    receipt = receipt_of(run)
    assert receipt["passed"] is True
    assert receipt == json.loads(run.receipt.read_text())
    assert receipt["batch_difference"] < 1e-5


def test_receipt_does_not_depend_on_what_fills_the_padding(run: RunFolder) -> None:
    scorer = load(run)
    scorer.preprocessor = Changed(
        scorer.preprocessor,
        collate=lambda feeds: (
            feeds | {"input_ids": np.where(feeds["attention_mask"] == 0, 7, feeds["input_ids"])}
        ),
    )
    assert receipt_of(run, scorer)["passed"] is True


FAULTS = {
    "the attention mask dropped": {
        "collate": lambda feeds: feeds | {"attention_mask": np.ones_like(feeds["attention_mask"])}
    },
    "padded on the left": {
        "collate": lambda feeds: {name: array[:, ::-1].copy() for name, array in feeds.items()}
    },
    "the last special token dropped": {"decode": lambda item: Item(item.array[:-1])},
    "cut at another length": {"decode": lambda item: Item(item.array[:8])},
    "one id off": {
        "decode": lambda item: Item(np.concatenate([item.array[:1], item.array[1:-1] + 1, item.array[-1:]]))
    },
    "words in another order": {
        "decode": lambda item: Item(np.concatenate([item.array[:1], item.array[1:-1][::-1], item.array[-1:]]))
    },
}


@pytest.mark.parametrize("name", FAULTS)
def test_receipt_fails_when_texts_are_fed_wrongly(run: RunFolder, name: str) -> None:
    scorer = load(run)
    scorer.preprocessor = Changed(scorer.preprocessor, **FAULTS[name])
    assert receipt_of(run, scorer)["passed"] is False


def other_tokenizer(run: RunFolder) -> bytes:
    """The same vocabulary in another order, as another model's of the same size would have it."""
    document = json.loads((run.bundle / "tokenizer.json").read_bytes())
    words = [word for word in document["model"]["vocab"] if not word.startswith("[")]
    document["model"]["vocab"] |= {
        word: index for index, word in zip(range(4, 4 + len(words)), reversed(words), strict=True)
    }
    return json.dumps(document).encode()


def test_bundle_is_refused_when_its_tokenizer_is_another(run: RunFolder) -> None:
    (run.bundle / "tokenizer.json").write_bytes(other_tokenizer(run))
    with pytest.raises(BundleError) as refused:
        open_bundle(run.bundle)
    assert refused.value.code == "hash_mismatch"


def test_receipt_fails_when_the_tokenizer_is_another_models_under_its_own_hash(run: RunFolder) -> None:
    content = other_tokenizer(run)
    spec = read_card(run.checkpoint).input
    file = FileRef(file=spec.tokenizer.file, sha256=hashlib.sha256(content).hexdigest())
    scorer = load(run)
    scorer.preprocessor = TextPreprocessor(spec.model_copy(update={"tokenizer": file}), content)
    assert receipt_of(run, scorer)["passed"] is False


def published(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, speed: float, spread: float = 0.0, **limits: float
) -> str:
    speedup = Speedup(median=speed, low=speed - spread, high=speed + spread, samples=1, rounds=8)
    monkeypatch.setattr(judge, "measure_speedup", lambda *_: speedup)
    recipe = load_recipe(run.recipe)
    export = recipe.export.model_copy(update={"limits": {"onnx-int8": LimitChanges(**limits)}})
    verify(recipe.model_copy(update={"export": export}), run)
    return read_states(run.artifacts)["onnx-int8"].to_text()


def test_int8_is_published_with_its_receipt_and_runs_one_at_a_time(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = published(run, monkeypatch, 2.0)
    assert said.startswith("published: ")
    assert "2.00 [2.00, 2.00] times as fast" in said
    predictor = load_predictor(run.bundle, artifact="onnx-int8")
    assert predictor.artifact.max_batch_size == 1
    arrays = [predictor.decode(text).array for text in (b"good", b"the sun was so very bad", b"a day")]
    assert np.array_equal(
        predictor.score(arrays), np.concatenate([predictor.score([array]) for array in arrays])
    )
    receipt = json.loads((run.bundle / predictor.artifact.receipt.file).read_text())
    assert receipt["passed"] is True
    assert receipt["artifact_sha256"] == predictor.artifact.sha256
    assert load_predictor(run.bundle).artifact.name == "onnx-fp32", "the default stays"


def test_a_second_verification_gives_the_same_bundle_even_where_it_is_inconclusive(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.bundle.rglob("*") if path.is_file()}

    published(run, monkeypatch, 2.0)
    first = content()
    assert "earlier" not in published(run, monkeypatch, 2.1)
    assert content() == first, "no figure of a clock is in it"
    said = published(run, monkeypatch, 1.15, spread=0.1)
    assert said.startswith("published: ")
    assert "an earlier verification of the same files on this machine found 2.10 [2.10, 2.10]" in said
    assert content() == first


def test_int8_is_not_published_when_its_speed_is_inconclusive(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.artifacts.unlink()  # what the run's own verification found
    said = published(run, monkeypatch, 1.15, spread=0.1)
    assert said.startswith(
        "not published, because its speed is inconclusive after 8 rounds: 1.15 [1.05, 1.25]"
    )
    assert [artifact.name for artifact in open_bundle(run.bundle).manifest.artifacts] == ["onnx-fp32"]
    assert "its speed is inconclusive" in run.proof.read_text()


@pytest.mark.parametrize("speed", [0.9, 1.05])
def test_int8_is_not_published_when_it_is_hardly_faster(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, speed: float
) -> None:
    said = published(run, monkeypatch, speed)
    measured = f"{speed:.2f} [{speed:.2f}, {speed:.2f}] times as fast, on one thread"
    assert said == f"not published, because it is not 1.1 times as fast as onnx-fp32 ({measured})"
    assert [artifact.name for artifact in open_bundle(run.bundle).manifest.artifacts] == ["onnx-fp32"]
    assert not list(run.bundle.glob("*int8*"))


def test_int8_is_published_though_slower_when_the_recipe_says_so(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert published(run, monkeypatch, 0.9, min_speedup=0).startswith("published: ")
    artifact = open_bundle(run.bundle).artifact("onnx-int8")
    receipt = json.loads((run.bundle / artifact.receipt.file).read_text())
    assert receipt["limits_set_by_recipe"] == {"min_speedup": 0}
    assert receipt["made"]["calibrated_on"].endswith("samples of validation")


def test_int8_is_not_published_under_a_stricter_limit_of_the_recipe(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert published(run, monkeypatch, 2.0, min_cosine=1.0).startswith(
        "not published, because min_cosine is "
    )
    assert json.loads((run.refused / "onnx-int8.json").read_text())["limits"]["min_cosine"] == 1.0


def test_int8_is_not_published_when_it_cannot_be_loaded(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.candidates / "model-int8.onnx").write_bytes(b"no model")
    assert published(run, monkeypatch, 2.0).startswith("not published, because it cannot be run: ")
    assert [artifact.name for artifact in open_bundle(run.bundle).manifest.artifacts] == ["onnx-fp32"]


def test_int8_is_not_published_when_it_answers_otherwise(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run.candidates / "model-int8.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_scale"):
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(3), tensor.name)
            )
    onnx.save(model, path)
    said = published(run, monkeypatch, 2.0)
    assert said.startswith("not published, because ")
    assert "limit" in said
    assert [artifact.name for artifact in open_bundle(run.bundle).manifest.artifacts] == ["onnx-fp32"]


def test_export_gives_the_same_files_twice_and_keeps_the_metadata(run: RunFolder) -> None:
    before = {path.name: path.read_bytes() for path in run.candidates.iterdir()}
    export(load_recipe(run.recipe), run)
    assert {path.name: path.read_bytes() for path in run.candidates.iterdir()} == before
    source, made = (onnx.load_from_string(before[name]) for name in ("model.onnx", "model-int8.onnx"))
    assert {item.key: item.value for item in source.metadata_props}.items() <= {
        i.key: i.value for i in made.metadata_props
    }.items()
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= {node.op_type for node in made.graph.node}


def test_states_of_all_artifacts_are_on_record(text_run: Path) -> None:
    run = RunFolder(text_run)
    states = json.loads(run.artifacts.read_text())
    assert states["onnx-fp32"]["published"] is True
    assert states["onnx-int8"]["speedup"]["median"] > 0
    assert run.receipt_of("onnx-int8") is not None
    assert all(name in run.proof.read_text() for name in states)
