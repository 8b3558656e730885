"""A training that several processes share: each takes its part of every batch, and all keep the same weights.

Every process draws the same batches, and the same random changes of all their samples, from the same source
of chance. It then computes the gradients of its own rows, and the gradients are added. So several processes
train as one does, but for the order in which numbers are added, and for the network's own chance, such as
dropout, which each draws for its own rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.heads import LinearHead
from pipeline.machine.processes import Arrays, Processes
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.training import Batch
from pipeline.tasks.task import WeightedLoss

log = logging.getLogger("graft")
# Gradients travel in parts of about so many numbers, 32 MiB in fp32, so that they need little memory more.
BUCKET = 8 * 1024**2
Heads = tuple[LinearHead, LinearHead]


def shared_plan(plan: Plan, samples: int, processes: Processes) -> Plan:
    """Return the plan by which several processes train, and log what differs; one alone keeps its own.

    Args:
        plan: The plan of the recipe.
        samples: Number of training samples.
        processes: The processes.

    Raises:
        GraftError: There are more processes than samples.
    """
    count = processes.count
    if processes.is_alone:
        return plan
    if count > samples:
        raise GraftError(
            f"{count} processes share {samples} training samples, so that some would have none."
            f" Start {samples} processes at most (--nproc-per-node, --num_processes), or add samples."
        )
    log.info("%d processes share each batch of %d samples", count, plan.batch_size)
    if plan.batch_size < count:
        log.warning(
            "%d of %d processes have nothing to do: raise finetune.batch_size (now %d)",
            count - plan.batch_size, count, plan.batch_size,
        )  # fmt: skip
    if plan.freeze_batch_norm or can_synchronise(plan, samples, processes):
        return plan
    log.info("batch norms keep their pretrained statistics: each process sees only its part of a batch")
    return replace(plan, freeze_batch_norm=True)


def can_synchronise(plan: Plan, samples: int, processes: Processes) -> bool:
    """Say whether batch norms can use the statistics of whole batches: on GPUs, where none gets no rows."""
    batches = -(-samples // plan.batch_size)
    return plan.device == "cuda" and samples // batches >= processes.count


def heads_from_first(processes: Processes, fit: Callable[[], Heads]) -> Heads:
    """Return the two heads that the first process fits."""

    def arrays() -> Arrays:
        return {
            f"{number}.{name}": np.asarray(value)
            for number, head in enumerate(fit())
            for name, value in vars(head).items()
        }

    if processes.is_alone:
        return fit()
    found = processes.from_first(arrays)
    best, gentle = (
        LinearHead(found[f"{number}.weight"], found[f"{number}.bias"], float(found[f"{number}.penalty"]))
        for number in range(2)
    )
    return best, gentle


def align(module: nn.Module, plan: Plan, processes: Processes) -> None:
    """Give all processes the first one's weights, and make batch norms see whole batches.

    Args:
        module: The network, on the plan's device. Its modules may be replaced, but not its parameters.
        plan: The plan of the training.
        processes: The processes.

    Raises:
        GraftError: The processes have come to different plans.
    """
    if processes.is_alone:
        return
    processes.check_equal("The plans", repr(plan))
    if plan.device == "cuda" and not plan.freeze_batch_norm:
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(module)
    for value in module.state_dict().values():
        first = value.detach().clone(memory_format=torch.contiguous_format)
        processes.take_first(first)
        value.copy_(first)


def own_rows(batch: Batch, targets: torch.Tensor, processes: Processes) -> tuple[Batch, torch.Tensor]:
    """Return this process's rows of a batch, of which there may be none.

    Args:
        batch: The network's inputs, each with the batch as its first axis.
        targets: The targets, of shape (batch,) or (batch, classes).
        processes: The processes.
    """
    if processes.is_alone:
        return batch, targets
    rows = processes.rows(len(targets))
    return {name: values[rows] for name, values in batch.items()}, targets[rows]


def no_loss(device: str) -> WeightedLoss:
    """Return the loss of no rows."""
    return WeightedLoss(torch.zeros((), device=device), torch.zeros((), device=device))


def backpropagate(
    compute: Callable[[], WeightedLoss],
    groups: Sequence[Mapping[str, Sequence[torch.Tensor]]],
    chance: AbstractContextManager[None],
    processes: Processes,
) -> torch.Tensor:
    """Compute the gradients of a whole batch, and return its loss without the graph behind it.

    Args:
        compute: Computes the loss of this process's rows.
        groups: The optimiser's groups of parameters, whose gradients are set.
        chance: The block within which the network draws, as :func:`own_chance` returns it.
        processes: The processes.
    """
    if processes.is_alone:
        mean = compute().mean
        mean.backward()  # type: ignore[no-untyped-call]
        return mean.detach()
    with chance:
        loss = compute()
        if loss.mean.requires_grad:
            loss.total.backward()  # type: ignore[no-untyped-call]
    return _add_gradients(loss, [parameter for group in groups for parameter in group["params"]], processes)


def check_weights(module: nn.Module, processes: Processes) -> None:
    """Make sure that all processes have the same weights, bit by bit.

    Raises:
        GraftError: They differ.
    """
    if not processes.is_alone:
        processes.check_equal("The weights", hash_tensors(module.state_dict()))


@contextmanager
def own_chance(generator: torch.Generator, step: int, device: str, processes: Processes) -> Iterator[None]:
    """Let the network draw by chance what no other process draws within the block; one alone draws as ever.

    What it draws follows from the state of ``generator``, which is not changed, the step and the process's
    number. So it is the same when a training is repeated, or goes on from there.

    Args:
        generator: The source of chance of the training. It may be in one state for a whole epoch.
        step: Number of the step in its epoch.
        device: torch's name of the device.
        processes: The processes.
    """
    if processes.is_alone:
        yield
        return
    peek = torch.Generator()
    peek.set_state(generator.get_state())
    drawn = int(torch.randint(2**62, (), generator=peek))
    seed = int(np.random.SeedSequence([drawn, step, processes.rank]).generate_state(1, np.uint64)[0] >> 1)
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _add_gradients(
    loss: WeightedLoss, parameters: Sequence[torch.Tensor], processes: Processes
) -> torch.Tensor:
    """Set the gradients of the whole batch's mean loss, and return that loss.

    A parameter that takes part in no process keeps no gradient, so that the optimiser leaves it alone.

    Args:
        loss: The loss of this process's rows, whose total the gradients are of.
        parameters: All parameters that the optimiser has, in the same order in all processes.
        processes: The processes.
    """
    figures = torch.stack(
        [
            loss.total.detach(),
            loss.weight,
            *(loss.weight.new_tensor(float(parameter.grad is not None)) for parameter in parameters),
        ]
    )
    processes.add(figures)
    total, weight, *taking_part = figures.unbind()
    used = [parameter for parameter, count in zip(parameters, taking_part, strict=True) if count > 0]
    for bucket in _buckets(used):
        flat = torch.cat([_gradient(parameter).reshape(-1) for parameter in bucket])
        processes.add(flat)
        flat /= weight
        parts = torch.split(flat, [parameter.numel() for parameter in bucket])
        for parameter, part in zip(bucket, parts, strict=True):
            parameter.grad = _gradient(parameter).copy_(part.view(parameter.shape))
    return total / weight


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    """Return a parameter's gradient; zeros where this process has none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Cut parameters into lists of about :data:`BUCKET` numbers each, of one type."""
    bucket: list[torch.Tensor] = []
    for parameter in parameters:
        full = sum(held.numel() for held in bucket) >= BUCKET
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
