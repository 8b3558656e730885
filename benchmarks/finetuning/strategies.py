"""Every strategy with every backbone: whether it trains, exports, and passes its receipt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from finetuning.commands import graft
from finetuning.runs import MINILM, Backbone, Workplace

STRATEGIES = ("features", "full", "lp-ft", "gradual", "lora", "auto")
# Two epochs on few samples: whether the way works is the question, not how good the model is.
CHANGES = ("finetune.epochs: 2", "evaluate.ship_guessing: true", "export.formats: [onnx-fp32]")
STAGES = ("data", "finetune", "transfer", "evaluate", "export", "verify")
GPT2 = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 256}


def backbones(place: Workplace) -> dict[str, tuple[str, Backbone]]:
    """Return the backbones by the names that people know, each with the data set that it is tried on.

    EfficientNet-Lite0 and MiniLM have the weights that packages ship; the others have random ones.
    """
    folder = place.folder / "weights"
    return {
        "EfficientNet-Lite0": ("faces-200", Backbone("tf_efficientnet_lite0", place.weights("image"))),
        "ResNet18": ("faces-200", random_timm(folder, "resnet18")),
        "ViT tiny": ("faces-200", random_timm(folder, "vit_tiny_patch16_224")),
        "MiniLM": ("books-140", Backbone("all-MiniLM-L6-v2", place.text_weights or MINILM)),
        "GPT-2": ("books-140", _random_gpt2(folder / "gpt2", place)),
    }


def print_matrix(place: Workplace, only: Sequence[str] = ()) -> None:
    """Try every strategy with every backbone, and print a table of what its receipt says.

    Args:
        place: Where to work.
        only: Names of the backbones; none for all.
    """
    print("| backbone | " + " | ".join(STRATEGIES) + " |\n| --- |" + " --- |" * len(STRATEGIES))
    failures = []
    for name, (data_set, backbone) in backbones(place).items():
        if only and name not in only:
            continue
        cells = []
        for strategy in STRATEGIES:
            cell, log = _try(place, data_set, backbone, strategy)
            cells.append(cell)
            failures += [f"\n{name}, {strategy}:\n{log}"] if log else []
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(
        "\nA cell has the greatest difference of the artifact's probabilities from those of the checkpoint."
    )
    print("".join(failures))


def _try(place: Workplace, data_set: str, backbone: Backbone, strategy: str) -> tuple[str, str]:
    """Return the cell of a strategy with a backbone, and the end of the log where it failed."""
    changes = [*CHANGES, f"finetune.mode: {strategy}"]
    if data_set == "books-140":
        changes.append("evaluate.ship_negative_transfer: true")
    run = place.start(data_set, 0, changes, backbone)
    # The run's recipe is the one that `start` wrote, with its folder's name.
    recipe = place.folder / "recipes" / f"{run.folder.root.name}.yaml"
    log = place.folder / "strategies.log"
    for stage in STAGES:
        result = graft([stage, recipe, "--run", run.folder.root], log)
        if result.code:
            return f"**{stage}: exit {result.code}**", "\n".join(result.log.splitlines()[-8:])
    return _receipt(run.folder.bundle), ""


def _receipt(bundle: Path) -> str:
    """Return what the receipt of the bundle's fp32 artifact says."""
    receipt = json.loads((bundle / "receipts" / "onnx-fp32.json").read_bytes())
    verdict = "passes" if receipt["passed"] else "**fails**"
    return f"{verdict} ({receipt['max_abs_probabilities']:.0e})"


def random_timm(folder: Path, name: str) -> Backbone:
    """Write random weights of one seed for one of timm's networks, once."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        import timm
        import torch
        from safetensors.torch import save_file

        torch.manual_seed(0)
        state = timm.create_model(name).state_dict()
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    return Backbone(name, str(path.absolute()))


def _random_gpt2(folder: Path, place: Workplace) -> Backbone:
    """Write a small GPT-2 with random weights of one seed and MiniLM's tokenizer, once."""
    if not folder.exists():
        import torch
        from transformers import AutoTokenizer, GPT2Config, GPT2Model

        from pipeline.files.sources import locate

        tokenizer = AutoTokenizer.from_pretrained(locate(place.text_weights, "backbone.weights"))
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **GPT2)
        GPT2Model(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return Backbone("gpt2", str(folder.absolute()))
