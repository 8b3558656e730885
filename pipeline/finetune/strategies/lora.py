"""The strategy ``lora``: low-rank adapters beside frozen weights (arXiv:2106.09685), merged at the end."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.strategies.adapters import (
    add_adapters,
    matrix_shape,
    merged_state,
    plain_name,
    takes_adapter,
)
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.layered import require_layers
from pipeline.finetune.strategies.modes import open_only, train_mode
from pipeline.machine.extras import require
from pipeline.modalities.layers import rate_groups
from pipeline.modalities.training import Classifier, ParameterGroup

log = logging.getLogger("graft")
# The adapters and the head together train at most that share of the parameters, where no rank is given.
LARGEST_SHARE = 0.02
RANKS = (8, 4, 2)
HEAD_FIRST = Full(head_first=True)


@dataclass(frozen=True)
class Lora:
    """A training of adapters beside linear layers and 1 x 1 convolutions, and of the head.

    All else is frozen: it has no gradients and no optimiser state, and batch norms keep their statistics.
    """

    def begin(self, classifier: Classifier, prepared: Prepared, plan: Plan) -> None:
        """Set the gentle head, and put the adapters in, which add nothing at first.

        Raises:
            GraftError: peft is not installed, no layer takes an adapter, or the rank is larger than all.
        """
        require("peft")
        HEAD_FIRST.begin(classifier, prepared, plan)
        layered, network, lora = require_layers(classifier, "lora"), classifier.saved(), plan.adapters
        head = network.get_submodule(layered.head_name())
        layers = choose_layers(classifier, lora.targets, lora.layers)
        ranks = choose_ranks(network, head, layers, lora.rank)
        rank = max(ranks.values())
        alpha = 2.0 * rank if lora.alpha is None else lora.alpha
        add_adapters(network, ranks, alpha / rank, lora.dropout, plan.seed)
        for parameter in head.parameters():
            parameter.requires_grad_()
        training = sum(value.numel() for value in network.parameters() if value.requires_grad)
        total = sum(value.numel() for value in network.parameters())
        log.info(
            "lora: adapters of rank %d beside %d layers; %.2f %% of the parameters train",
            rank,
            len(ranks),
            100 * training / total,
        )

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        """Return the adapters' and the head's parameters, each at the rate of its layer."""
        layered, rates = require_layers(classifier, "lora"), plan.rates
        named = [(plain_name(name), value) for name, value in classifier.saved().named_parameters()]
        depths = layered.depths(list(dict.fromkeys(name for name, _ in named)))
        training = [(name, value) for name, value in named if value.requires_grad]
        return rate_groups(training, depths, (rates.learning_rate, rates.layer_decay, rates.weight_decay))

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:  # noqa: ARG002
        """Put what trains into training mode, and all else, batch norms included, into evaluation mode."""
        network = classifier.saved()
        train_mode(network, freeze_batch_norm=True)
        open_only(network, {name for name, value in network.named_parameters() if value.requires_grad})

    def state(self, classifier: Classifier) -> Mapping[str, torch.Tensor]:
        """Return the merged weights under the names of the plain network, on the CPU."""
        return merged_state(classifier.saved())


def choose_layers(
    classifier: Classifier, targets: Sequence[str] | None, share: float
) -> dict[str, nn.Module]:
    """Return the layers that get an adapter, by their names.

    Args:
        classifier: The classifier.
        targets: Last parts of the names of the layers; None for all that take an adapter.
        share: Share of the groups of layers, from the top, in (0, 1].

    Raises:
        GraftError: A target is unknown or takes no adapter, or no layer does.
    """
    layered, network = require_layers(classifier, "lora"), classifier.saved()
    modules = _single_modules(network, layered.head_name())
    able = {name: module for name, module in modules.items() if takes_adapter(module)}
    if targets is not None:
        for target in targets:
            _check_target(target, modules, able)
        able = {name: module for name, module in able.items() if _is_target(name, targets)}
    if not able:
        raise GraftError(
            "finetune.mode: lora puts adapters beside linear layers and 1 x 1 convolutions of one group, and"
            " this backbone has none below its head. Use full or lp-ft."
        )
    depths = layered.depths([name for name, _ in network.named_parameters()])
    reached = sorted({depths[f"{name}.weight"] for name in able})
    lowest = reached[-math.ceil(share * len(reached))]
    return {name: module for name, module in able.items() if depths[f"{name}.weight"] >= lowest}


def choose_ranks(
    network: nn.Module, head: nn.Module, layers: Mapping[str, nn.Module], rank: int | None
) -> dict[str, int]:
    """Return the rank of each layer's adapter: the same for all, but for layers that are smaller.

    Args:
        network: The network.
        head: Its head, which trains as a whole.
        layers: The layers that get an adapter, by their names.
        rank: The recipe's rank; None for 8, or less where adapters and head would train over 2 % of the
            parameters.

    Raises:
        GraftError: The recipe's rank is larger than every layer.
    """
    shapes = {name: matrix_shape(module) for name, module in layers.items()}
    largest = max(min(shape) for shape in shapes.values())
    if rank is None:
        budget = LARGEST_SHARE * sum(value.numel() for value in network.parameters())
        budget -= sum(value.numel() for value in head.parameters())
        cost = sum(sum(shape) for shape in shapes.values())
        rank = min(largest, next((rank for rank in RANKS if rank * cost <= budget), RANKS[-1]))
    elif rank > largest:
        raise GraftError(
            f"finetune.lora.rank: is {rank}, but no layer of this backbone has a rank over {largest}."
            " Lower it."
        )
    ranks = {name: min(rank, *shape) for name, shape in shapes.items()}
    smaller = sum(own < rank for own in ranks.values())
    if smaller:
        log.info(
            "lora: %d of %d layers are too small for rank %d and get their own", smaller, len(ranks), rank
        )
    return ranks


def _single_modules(network: nn.Module, head: str) -> dict[str, nn.Module]:
    """Return the modules that have weights of their own and one name, by it, without the head's."""
    names: dict[int, list[str]] = {}
    modules = dict(network.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        names.setdefault(id(module), []).append(name)
    return {
        name: module
        for name, module in modules.items()
        if isinstance(getattr(module, "weight", None), torch.Tensor)
        and len(names[id(module)]) == 1
        and name != head
        and not name.startswith(f"{head}.")
    }


def _is_target(name: str, targets: Sequence[str]) -> bool:
    """Say whether a module's name ends in one of the targets."""
    return any(f".{name}".endswith(f".{target}") for target in targets)


def _check_target(target: str, modules: Mapping[str, nn.Module], able: Mapping[str, nn.Module]) -> None:
    """Raise GraftError unless a layer of that name takes an adapter."""
    if any(_is_target(name, [target]) for name in able):
        return
    known = ", ".join(sorted({name.rpartition(".")[2] for name in able})) or "none"
    named = next((module for name, module in modules.items() if _is_target(name, [target])), None)
    if named is None:
        raise GraftError(f"finetune.lora.targets: the backbone has no layer `{target}`. It has: {known}.")
    raise GraftError(
        f"finetune.lora.targets: `{target}` is {_describe(named)}, and adapters go beside linear layers and"
        f" 1 x 1 convolutions of one group. Of these the backbone has: {known}."
    )


def _describe(module: nn.Module) -> str:
    """Return what a layer is, for people."""
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        return f"a {height} x {width} convolution in {module.groups} group{'s' * (module.groups > 1)}"
    return f"a {type(module).__name__}"
