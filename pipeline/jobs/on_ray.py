"""A job on the workers of a Ray cluster, which answer the same fragments by the same core."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import GraftError
from pipeline.jobs.rows import Fragment
from pipeline.jobs.work import Asked, open_work
from pipeline.machine.extras import require
from pipeline.reporting.progress import track

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0", "RAY_DEDUP_LOGS": "0"}
ADDRESS = "RAY_ADDRESS"
CONNECT_S = 10.0
FIELDS = ("index", "start", "rows", "place")


def answer_on_ray(asked: Asked, identity: str, fragments: Sequence[Fragment]) -> None:
    """Answer fragments on the cluster that ``RAY_ADDRESS`` names, or else on one of this machine's CPUs.

    Each worker opens the bundle and the input by their paths, which must be the same files there, and writes
    to the folder beside the output. What a lost worker was answering is answered again by another one.

    Args:
        asked: What is asked for.
        identity: What the input is known by, which each worker makes sure of.
        fragments: The fragments.

    Raises:
        GraftError: Ray is not installed, its cluster cannot be reached, or a fragment cannot be written.
    """
    require("ray")
    os.environ.update({name: os.environ.get(name, value) for name, value in SILENT.items()})
    import ray

    started = not ray.is_initialized()
    if started:
        _connect()
    try:
        largest = max((each.rows for each in fragments), default=1)
        rows = sum(each.rows for each in fragments)
        for _ in track(
            _answers(asked, identity, fragments), total=rows, what="predict", unit="rows", weight=largest
        ):
            pass
    except ray.exceptions.RayError as error:
        raise GraftError(
            f"Ray could not answer all rows: {_reason(error)}. Call the same command again to go on."
        ) from error
    finally:
        if started:
            ray.shutdown()


def _connect() -> None:
    import ray

    address = os.environ.get(ADDRESS) or None  # which an empty variable does not name either
    if address and ":" in address:
        _require_reachable(address)
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        if address is None:
            raise GraftError(
                f"Ray cannot be started on this machine ({reason}). Or name a cluster: {ADDRESS}"
            ) from error
        raise GraftError(f"{ADDRESS}={address}: there is no Ray cluster to be reached ({reason}).") from error


def _require_reachable(address: str) -> None:
    """Raise GraftError where nobody listens at an address, for which Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise GraftError(f"{ADDRESS}={address}: there is no Ray cluster to be reached ({error}).") from error


def _answers(asked: Asked, identity: str, fragments: Sequence[Fragment]) -> Iterator[Fragment]:
    """Yield each fragment as soon as a worker has written it."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    if not fragments:
        return
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    workers = max(1, min(cpus, len(fragments)))
    by_index = {each.index: each for each in fragments}
    items = [{name: getattr(each, name) for name in FIELDS} for each in fragments]
    # As many blocks as fragments, so that a fast worker takes more of them.
    answered = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Answerer,
        fn_constructor_args=(asked, identity),
        batch_size=1,
        compute=ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    for row in answered.iter_rows():
        yield by_index[row["index"]]


class Answerer:
    """What a worker of Ray holds: the model and the input, opened once.

    Args:
        asked: What is asked for.
        identity: What the input must be known by.
    """

    def __init__(self, asked: Asked, identity: str) -> None:
        self._work = open_work(asked, identity)

    def __call__(self, batch: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
        """Answer the fragments of a batch, and return their numbers."""
        columns = [batch[name].tolist() for name in FIELDS]
        for values in zip(*columns, strict=True):
            self._work.do(Fragment(*values))
        return {"index": batch["index"]}


def _reason(error: Exception) -> str:
    """Return what a worker has said, without the traceback that Ray puts around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
