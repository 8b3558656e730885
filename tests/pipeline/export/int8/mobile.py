"""A small network as mobile ones are: a stem, a depthwise block with a residual, batch norms and ReLU6."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

from pipeline.artifacts.onnx import to_onnx
from pipeline.export.int8.quantiser import measure_ranges, preprocess, quantize_static

SIZE, CLASSES = 16, 3


def block(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, active: bool = True):
    norm = nn.BatchNorm2d(outputs)
    nn.init.uniform_(norm.running_mean, -0.3, 0.3)
    nn.init.uniform_(norm.running_var, 0.3, 1.5)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, norm, nn.ReLU6() if active else nn.Identity())


class Mobile(nn.Module):
    """From uint8 pictures of shape (batch, 16, 16, 3) to probabilities of shape (batch, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 8, 3, stride=2)
        self.first = nn.Sequential(block(8, 8, 3, groups=8), block(8, 12, 1, active=False))
        self.second = nn.Sequential(
            block(12, 32, 1), block(32, 32, 5, groups=32), block(32, 12, 1, active=False)
        )
        self.top = block(12, 32, 1)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        value = self.first(self.stem((image.to(torch.float32) / 64 - 2).permute(0, 3, 1, 2)))
        value = self.scale(self.top(value + self.second(value))).mean(dim=(2, 3))
        return torch.softmax(self.head(value) * 4, dim=-1)

    def scale(self, value: torch.Tensor) -> torch.Tensor:
        return value


class Scaled(Mobile):
    """One whose activations are scaled by a constant, as those of NFNets are."""

    def scale(self, value: torch.Tensor) -> torch.Tensor:
        return value * 0.7


def make_pictures(count: int, seed: int) -> np.ndarray:
    """Pictures with large shapes in them, uint8 of shape (count, 16, 16, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (count, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return (coarse + rng.integers(0, 56, (count, SIZE, SIZE, 3))).astype(np.uint8)


def make_inputs(count: int = 48, seed: int = 1) -> list[dict[str, np.ndarray]]:
    return [{"image": picture[None]} for picture in make_pictures(count, seed)]


@functools.cache
def fp32(kind: type[Mobile] = Mobile) -> bytes:
    torch.manual_seed(0)
    model = kind().eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(make_pictures(64, 3))).log()
        model.head.bias -= (logits - logits.mean(dim=1, keepdim=True)).mean(dim=0) / 4
    example = {"image": make_pictures(2, 0)}
    return to_onnx(
        model, example, output_name="probabilities", metadata={}, dynamic_axes={"image": ("batch",)}
    ).content


@functools.cache
def prepared() -> bytes:
    return preprocess(fp32())


@functools.cache
def quantised() -> bytes:
    return quantize_static(prepared(), measure_ranges(prepared(), make_inputs(), "MinMax"))
