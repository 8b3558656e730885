"""Weights in every storage that people bring: the same tensors, or an error that says what to do."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.errors import GraftError
from pipeline.modalities.image.network import create_pretrained
from pipeline.modalities.image.pooled import PooledNetwork
from pipeline.modalities.image.recipe import ImageBackbone
from pipeline.modalities.image.weight_names import prefixes_of
from pipeline.modalities.image.weights import fit_weights, head_tensors, read_weights
from tests.conftest import TINY

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in timm.create_model(TINY).state_dict().items()}


def load(path: Path, mapping: str = "names") -> Tensors:
    backbone = ImageBackbone(name=TINY, weights=str(path), mapping=mapping)  # type: ignore[arg-type]
    return create_pretrained(backbone).state_dict()


def same(ours: Tensors, theirs: Tensors, without: tuple[str, ...] = ()) -> bool:
    return all(torch.equal(ours[name], value) for name, value in theirs.items() if name not in without)


def prefixed(prefix: str) -> Callable[[Tensors], object]:
    return lambda tensors: {f"{prefix}{name}": value for name, value in tensors.items()}


HEAD = ("fc.weight", "fc.bias")
STORED: dict[str, Callable[[Tensors], object]] = {
    "plain.pt": dict,
    "state_dict.pth": lambda tensors: {"state_dict": tensors, "epoch": 3, "args": argparse.Namespace(lr=1)},
    "model.bin": lambda tensors: {"model": tensors, "best": np.float64(0.5), "optimizer": {"state": {0: {}}}},
    "module.ckpt": lambda tensors: {"module": prefixed("module.")(tensors)},
    "ema.pth": lambda tensors: {
        "state_dict": {name: torch.zeros_like(value) for name, value in tensors.items()},
        "state_dict_ema": tensors,
    },
    "unknown.pth": lambda tensors: {"net": tensors, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "data_parallel.pth": prefixed("module."),
    "compiled.pth": prefixed("_orig_mod."),
    "lightning.pth": lambda tensors: {"state_dict": prefixed("model.")(tensors)},
    "segmenter.pth": lambda tensors: {
        **prefixed("backbone.")(tensors),  # type: ignore[dict-item]
        "neck.weight": torch.ones(3),
    },
    "nested.pth": prefixed("module.encoder."),
    "auxiliary.pth": lambda tensors: {
        **tensors,
        "AuxLogits.fc.weight": torch.ones(2),
        "mask_token": torch.ones(1),
    },
}


@pytest.mark.parametrize("name", STORED)
def test_wrappers_and_prefixes_give_the_same_tensors(name: str, tensors: Tensors, tmp_path: Path) -> None:
    torch.save(STORED[name](tensors), tmp_path / name)
    assert same(load(tmp_path / name), tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(dtype: torch.dtype, tensors: Tensors, tmp_path: Path) -> None:
    half = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    save_file(half, tmp_path / "w.safetensors")
    loaded = load(tmp_path / "w.safetensors")
    assert all(loaded[name].dtype == value.dtype for name, value in tensors.items())
    assert same(loaded, {name: value.to(tensors[name].dtype) for name, value in half.items()})


def test_shards_and_folders_of_the_hub_are_read(tensors: Tensors, tmp_path: Path) -> None:
    names = list(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: tensors[name] for name in some}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {name: file for file, some in parts.items() for name in some}})
    )
    assert same(load(tmp_path), tensors)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(GraftError, match=r"names `b\.safetensors`, which is not beside it"):
        load(index)


@pytest.mark.parametrize("mapping", ["names", "order"])
@pytest.mark.parametrize("classes", [0, 7])
def test_the_head_is_not_counted_and_is_zero_where_none_fits(
    mapping: str, classes: int, tensors: Tensors, tmp_path: Path
) -> None:
    stored = dict(tensors)
    for name in HEAD:
        del stored[name]
        if classes:
            stored[name] = torch.ones(classes, *tensors[name].shape[1:])
    if mapping == "order":
        stored = {
            f"features.{index}.{name.rpartition('.')[2]}": value
            for index, (name, value) in enumerate(stored.items())
        }
    torch.save(stored, tmp_path / "w.pth")
    loaded = load(tmp_path / "w.pth", mapping)
    assert same(loaded, tensors, without=HEAD)
    assert not any(loaded[name].any() for name in HEAD)


def test_a_head_of_another_name_and_the_same_shape_is_kept(tensors: Tensors, tmp_path: Path) -> None:
    stored = {name.replace("fc.", "last_linear."): value for name, value in tensors.items()}
    torch.save(stored, tmp_path / "w.pth")
    assert same(load(tmp_path / "w.pth"), tensors)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stored: stored.pop("conv1.0.weight", stored.pop(next(iter(stored)), None)), "is missing"),
        (
            lambda stored: stored.update({"layer9.0.weight": torch.ones(1)}),
            r"`layer9\.0\.weight` is not in the",
        ),
        (
            lambda stored: stored.update({"bn1.weight": torch.ones(5)}),
            r"`bn1\.weight` is \(5,\), the network's",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_is_wrong_in_the_backbone_stays_an_error(
    change: Callable[[Tensors], object], words: str, prefix: str, tensors: Tensors, tmp_path: Path
) -> None:
    stored = dict(tensors)
    change(stored)
    torch.save(prefixed(prefix)(stored), tmp_path / "w.pth")
    with pytest.raises(GraftError, match=words) as refused:
        load(tmp_path / "w.pth")
    assert "\n" not in str(refused.value)


def test_a_backbone_that_a_file_has_twice_is_not_chosen_by_chance(tensors: Tensors, tmp_path: Path) -> None:
    twice = {f"{name}.{key}": value for name in ("student", "teacher") for key, value in tensors.items()}
    torch.save(twice, tmp_path / "w.pth")
    with pytest.raises(GraftError, match=r"more than once, as `student\.\*`, `teacher\.\*`"):
        load(tmp_path / "w.pth")


def test_averaged_weights_are_preferred() -> None:
    assert prefixes_of(["a.b"], ["net.a.b", "net_ema.a.b"]) == ["net_ema.", "net."]
    assert prefixes_of(["a.b"], ["net.a.b", "a.b"])[0] == ""


class Whole(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = timm.create_model(TINY)


@pytest.mark.parametrize(
    "wrap", [lambda network: network, lambda network: {"ema": None, "model": network, "epoch": 1}]
)
def test_pickled_objects_are_refused_with_the_conversion_that_works(
    wrap: Callable[[torch.nn.Module], object], tmp_path: Path
) -> None:
    network = timm.create_model(TINY)
    torch.save(wrap(network), tmp_path / "it's.pth")
    with pytest.raises(GraftError, match="holds pickled objects") as refused:
        read_weights(str(tmp_path / "it's.pth"))
    message = str(refused.value)
    assert "\n" not in message
    command = shlex.split(message[message.index("python -c") : message.index(" Three ways")])
    assert command[:2] == ["python", "-c"]
    exec(command[2], {})  # what the user is told to run
    assert same(load(tmp_path / "it's-tensors.pth"), network.state_dict())


def test_a_torchscript_archive_is_refused_with_its_conversion(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "w.pt")
    with pytest.raises(GraftError, match=r"It is a TorchScript archive.*torch\.jit\.load"):
        read_weights(str(tmp_path / "w.pt"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
def test_files_are_read_by_their_content_whatever_their_names_end_with(tmp_path: Path, suffix: str) -> None:
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3)}
    save_file(tensors, tmp_path / f"safe{suffix}")
    torch.save(tensors, tmp_path / f"zip{suffix}")
    torch.save(tensors, tmp_path / f"old{suffix}", _use_new_zipfile_serialization=False)
    for name in ("safe", "zip", "old"):
        assert same(read_weights(str(tmp_path / f"{name}{suffix}")), tensors)
    with pytest.raises(GraftError, match="does not keep its tensors' order"):
        read_weights(str(tmp_path / f"safe{suffix}"), "order")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-LFS's pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "it is a web page.*/resolve/"),
        (b"\x89HDF\r\n\x1a\n\0\0", "it is a file of Keras's.*keras:NAME"),
        (b"\x1f\x8b\x08\0", "compressed by gzip.*Unpack it"),
        (b"PK\x03\x04cut off", "a zip archive that is cut off or damaged"),
        (b"Entry not found", "it is text, which begins with `Entry not found`.*Three ways"),
        (b"", "it is empty.*Three ways"),
        (bytes(range(100, 240)), "it is of no kind that is known.*Three ways"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_what_is_no_file_of_weights_is_named_and_never_advised_to_be_run(
    tmp_path: Path, content: bytes, words: str, suffix: str
) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(GraftError, match=words) as refused:
        read_weights(str(path))
    assert "weights_only" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_weights_lists_the_files_that_they_may_be_in(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match=r"a folder without model\.safetensors.*Name the file"):
        read_weights(str(tmp_path))
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(GraftError, match=r"It has last\.ckpt: name one"):
        read_weights(str(tmp_path))


def test_the_average_is_taken_if_it_is_whole_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "graft")
    plain = {"a.weight": torch.zeros(2), "a.running_mean": torch.zeros(2)}
    average = {name: value + 1 for name, value in plain.items()}
    torch.save({"model": plain, "ema": {"module": average, "decay": 0.9}}, tmp_path / "w.pth")
    assert same(read_weights(str(tmp_path / "w.pth")), average)
    assert "the averaged tensors of `ema` are taken, not those of `model`" in caplog.text
    torch.save({"model": plain, "ema": {"a.weight": torch.ones(2)}}, tmp_path / "part.pth")
    assert same(read_weights(str(tmp_path / "part.pth")), plain)
    assert "the tensors of `model` are taken, not those of `ema`" in caplog.text


def test_numbers_are_no_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "losses": [1.0]}, tmp_path / "w.pth")
    with pytest.raises(GraftError, match="does not hold named tensors"):
        read_weights(str(tmp_path / "w.pth"))


def test_a_pooled_network_takes_its_bodys_names_and_a_head_that_fits() -> None:
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    network = PooledNetwork(body, 4, 5, {})
    given = {"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.ones(4)}
    head = {"classifier.1.weight": torch.full((5, 4), 2.0), "classifier.1.bias": torch.full((5,), 2.0)}
    fit_weights(network, given | head, "names", "x")
    assert float(network.body[0].weight.mean()) == 1  # type: ignore[index]
    assert float(network.head.weight.mean()) == 2
    fit_weights(network, given, "names", "x")
    assert float(network.head.weight.abs().sum()) == 0


def test_head_tensors_are_those_that_a_network_loses_with_its_classifier() -> None:
    assert head_tensors(timm.create_model(TINY)) == set(HEAD)
    assert head_tensors(timm.create_model("test_vit", num_classes=0)) == set()
    assert head_tensors(torch.nn.Linear(1, 1)) == set()
