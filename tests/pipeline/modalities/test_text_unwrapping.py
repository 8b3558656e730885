"""What trainings save around an encoder is taken off; what only code can read is converted by a command."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.text.reading.storages import read_tensors

Tensors = dict[str, torch.Tensor]
NAME = "layer.weight"


class Own(nn.Module):
    """A network of a training's own class."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2, bias=False)
        self.layer.weight = nn.Parameter(tensors[NAME])


class Settings:
    """Something else of a training's own class."""


@pytest.fixture
def tensors() -> Tensors:
    return {NAME: torch.arange(6.0).reshape(3, 2).T}


@pytest.mark.parametrize(("wrap", "prefix"), [
    (lambda tensors: tensors, ""),
    (lambda tensors: {"model": {"state_dict": tensors, "epoch": 1}}, ""),
    (lambda tensors: {"model": {"module": {"state_dict": tensors}}}, ""),
    (lambda tensors: {"net": tensors, "optimizer": {"state": {}}}, "net."),
    (lambda tensors: {"model": {"encoder": tensors}}, "encoder."),
    (lambda tensors: {"model": tensors, "args": argparse.Namespace(lr=1.0)}, ""),
    (lambda tensors: {"state_dict": tensors, "best": np.float64(0.5)}, ""),
])  # fmt: skip
def test_read_tensors_takes_off_what_is_around_them(
    tmp_path: Path, tensors: Tensors, wrap: Callable[[Tensors], object], prefix: str
) -> None:
    torch.save(wrap(tensors), tmp_path / "pytorch_model.bin")
    read = read_tensors(tmp_path)
    assert read.keys() == {f"{prefix}{NAME}"}
    assert torch.equal(read[f"{prefix}{NAME}"], tensors[NAME])


@pytest.mark.parametrize("stored", [[torch.ones(2)], {}, {"epoch": 1}, torch.ones(2), {"state_dict": {}}])
def test_read_tensors_names_the_file_that_has_none(tmp_path: Path, stored: object) -> None:
    torch.save(stored, tmp_path / "pytorch_model.bin")
    with pytest.raises(GraftError, match=re.escape(f"{tmp_path}/pytorch_model.bin holds no mapping")):
        read_tensors(tmp_path)


def scripted(tensors: Tensors, path: Path) -> None:
    torch.jit.script(Own(tensors)).save(path)


@pytest.mark.parametrize(("save", "prefix"), [
    (lambda tensors, path: torch.save(Own(tensors), path), ""),
    (lambda tensors, path: torch.save({"model": Own(tensors), "own": Settings()}, path), ""),
    (lambda tensors, path: torch.save({"model": {"state_dict": tensors}, "own": Settings()}, path), ""),
    (lambda tensors, path: torch.save({"net": tensors, "own": Settings()}, path), "net."),
    (lambda tensors, path: torch.save(tensors | {"own": Settings()}, path), ""),
    (scripted, ""),
])  # fmt: skip
@pytest.mark.parametrize("shard", [False, True])
def test_the_command_that_the_refusal_names_makes_the_weights_readable(
    tmp_path: Path, tensors: Tensors, save: Callable[[Tensors, Path], None], prefix: str, *, shard: bool
) -> None:
    folder = tmp_path / "It's a 'folder' {of} mine"
    folder.mkdir()
    path = folder / "pytorch_model.bin"
    if shard:
        path = path.with_name("pytorch_model-1.bin")
        (folder / "pytorch_model.bin.index.json").write_text(f'{{"weight_map": {{"{NAME}": "{path.name}"}}}}')
    save(tensors, path)
    with pytest.raises(GraftError, match="would run its code") as refused:
        read_tensors(folder)
    assert "\n" not in str(refused.value)
    program, option, code = shlex.split(str(refused.value).partition("its classes: ")[2])
    assert (program, option) == ("python", "-c")
    exec(code, {})
    read = read_tensors(folder)
    assert read.keys() == {f"{prefix}{NAME}"}
    assert torch.equal(read[f"{prefix}{NAME}"], tensors[NAME])


def test_read_tensors_says_that_a_cut_file_is_broken_and_not_that_it_holds_code(
    tmp_path: Path, tensors: Tensors
) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(GraftError, match=r"cannot be read .*Copy it again"):
        read_tensors(tmp_path)
