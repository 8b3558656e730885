"""How far each parameter of a network is from its input, and the optimiser's groups that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from torch import nn

from pipeline.modalities.training import ParameterGroup

Unit = tuple[str | int, ...]
BOTTOM = 0


def rate_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    depths: Mapping[str, int],
    rates: tuple[float, float, float],
    undecayed: Collection[str] = (),
) -> list[ParameterGroup]:
    """Return the groups of an optimiser: one rate a layer (arXiv:1801.06146), and decay on matrices only.

    Args:
        parameters: The parameters that train, each with the name that it has in the plain network.
        depths: How far each of these names is from the input; the greatest depth is the head's.
        rates: Learning rate of the head; the factor of the rate from each layer to the one below it, in
            (0, 1]; and the weight decay of matrices, 0 or more.
        undecayed: Names of further parameters without weight decay. Biases and norms never have any.

    Returns:
        The groups in torch's own form, each with its ``depth`` besides.
    """
    learning_rate, layer_decay, weight_decay = rates
    top = max(depths.values(), default=BOTTOM)
    groups: dict[tuple[int, bool], ParameterGroup] = {}
    for name, parameter in parameters:
        depth, decays = depths[name], _decays(name, parameter) and name not in undecayed
        group = {
            "params": [],
            "lr": learning_rate * layer_decay ** (top - depth),
            "weight_decay": weight_decay if decays else 0.0,
            "depth": depth,
        }
        groups.setdefault((depth, decays), group)["params"].append(parameter)
    return list(groups.values())


def _decays(name: str, parameter: torch.Tensor) -> bool:
    """Say whether a parameter is a matrix, and so neither a bias nor the scale of a norm."""
    # Scales of shape (channels, 1, 1) and biases with the axis of a batch count as the vectors that they are.
    return sum(size > 1 for size in parameter.shape) > 1 and not name.endswith("bias")


def norm_names(network: nn.Module) -> set[str]:
    """Return the names of the parameters of normalising layers, which may have more than one axis."""
    return {
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        if "Norm" in type(module).__name__
        for name, _ in module.named_parameters(recurse=False)
    }


def depths_by_structure(
    network: nn.Module, names: Sequence[str], head: str, run: Callable[[], object]
) -> dict[str, int]:
    """Return each parameter's depth by the network's own lists of layers, in the order in which they run.

    0 is what runs before the layers, and every embedding. Each layer is one further up, and what runs after
    the last of them is at the top, with the head. A network without any list of layers is grouped by its
    modules.

    Args:
        network: The network.
        names: Names of its parameters.
        head: Name of the head's module.
        run: Runs the network once on any input, without its head, so that the order is the true one. Where
            that fails, the modules' order in the network stands for it.
    """
    places = {name: name.rpartition(".")[0] for name in names}
    order = _order_of(network, run)
    units = {name: _layer_of(network, place) for name, place in places.items()}
    if not any(units.values()):
        units = {name: _child_of(network, place, head) for name, place in places.items()}
    starts: dict[Unit, int] = {}
    for name, unit in units.items():
        if unit and not name.startswith(f"{head}."):
            starts[unit] = min(starts.get(unit, len(order)), order(places[name]))
    ranked = sorted(starts, key=lambda unit: starts[unit])
    heights = {unit: height for height, unit in enumerate(ranked, BOTTOM + 1)}
    top = len(ranked) + 1
    depths = {}
    for name, unit in units.items():
        if name.startswith(f"{head}."):
            depths[name] = top
        elif unit:
            depths[name] = heights[unit]
        elif isinstance(_module_at(network, places[name]), nn.Embedding):
            depths[name] = BOTTOM
        else:
            depths[name] = _between(order(places[name]), [starts[unit] for unit in ranked])
    return _dense(depths)


def _between(call: int, starts: Sequence[int]) -> int:
    """Return the depth of what is outside the layers: of the layer that ran before it, or the top."""
    begun = sum(start <= call for start in starts)
    return begun + 1 if begun == len(starts) else begun


def _dense(depths: Mapping[str, int]) -> dict[str, int]:
    """Return the same depths without gaps, from 0 on."""
    places = {depth: place for place, depth in enumerate(sorted(set(depths.values())))}
    return {name: places[depth] for name, depth in depths.items()}


class _Order:
    """The order in which modules are first called; a module that is not called has its parent's place.

    Args:
        calls: The place of each module that was called, by its name.
    """

    def __init__(self, calls: Mapping[str, int]) -> None:
        self.calls = calls

    def __len__(self) -> int:
        return len(self.calls)

    def __call__(self, name: str) -> int:
        """Return a module's place, from 0 on."""
        while name and name not in self.calls:
            name = name.rpartition(".")[0]
        return self.calls.get(name, 0)


def _order_of(network: nn.Module, run: Callable[[], object]) -> _Order:
    """Run a network once in evaluation mode, and return the order in which its modules are called."""
    calls: dict[str, int] = {}
    modes = {module: module.training for module in network.modules()}
    network.eval()
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, _: object) -> None:
        calls.setdefault(names[module], len(calls))

    hooks = [module.register_forward_pre_hook(note) for module in names]
    try:
        # Some networks draw by chance even in evaluation mode (Reformer's buckets).
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            run()
    except Exception:  # each architecture fails in its own way, and the true order is a refinement
        calls = {name: place for place, (name, _) in enumerate(network.named_modules())}
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return _Order(calls)


def _layer_of(network: nn.Module, place: str) -> Unit | None:
    """Return which layer a module is part of: the owner of the list and the index in it; None for none.

    Lists side by side, such as XLM's attentions and their norms, make one layer where the index is the same.
    """
    parts = place.split(".") if place else []
    module = network
    for position, part in enumerate(parts):
        if _is_list(module):
            indices = [_place_in(module, part)]
            module = module.get_submodule(part)
            for further in parts[position + 1 :]:
                if not _is_list(module):
                    break
                indices.append(_place_in(module, further))
                module = module.get_submodule(further)
            return (".".join(parts[: position - 1]), *indices)
        module = module.get_submodule(part)
    return None


def _place_in(layers: nn.Module, name: str) -> int:
    """Return the place of a layer in its list, from 0 on; layers of a chain may have names of their own."""
    return [child for child, _ in layers.named_children()].index(name)


def _is_list(module: nn.Module) -> bool:
    """Say whether a module is a list of layers, and not just a chain of operations."""
    if isinstance(module, nn.Sequential):
        return any(True for child in module for _ in child.children())
    return isinstance(module, nn.ModuleList)


def _child_of(network: nn.Module, place: str, head: str) -> Unit | None:
    """Return which of a network's modules a module is part of: of the first several besides its head.

    What follows one another in a chain of operations is several as well.
    """
    path = ""
    module = network
    for part in place.split(".") if place else []:
        siblings = [
            name
            for name, child in module.named_children()
            if f"{path}.{name}".strip(".") != head and next(child.parameters(), None) is not None
        ]
        path = f"{path}.{part}".strip(".")
        module = module.get_submodule(part)
        if len(siblings) > 1 and not isinstance(module, nn.Sequential):
            return (path,)
    return (place,) if place else None


def _module_at(network: nn.Module, place: str) -> nn.Module:
    """Return the module of that name."""
    return network.get_submodule(place)
