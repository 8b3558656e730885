"""Compare our service with FastAPI and LitServe: the same bundle, requests and load generator, in turns.

    python benchmarks/serving/compare.py RUN [--artifact NAME] [--before CHECKOUT] [--rounds 5] [--seconds 5]
        [--clients 1 8 32] [--photographs 640x480] [--json FILE]

The peers are written as their documentation says (`fastapi_peer.py`, `litserve_peer.py`) and serve the fp32
ONNX file; a tuned variant of each runs one thread a request, and LitServe a worker for each CPU. Ours serves
its default, or what `--artifact` names. With `--before` our service of another checkout stands beside it too,
with the same artifact, so that a change can be judged within one run. The peers decode and resize by Pillow,
as people do. `--photographs` makes JPEGs of another size of the pictures first. All servers stay up; what
each uses while idle is printed, and must be next to nothing. Before anything is timed, every answer of each
is compared with what its artifact answers in this process. Each round takes the numbers of clients, and for
each of them the servers, in a new order. Ratios are formed within a round. Figures are medians with [least,
most] of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodies import common_request, raw_request, read_inputs, write_requests
from by_hand import ARTIFACT, read_manifest
from load import quantile
from photographs import by_pillow, enlarge
from printing import machine, print_load, print_rest
from servers import Caller, Server, before, drive, fastapi, litserve, ours

from serving.model.predictor import Predictor, load_predictor
from serving.model.schemas import Prediction

AGREE_WITHIN = 1e-4
IDLE_S = 3


@dataclass
class Variant:
    """A server under measurement, and what it is asked.

    Attributes:
        name: Name of the variant.
        server: The server.
        requests: The requests that it gets.
        expected: The predictions that it must give, one for each request.
        folder: Folder of the requests as files, for the load generator.
    """

    name: str
    server: Server
    requests: list[bytes]
    expected: list[Prediction]
    folder: Path = Path()


def make_variants(
    options: argparse.Namespace, modality: str, inputs: list[bytes], served: Predictor
) -> list[Variant]:
    """Make the variants: our service, our service with raw bodies, and the peers.

    Args:
        options: The command's options.
        modality: Kind of input of the bundle.
        inputs: The bytes of the inputs.
        served: The artifact that our service serves, loaded in this process.
    """
    fp32 = (
        served
        if served.artifact.name == ARTIFACT
        else load_predictor(options.run / "bundle", artifact=ARTIFACT)
    )
    served_predictions, fp32_predictions = (
        [predictor.predict(item) for item in inputs] for predictor in (served, by_pillow(fp32))
    )
    same = sum(a.label == b.label for a, b in zip(served_predictions, fp32_predictions, strict=True))
    print(
        f"{len(inputs)} inputs; ours serves {served.artifact.name}, the peers {ARTIFACT}, "
        f"which give {same} of them the same label"
    )
    common = [common_request(modality, item) for item in inputs]
    server = ours(options.run, options.port, options.artifact)
    variants = [Variant(server.name, server, common, served_predictions)]
    if modality == "image":
        variants.append(
            Variant("ours, raw body", server, [raw_request(item) for item in inputs], served_predictions)
        )
    peers = [fastapi(options.run, options.port + 1), litserve(options.run, options.port + 2)]
    if options.tuned:
        peers += [
            fastapi(options.run, options.port + 3, tuned=True),
            litserve(options.run, options.port + 4, tuned=True),
        ]
    variants += [Variant(peer.name, peer, common, fp32_predictions) for peer in peers]
    if options.before:
        earlier = before(options.run, options.port + 5, options.artifact, options.before)
        variants.append(Variant(earlier.name, earlier, common, served_predictions))
    return variants


def time_starts(servers: list[Server], request: bytes, starts: int) -> dict[str, list[float]]:
    """Time each server from the start of its process to its first answer, in seconds.

    The servers take turns. All of them run at the end.
    """
    seconds = defaultdict(list)
    for turn in range(starts):
        for server in servers:
            seconds[server.name].append(server.start(request))
            if turn < starts - 1:
                server.stop()
    return seconds


def check_answers(variant: Variant) -> float:
    """Return the largest difference between a probability and the expected one; exit at a wrong answer."""
    largest = 0.0
    with contextlib.closing(Caller(variant.server.port)) as caller:
        for index, (request, expected) in enumerate(zip(variant.requests, variant.expected, strict=True)):
            status, body = caller.ask(request)
            if status != 200:
                raise SystemExit(f"{variant.name} answers input {index} with {status}: {body[:300]!r}")
            answer = json.loads(body)
            difference = max(
                abs(answer["probabilities"][label] - value) for label, value in expected.probabilities.items()
            )
            if answer["label"] != expected.label or difference > AGREE_WITHIN:
                raise SystemExit(
                    f"{variant.name} answers input {index} with {body[:300]!r}, "
                    f"and not with {expected.probabilities}"
                )
            largest = max(largest, difference)
    return largest


def idle_percent(servers: list[Server]) -> dict[str, float]:
    """Return the percentage of one CPU that each server uses while nobody asks."""
    time.sleep(1)
    before = {server.name: server.cpu_s() for server in servers}
    time.sleep(IDLE_S)
    return {server.name: 100 * (server.cpu_s() - before[server.name]) / IDLE_S for server in servers}


def time_in_process(predictor: Predictor, inputs: list[bytes], seconds: float) -> float:
    """Time the decoding of one input and the run of the session on it, in this process and without HTTP.

    Returns:
        The median, in milliseconds.
    """
    took = []
    end = time.perf_counter() + seconds
    for index in range(sys.maxsize):
        start = time.perf_counter()
        if start > end:
            break
        predictor.score([predictor.decode(inputs[index % len(inputs)]).array])
        took.append(time.perf_counter() - start)
    return 1000 * quantile(took, 0.5)


def run_round(
    variants: list[Variant], options: argparse.Namespace, served: Predictor, inputs: list[bytes]
) -> dict[str, Any]:
    """Load every variant with every number of clients; beside one client, time the work in this process."""
    figures: dict[str, Any] = {"load": defaultdict(dict), "memory": {}}
    for clients in random.sample(options.clients, len(options.clients)):
        turns: list[Variant | None] = [*variants, None] if clients == 1 else [*variants]
        for variant in random.sample(turns, len(turns)):
            if variant is None:
                figures["in_process_p50_ms"] = time_in_process(served, inputs, options.seconds)
                continue
            result = drive(variant.server.port, variant.folder, clients=clients, seconds=options.seconds)
            if set(result["statuses"]) != {"200"}:
                print(f"  {variant.name}, {clients} clients: statuses {result['statuses']}", file=sys.stderr)
            figures["load"][clients][variant.name] = result
        figures["load"][clients] = {
            variant.name: figures["load"][clients][variant.name] for variant in variants
        }
    figures["memory"] = {variant.server.name: variant.server.memory() for variant in variants}
    return figures


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start all servers, check their answers, measure the rounds, and stop the servers."""
    modality = read_manifest(options.run / "bundle")["input"]["modality"]
    inputs = read_inputs(options.run, options.inputs)
    if options.photographs:
        inputs = [enlarge(item, options.photographs) for item in inputs]
    served = load_predictor(options.run / "bundle", artifact=options.artifact)
    variants = make_variants(options, modality, inputs, served)
    for index, variant in enumerate(variants):
        variant.folder = write_requests(folder / str(index), variant.requests)
    servers = list({variant.server.name: variant.server for variant in variants}.values())
    try:
        starts = time_starts(servers, variants[0].requests[0], options.starts)
        for variant in variants:
            print(f"{variant.name}: every answer right, probabilities within {check_answers(variant):.1e}")
        idle = idle_percent(servers)
        print("idle, percent of one CPU: " + ", ".join(f"{name} {value:.1f}" for name, value in idle.items()))
        rounds = [run_round(variants, options, served, inputs) for _ in range(options.rounds)]
    finally:
        for server in servers:
            server.stop()
    return {
        "artifact": served.artifact.name,
        "inputs": len(inputs),
        "idle_percent": idle,
        "start_s": starts,
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--artifact", help="what ours serves; by default the bundle's default")
    parser.add_argument(
        "--before", type=Path, help="another checkout of this repository, whose service is measured too"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--inputs", type=int, default=200, help="of the test split")
    parser.add_argument(
        "--photographs", metavar="WIDTHxHEIGHT", help="make JPEGs of this size of the pictures first"
    )
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument(
        "--tuned", action=argparse.BooleanOptionalAction, default=True, help="the peers a second time, tuned"
    )
    parser.add_argument("--port", type=int, default=24100, help="the first of six")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    options = parser.parse_args()
    here = machine()
    print(f"{here['cpu']}, {here['cpus']} CPUs, {here['system']}, Python {here['python']}")
    print(f"instructions: {' '.join(here['flags'])}")
    print(", ".join(f"{package} {number}" for package, number in here["versions"].items()))
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options, Path(folder))
    for clients in options.clients:
        print_load(figures["rounds"], clients)
    print_rest(figures["rounds"], figures["start_s"])
    if options.json:
        options.json.write_text(json.dumps({"machine": here, "run": options.run.name} | figures, indent=1))


if __name__ == "__main__":
    main()
