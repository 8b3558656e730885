"""Compare the answers of a Triton server with those of the bundle, which are the proven ones.

Triton runs the same file with an ONNX Runtime or a TensorRT of its own, which no receipt covers. So ask it
about samples that were predicted by Graft before::

    graft predict RUN FILES --json > predictions.json
    pip install 'tritonclient[grpc]'
    python compare.py predictions.json --url localhost:8001

The exit code is 0 if all labels are the same and no probability differs by more than the limit, and else 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DESCRIPTION = Path(__file__).parent / "graft.json"  # what this repository holds


def main() -> int:
    """Compare, print one line for each answer that differs and a summary, and return the exit code."""
    description = json.loads(DESCRIPTION.read_bytes())
    parser = argparse.ArgumentParser(description="Compare Triton's answers with those of `graft predict`.")
    parser.add_argument("predictions", type=Path, help="What `graft predict RUN FILES --json` printed.")
    parser.add_argument("--url", default="localhost:8001", help="Triton's gRPC address.")
    parser.add_argument(
        "--limit", type=float, default=description["limit"], help="Largest difference of a probability."
    )
    options = parser.parse_args()
    expected = _read(options.predictions)
    differences = [_compare(options.url, description, answer, options.limit) for answer in expected]
    if not differences:
        print(f"{options.predictions}: holds no prediction, so nothing was compared.")
        return 1
    bad = sum(not is_same for _, is_same in differences)
    largest = max(difference for difference, _ in differences)
    print(
        f"{len(expected)} answers, {bad} beyond the limit; largest difference {largest:.2g} "
        f"(limit {options.limit:g})"
    )
    return 1 if bad else 0


def _read(path: Path) -> list[Mapping[str, Any]]:
    """Return the predictions; ends with a message where the file has none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: holds no predictions ({error}). Write them: graft predict RUN FILES --json")
    if not isinstance(document, list) or not all(isinstance(answer, dict) for answer in document):
        sys.exit(f"{path}: holds no predictions. Write them: graft predict RUN FILES --json")
    return document


def _compare(
    url: str, description: Mapping[str, Any], answer: Mapping[str, Any], limit: float
) -> tuple[float, bool]:
    """Return the largest difference of a probability, and whether Triton's answer is the same."""
    if "error" in answer:
        sys.exit(f"{next(iter(answer.values()))}: Graft itself refuses it. Compare only what it predicts.")
    source, name = next(iter(answer.items()))  # the file, or the input itself
    try:
        data = Path(name).read_bytes() if source == "file" else name.encode()
    except OSError as error:
        sys.exit(f"{name}: cannot be read ({error.strerror}). Start this where it was predicted.")
    found = _ask(url, description, data)
    labels = description["labels"]
    wanted = np.array([answer["probabilities"][label] for label in labels])
    difference = float(np.abs(found - wanted).max())
    label = labels[int(found.argmax())]
    is_same = label == answer["label"] and difference <= limit
    if not is_same:
        print(f"{name}: {label} instead of {answer['label']}, difference {difference:.2g}")
    return difference, is_same


def _ask(url: str, description: Mapping[str, Any], data: bytes) -> np.ndarray[Any, Any]:
    """Return the probabilities of one input by the ensemble, shape (labels,)."""
    try:
        import tritonclient.grpc as triton
    except ImportError as error:
        sys.exit(f"Triton is asked by its own client ({error}). Try: pip install 'tritonclient[grpc]'")
    client = triton.InferenceServerClient(url)
    tensor = triton.InferInput(description["input"], [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[data]], dtype=np.object_))
    try:
        answer = client.infer(description["name"], [tensor])
    except triton.InferenceServerException as error:
        sys.exit(f"{url}: Triton does not answer as {description['name']} ({error}). Name its address: --url")
    return np.asarray(answer.as_numpy(description["output"])[0], dtype=np.float64)


if __name__ == "__main__":
    sys.exit(main())
