"""Measure what one client waits for an answer over gRPC, and over HTTP for the same request.

    python benchmarks/serving/grpc_latency.py RUN PICTURE [--requests 200] [--rounds 9] [--json FILE]

One service answers both. Rounds alternate between the ways; a round gives the median of its requests, and
differences are formed within a round. Figures are medians of rounds with [least, most], in milliseconds. The
ways are gRPC's client of Python, the same protocol over HTTP with binary data, and `/predict`. "The server's
part" is what the service itself says in `Server-Timing`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

sys.path.append(str(Path(__file__).parents[1]))
from rounds import spread
from servers import HOST, Server

from serving.server.grpc.generated import open_inference_grpc_pb2 as pb
from serving.server.handlers.oip.tensors import join

WARM = 50  # number of requests before the first measured one
READY = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n"
INFER = "/inference.GRPCInferenceService/ModelInfer"
Ask = Callable[[], float]


def find_ports() -> list[int]:
    """Return two ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def read_total(timing: str) -> float:
    """Return the milliseconds that the service took, of its Server-Timing."""
    found = re.search(r"total;dur=([0-9.]+)", timing)
    assert found, timing
    return float(found[1])


@contextlib.contextmanager
def open_grpc(port: int, model: str, picture: bytes) -> Iterator[Ask]:
    """Give what asks once over gRPC, and returns the server's part."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[1])
    request = pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[join([picture])])
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        infer = channel.unary_unary(
            INFER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )

        def ask() -> float:
            answer, call = infer.with_call(request)
            assert len(answer.outputs) == 2
            return read_total(dict(call.trailing_metadata())["server-timing"])

        yield ask


@contextlib.contextmanager
def open_http(port: int, path: str, body: bytes, header_length: int | None) -> Iterator[Ask]:
    """Give what asks once over HTTP on a connection that stays, and returns the server's part."""
    headers = {"content-type": "application/octet-stream"}
    if header_length is not None:
        headers["inference-header-content-length"] = str(header_length)
    with contextlib.closing(http.client.HTTPConnection(HOST, port)) as connection:

        def ask() -> float:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
            return read_total(answer.headers["server-timing"])

        yield ask


def make_binary_body(picture: bytes) -> tuple[bytes, int]:
    """Return a body of the protocol over HTTP with binary data, and how many bytes of it are JSON."""
    data = join([picture])
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(data)}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return header + data, len(header)


def measure_round(ask: Ask, requests: int) -> tuple[float, float]:
    """Return the median milliseconds that the client waits, and of those the server's part."""
    waits, parts = [], []
    for _ in range(requests):
        start = time.perf_counter()
        part = ask()
        waits.append(1000 * (time.perf_counter() - start))
        parts.append(part)
    return statistics.median(waits), statistics.median(parts)


def measure(options: argparse.Namespace, port: int, grpc_port: int) -> dict[str, list[tuple[float, float]]]:
    """Measure every way in each round, one after the other."""
    picture = options.picture.read_bytes()
    model = json.loads((options.run / "bundle" / "manifest.json").read_text())["name"]
    body, header_length = make_binary_body(picture)
    with contextlib.ExitStack() as stack:
        ways = {
            "gRPC": stack.enter_context(open_grpc(grpc_port, model, picture)),
            "protocol over HTTP": stack.enter_context(
                open_http(port, f"/v2/models/{model}/infer", body, header_length)
            ),
            "/predict": stack.enter_context(open_http(port, "/predict", picture, None)),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for ask in ways.values():
            measure_round(ask, WARM)
        for _ in range(options.rounds):
            for name, ask in ways.items():
                found[name].append(measure_round(ask, options.requests))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--requests", type=int, default=200, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="a file for all figures")
    options = parser.parse_args()
    port, grpc_port = find_ports()
    command = [sys.executable, "-m", "serving", str(options.run / "bundle")]
    command += ["--port", str(port), "--grpc-port", str(grpc_port)]
    server = Server("graft", command, port)
    server.start(READY)
    try:
        found = measure(options, port, grpc_port)
    finally:
        server.stop()
    for name, rounds in found.items():
        waits, parts = map(list, zip(*rounds, strict=True))
        print(f"{name:<20} p50 ms {spread(waits, 3)}   the server's part {spread(parts, 3)}")
    for name in list(found)[1:]:
        more = [first[0] - other[0] for first, other in zip(found["gRPC"], found[name], strict=True)]
        print(f"gRPC - {name:<20} {spread(more, 3)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
