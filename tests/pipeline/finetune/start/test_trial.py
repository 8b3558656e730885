"""Backbones of which each breaks one thing that is taken for granted, and those that break none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.start import trial
from pipeline.finetune.start.features import Extractor
from pipeline.finetune.start.trial import try_backbone
from pipeline.machine.settings import Settings
from pipeline.modalities.text import training as text
from pipeline.modalities.training import Pretrained
from serving.model.files import FileRef
from serving.model.inputs.text.spec import TextInputSpec
from serving.model.inputs.text.tokens import TextPreprocessor

CPU = Settings("cpu", "fp32", threads=1, why="test")
WIDTH = 8


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))


class Toy(nn.Module):
    """Token vectors, averaged over the tokens of a text, and a linear head."""

    half_precision_part = "table"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(64, WIDTH)
        self.head = nn.Linear(WIDTH, 2)

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        weights = attention_mask[..., None].float()
        return (self.table(input_ids) * weights).sum(dim=1) / weights.sum(dim=1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(input_ids, attention_mask))

    def set_head(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.head = nn.Linear(weight.shape[1], len(bias))
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def saved(self) -> nn.Module:
        return self


class MixesPadding(Toy):
    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.table(input_ids).mean(dim=1)


class MixesSamples(Toy):
    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = super().embed(input_ids, attention_mask)
        return features - features.mean(dim=0, keepdim=True) if len(features) > 1 else features


class ChangesForGood(Toy):
    """Like BigBird, which attends otherwise for good once it has seen a short text."""

    short = False

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        self.short = self.short or input_ids.shape[1] < 8
        return super().embed(input_ids, attention_mask) * (2.0 if self.short else 1.0)


class FixesTheLength(Toy):
    """Like networks that go through the tokens in Python: the exporter takes their number for a constant."""

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(input_ids), WIDTH)
        for position in range(input_ids.shape[1]):
            total = total + self.table(input_ids[:, position]) * attention_mask[:, position, None]
        return total


class RunsOnNoShortText(Toy):
    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] < 8:
            raise AssertionError("\x1b[31m\nkernel\n  larger than the input\x1b[0m")
        return super().embed(input_ids, attention_mask)


class GivesVectorsOfTokens(Toy):
    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.table(input_ids)


class Overflows(Toy):
    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return super().embed(input_ids, attention_mask) / 0.0


class HasAnotherHead(Toy):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids, attention_mask) * 2


class CannotBeExported(Toy):
    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = super().embed(input_ids, attention_mask)
        return features * 2 if float(features.sum()) > 0 else features * 2.0


def extractor_of(network: nn.Module) -> Extractor:
    tokenizer = Tokenizer(WordLevel({f"w{index}": index for index in range(64)}, unk_token="w3"))
    tokenizer.pre_tokenizer = Whitespace()
    spec = TextInputSpec(tokenizer=FileRef(file="tokenizer.json", sha256="0" * 64), max_tokens=32, pad_id=0)
    preprocessor = TextPreprocessor(spec, tokenizer.to_str().encode())
    pretrained = Pretrained(network.eval(), {"toy": type(network).__name__}, spec, {}, preprocessor, "w")
    return Extractor(pretrained, CPU, text)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (MixesPadding, "change with the samples beside it, or with the padding to their length"),
        (MixesSamples, "change with the samples beside it"),
        (ChangesForGood, "not the same twice"),
        (RunsOnNoShortText, r"cannot compute features of 1 x 5 \(kernel\)"),
        (GivesVectorsOfTokens, "not one row each"),
        (Overflows, "not finite"),
        (HasAnotherHead, "logits are not those of a linear head"),
    ],
)
def test_trial_refuses_what_cannot_be_fine_tuned(broken: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(GraftError, match=reason) as refused:
        try_backbone(extractor_of(broken()), "toy")
    assert "backbone.name: toy cannot be used: " in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert "\x1b" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [FixesTheLength, CannotBeExported])
def test_trial_refuses_what_cannot_be_served(broken: Callable[[], nn.Module]) -> None:
    with pytest.raises(GraftError, match=r"torch\.onnx cannot export|exported to ONNX, ") as refused:
        try_backbone(extractor_of(broken()), "toy")
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 400


@pytest.mark.slow
def test_trial_is_passed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    try_backbone(extractor_of(Toy()), "toy")

    def fail(_: Extractor) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr(trial, "carry_out", fail)
    try_backbone(extractor_of(Toy()), "toy")
    with pytest.raises(AssertionError, match="tried again"):
        try_backbone(extractor_of(MixesPadding()), "toy")
