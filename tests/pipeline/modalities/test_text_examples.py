from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.modalities.text.examples import TextExamples
from pipeline.modalities.text.pretrained import load_encoder
from pipeline.modalities.text.recipe import TextAugment, TextBackbone
from pipeline.modalities.text.training import decode_examples
from serving.model.files import FileRef
from serving.model.inputs.text.spec import TextInputSpec
from serving.model.inputs.text.tokens import TextPreprocessor
from tests.encoders import make_encoder


class Text:
    def __init__(self, text: str) -> None:
        self.read = text.encode


def examples(folder: Path, augment: TextAugment | None) -> TextExamples:
    encoder = load_encoder(TextBackbone(name="tiny", weights=str(make_encoder(folder / "encoder"))))
    tokenizer = FileRef(file="tokenizer.json", sha256=hashlib.sha256(encoder.tokenizer_json).hexdigest())
    preprocessor = TextPreprocessor(
        TextInputSpec(tokenizer=tokenizer, max_tokens=20, pad_id=0), encoder.tokenizer_json
    )
    return decode_examples([Text("the sun was so very good"), Text("bad")], preprocessor, folder, augment)


def test_batch_changes_words_in_training_only(tmp_path: Path) -> None:
    found = examples(tmp_path, TextAugment(delete=0.5))
    both = np.arange(2)
    plain = found.batch(both, "cpu")
    assert plain["input_ids"].shape == (2, 8)
    assert plain["attention_mask"].sum(dim=1).tolist() == [8, 3]
    changed = [found.batch(both, "cpu", torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(changed[0]["input_ids"], changed[1]["input_ids"])
    assert not torch.equal(changed[0]["input_ids"], changed[2]["input_ids"])
    assert changed[0]["attention_mask"].sum() < plain["attention_mask"].sum()
    assert [int(batch["attention_mask"][1].sum()) for batch in changed] == [3, 3, 3], "one word always stays"


@pytest.mark.parametrize("augment", [None, TextAugment()])
def test_batch_changes_nothing_when_all_is_off(tmp_path: Path, augment: TextAugment | None) -> None:
    found = examples(tmp_path, augment)
    changed = found.batch(np.arange(2), "cpu", torch.Generator().manual_seed(0))
    assert all(torch.equal(changed[name], value) for name, value in found.batch(np.arange(2), "cpu").items())
    assert found.lengths().tolist() == [8, 3]
