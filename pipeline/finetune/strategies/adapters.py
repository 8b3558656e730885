"""Low-rank adapters of peft: beside which layers they stand, and the weights that they make with them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from pipeline.finetune.keep.candidates import State

ADAPTER = "default"
# What peft adds to the names of what it wraps, and of what it puts beside it.
WRAPPED, BESIDE = ".base_layer.", re.compile(r"\.lora_\w+\..*$")


def takes_adapter(module: nn.Module) -> bool:
    """Say whether a low-rank product can be added to a module's matrix, and merged into it, exactly.

    Linear layers and 1 x 1 convolutions can, unless they compute something else than their matrix says, such
    as convolutions with standardised weights.
    """
    if parametrize.is_parametrized(module) or not isinstance(getattr(module, "weight", None), nn.Parameter):
        return False
    if isinstance(module, nn.Conv2d):
        one_by_one = (
            module.kernel_size == (1, 1) and module.groups == 1 and module.padding in ((0, 0), "same")
        )
        return one_by_one and _computes_its_matrix(module, (module.in_channels, 2, 2))
    if isinstance(module, nn.Linear):
        return _computes_its_matrix(module, (module.in_features,))
    return is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Say whether a module is GPT-2's linear layer, whose matrix stands the other way round."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def matrix_shape(module: nn.Module) -> tuple[int, int]:
    """Return the two sides of the matrix of a layer that takes an adapter."""
    assert isinstance(module.weight, torch.Tensor)
    return module.weight.shape[0], module.weight.shape[1]


def _computes_its_matrix(module: nn.Linear | nn.Conv2d, shape: Sequence[int]) -> bool:
    """Say whether a layer multiplies by its matrix, tried on one random input of that shape."""
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(1, *shape, generator=generator).to(module.weight)
    with torch.no_grad():
        if isinstance(module, nn.Conv2d):
            expected = nn.functional.conv2d(given, module.weight, module.bias, module.stride)
        else:
            expected = nn.functional.linear(given, module.weight, module.bias)
        computed = module(given)
    return computed.shape == expected.shape and torch.allclose(computed, expected, rtol=1e-4, atol=1e-5)


def add_adapters(
    network: nn.Module, ranks: Mapping[str, int], scale: float, dropout: float, seed: int
) -> None:
    """Freeze a network, and put adapters that add nothing yet beside some of its layers.

    Args:
        network: The network, which is changed.
        ranks: Rank of the adapter beside each layer, by the layer's name.
        scale: What the adapters' product is multiplied by.
        dropout: Share of the adapters' inputs that are left out in training.
        seed: Seed of the adapters' weights. torch's own source of chance is left as it is.
    """
    from peft import LoraConfig, inject_adapter_in_model

    def exactly(names: Iterator[str] | Mapping[str, int]) -> str:
        return "|".join(f"^{re.escape(name)}" for name in names)

    config = LoraConfig(
        r=max(ranks.values()),
        target_modules=f"({exactly(ranks)})",
        rank_pattern={f"^{re.escape(name)}": rank for name, rank in ranks.items()},
        alpha_pattern={f"^{re.escape(name)}": scale * rank for name, rank in ranks.items()},
        lora_dropout=dropout,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # It warns of GPT-2's layers, which it then treats as it should.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network, ADAPTER)


def plain_name(name: str) -> str:
    """Return the name that a parameter has in the network without adapters; an adapter's is its layer's."""
    return BESIDE.sub(".weight", name).replace(WRAPPED, ".")


def adapted_layers(network: nn.Module) -> dict[str, Any]:
    """Return peft's layers of a network by their plain names."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in network.named_modules() if isinstance(module, LoraLayer)}


def merged_state(network: nn.Module) -> State:
    """Return the tensors of the network that its layers and their adapters make together, on the CPU.

    The network is left as it is. Frozen weights are not copied, since nothing changes them.

    Args:
        network: A network with adapters.
    """
    layers = adapted_layers(network)
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    state = {}
    for name, value in network.state_dict().items():
        plain = plain_name(name)
        if BESIDE.search(name):
            continue
        layer = layers.get(plain.removesuffix(".weight"))
        merged = value.detach()
        if layer is not None and plain.endswith(".weight"):
            with torch.no_grad():
                merged = merged + layer.get_delta_weight(ADAPTER)
        elif name not in frozen:
            merged = merged.clone()
        state[plain] = merged.cpu().contiguous()
    return state
