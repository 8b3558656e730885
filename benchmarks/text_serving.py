"""Milliseconds of one text: over HTTP with one client, beside tokenising and running it in this process; and fp32 beside int8.

    python benchmarks/text_serving.py [RUN] [--texts 300] [--rounds 3]

Texts are the run's test split. In-process and HTTP calls take turns text by text, on one thread each, after a warm-up.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rounds import spread

from pipeline.data.samples import read_samples
from pipeline.layout import RunFolder
from serving.predictor import load_predictor

PORT = 23911


def timed(work) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def ask(connection: http.client.HTTPConnection, body: bytes) -> bytes:
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content
    return content


def serve(run: Path, artifact: str) -> tuple[subprocess.Popen, http.client.HTTPConnection, float]:
    """The service, a connection to it, and the seconds until it was ready."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "pipeline.cli", "serve", str(run), "--port", str(PORT), "--artifact", artifact]
    service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    while True:
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                return service, connection, time.perf_counter() - start
        except OSError:
            connection.close()
            if service.poll() is not None:
                raise
        time.sleep(0.01)


def compare(run: Path, artifact: str, texts: list[bytes], rounds: int) -> dict[str, list[float]]:
    """The medians of each round."""
    predictor = load_predictor(run / "bundle", artifact=artifact)
    arrays = [predictor.decode(text).array for text in texts]
    bodies = [json.dumps({"text": text.decode()}).encode() for text in texts]
    service, connection, ready_s = serve(run, artifact)
    found: dict[str, list[float]] = {"ready_s": [ready_s], "tokenise": [], "session": [], "http": []}
    try:
        for body in bodies[:50]:
            ask(connection, body)
        for _ in range(rounds):
            rows = [
                (
                    timed(lambda i=i: predictor.decode(texts[i])),
                    timed(lambda i=i: predictor.score([arrays[i]])),
                    timed(lambda i=i: ask(connection, bodies[i])),
                )
                for i in range(len(texts))
            ]
            for name, column in zip(("tokenise", "session", "http"), zip(*rows, strict=True), strict=True):
                found[name].append(statistics.median(column))
    finally:
        service.terminate()
        service.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("models/tweets"))
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not (options.run / "bundle").is_dir():
        sys.exit(f"{options.run}: no run there. Carry one out first: graft run examples/tweets/recipe.yaml")
    texts = [sample.read() for sample in read_samples(RunFolder(options.run)) if sample.split == "test"][: options.texts]
    manifest = load_predictor(options.run / "bundle").manifest
    found = {artifact.name: compare(options.run, artifact.name, texts, options.rounds) for artifact in manifest.artifacts}
    for name, figures in found.items():
        added = [h - t - s for h, t, s in zip(figures["http"], figures["tokenise"], figures["session"], strict=True)]
        print(f"{name}, {len(texts)} texts, {options.rounds} rounds: median of the rounds' p50 [range], ms")
        for part in ("tokenise", "session", "http"):
            print(f"  {part:<22} {spread(figures[part])}")
        print(f"  {'http above the others':<22} {spread(added)}")
        print(f"  ready after            {figures['ready_s'][0]:8.2f} s")
    if "onnx-int8" in found:
        pairs = zip(found["onnx-fp32"]["session"], found["onnx-int8"]["session"], strict=True)
        print(f"int8 against fp32, session {spread([fp32 / int8 for fp32, int8 in pairs])}")


if __name__ == "__main__":
    main()
