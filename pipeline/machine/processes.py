"""The processes that train together, and what they tell each other.

All of them do the same work in the same order, but for their own share of each batch. So each call here has
to be made by all of them. Nothing is pickled: arrays travel as npz files in memory.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GraftError
from pipeline.machine.extras import require
from pipeline.machine.launch import launched
from pipeline.machine.settings import DeviceChoice, choose_settings

if TYPE_CHECKING:  # a process that trains alone loads no torch for this
    import torch
    from torch.distributed import ProcessGroup

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]
TIMEOUT_VARIABLE = "GRAFT_PROCESSES_TIMEOUT_S"
DEFAULT_TIMEOUT_S = 600
# The first process may read the data, or fit heads, for long while the others wait. One that ends is noticed
# at once, however long that is.
PATIENCE = timedelta(days=7)


class ProcessLostError(GraftError):
    """Another of the processes that train together has ended, or does not answer."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together, as one of them sees them; by default it is alone.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
        group: torch's group in which arrays on the CPU travel, and which waits for long; None for one alone.
    """

    rank: int = 0
    count: int = 1
    group: ProcessGroup | None = None

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """Return which of so many rows are this process's share.

        Shares are consecutive, differ by one at most, and may be empty.

        Args:
            total: Number of rows.
        """
        size, more = divmod(total, self.count)
        start = self.rank * size + min(self.rank, more)
        return slice(start, start + size + (self.rank < more))

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share of some items."""
        return items[self.rows(len(items))]

    def add(self, values: torch.Tensor) -> None:
        """Replace a tensor by the sum of all processes' tensors, which has the same bits in all of them."""
        if self.is_alone:
            return
        from torch import distributed

        with self._talking():
            distributed.all_reduce(values)

    def take_first(self, values: torch.Tensor) -> None:
        """Replace a contiguous tensor by the first process's."""
        if self.is_alone:
            return
        from torch import distributed

        with self._talking():
            distributed.broadcast(values, 0)

    def from_first(self, compute: Callable[[], Arrays]) -> Arrays:
        """Return what the first process computes, while the others wait for it."""
        if self.is_alone:
            return compute()
        return _unpack(self._broadcast(_pack(compute()) if self.is_first else b""))

    def gather(self, rows: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the rows of all processes, in the order of their numbers.

        Args:
            rows: This process's rows, all of one shape and type; there may be none.
        """
        if self.is_alone:
            return list(rows)
        packed = self._gather(_pack({"rows": np.stack(rows)} if len(rows) else {}))
        return [row for arrays in map(_unpack, packed) for row in arrays.get("rows", ())]

    def check_equal(self, what: str, value: str) -> None:
        """Make sure that all processes have the same.

        Args:
            what: What it is, for people.
            value: This process's, such as a hash.

        Raises:
            GraftError: They differ.
        """
        if self.is_alone:
            return
        values = [data.decode() for data in self._gather(value.encode())]
        others = [rank for rank, other in enumerate(values) if other != values[0]]
        if others:
            raise GraftError(
                f"{what} of rank {', '.join(map(str, others))} differ from those of rank 0, so that these"
                " processes no longer train one model. Their CPUs or packages may not be the same."
            )

    def _broadcast(self, data: bytes) -> bytes:
        """Return the first process's bytes."""
        import torch
        from torch import distributed

        size = torch.tensor([len(data)])
        with self._talking():
            distributed.broadcast(size, 0, group=self.group)
            content = _tensor_of(data) if self.is_first else torch.empty(int(size), dtype=torch.uint8)
            distributed.broadcast(content, 0, group=self.group)
        return content.numpy().tobytes()

    def _gather(self, data: bytes) -> list[bytes]:
        """Return the bytes of all processes, in the order of their numbers."""
        import torch
        from torch import distributed

        sizes = [torch.empty(1, dtype=torch.int64) for _ in range(self.count)]
        with self._talking():
            distributed.all_gather(sizes, torch.tensor([len(data)]), group=self.group)
            longest = max(int(size) for size in sizes)
            padded = _tensor_of(data.ljust(longest, b"\0"))
            contents = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.count)]
            distributed.all_gather(contents, padded, group=self.group)
        return [content.numpy().tobytes()[: int(size)] for content, size in zip(contents, sizes, strict=True)]

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Say what has happened where another process does not answer."""
        try:
            yield
        except RuntimeError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ProcessLostError(
                "another process of this training has ended or does not answer, so that this one ends too"
                f" ({reason}). Its own message, if it left one, says why. The same command goes on from the"
                " last checkpoint."
            ) from error


ALONE = Processes()


@functools.cache
def join(device: DeviceChoice) -> Processes:
    """Meet the other processes that the launcher started; a process that was started alone stays so.

    Args:
        device: The device that the recipe names.

    Raises:
        GraftError: ``accelerate`` is not installed or started fewer processes than it was asked for, there is
            no such device, or there are fewer GPUs than processes.
    """
    launch = launched()
    if launch.count == 1:
        _check_alone(os.environ)
        return ALONE
    require("accelerate")
    chosen = choose_settings(device).device
    _check_devices(chosen, launch.local_count)
    from accelerate import PartialState
    from torch import distributed

    timeout = timedelta(seconds=float(os.environ.get(TIMEOUT_VARIABLE) or DEFAULT_TIMEOUT_S))
    state = PartialState(cpu=chosen == "cpu", timeout=timeout)
    group = cast("ProcessGroup", distributed.new_group(backend="gloo", timeout=PATIENCE))
    return Processes(state.process_index, state.num_processes, group)


def leave() -> None:
    """Part from the other processes, when the work that is shared is done."""
    if launched().count == 1:
        return
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _check_alone(environment: Mapping[str, str]) -> None:
    """Make sure that a process which trains alone was not meant to be one of several.

    With ``--cpu`` accelerate's launcher starts one process, however many it is asked for, and says nothing.
    It tells that one of a meeting point, though, which only several need.
    """
    if "ACCELERATE_USE_CPU" in environment and "MASTER_ADDR" in environment and "RANK" not in environment:
        raise GraftError(
            "accelerate launch was asked for several processes, and with --cpu it starts only one."
            " Start them with torchrun --nproc-per-node N, or with accelerate launch --multi_gpu, which"
            " does the same and serves CPUs as well (finetune.device: cpu)."
        )


def _check_devices(device: str, processes: int) -> None:
    """Make sure that each process of this host has a GPU of its own, where they train on GPUs."""
    if device != "cuda":
        return
    import torch

    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise GraftError(
            f"{processes} processes were started on this host, which has {gpus} GPU{'s' * (gpus != 1)}."
            f" Start {gpus} (--nproc-per-node {gpus}), or train on the CPU: finetune.device: cpu"
        )


def _tensor_of(data: bytes) -> torch.Tensor:
    """Return bytes as a tensor of its own."""
    import torch

    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _pack(arrays: Arrays) -> bytes:
    """Return arrays as the bytes of an npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type] # its stub takes a name for its own flag
    return buffer.getvalue()


def _unpack(data: bytes) -> Arrays:
    """Return the arrays of an npz file, which holds no pickles."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return dict(stored)
