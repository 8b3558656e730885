"""Measure the pictures a second of feature extraction and of full fine-tuning, beside torch at its defaults.

    python benchmarks/training.py [--rounds 3] [--batch 32] [--backbone tf_efficientnet_lite0]

Every variant runs in a process of its own (the settings of the allocator hold for a whole process), the
variants take turns, and each round gives one ratio; the median and the range of the ratios are printed.
Pictures are real if the demo's data set is installed, and noise otherwise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rounds import measure_apart, spread

SIZE_PX = 224
CLASSES = 2


@dataclass(frozen=True)
class Variant:
    """A way to do the work.

    Attributes:
        name: Name of the variant.
        measure: Function that measures it with a backbone, pixels and a batch size.
    """

    name: str
    measure: Callable[[str, np.ndarray, int], dict[str, Any]]


def load_pixels(count: int) -> np.ndarray:
    """Load pictures, uint8 of shape (count, 224, 224, 3)."""
    from pathlib import Path

    from serving.model.inputs.image.pixels import decode_image
    from serving.model.inputs.image.spec import ImageInputSpec

    try:
        import elpv_dataset
    except ImportError:
        return np.random.default_rng(0).integers(0, 256, (count, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    files = sorted((Path(elpv_dataset.__file__).parent / "data" / "images").glob("*.png"))[:count]
    return np.stack(
        [decode_image(file.read_bytes(), ImageInputSpec(height=SIZE_PX, width=SIZE_PX)) for file in files]
    )


def pretrained(backbone: str):
    """Return the network that every variant uses: timm's, with random weights of one seed."""
    import timm
    import torch

    torch.manual_seed(0)
    return timm.create_model(backbone).eval()


def features_torch(backbone: str, pixels: np.ndarray, batch: int) -> dict[str, Any]:
    """Extract features with torch at its defaults: fp32, NCHW, eager."""
    import torch

    model = pretrained(backbone)

    def run() -> np.ndarray:
        with torch.inference_mode():
            rows = []
            for start in range(0, len(pixels), batch):
                x = torch.from_numpy(pixels[start : start + batch]).permute(0, 3, 1, 2).contiguous().float()
                rows.append(
                    model.forward_head(model.forward_features((x / 255 - 0.5) / 0.5), pre_logits=True).numpy()
                )
        return np.concatenate(rows)

    return _timed(run, len(pixels))


def features_graft(backbone: str, pixels: np.ndarray, batch: int) -> dict[str, Any]:
    """Extract features as Graft does: with the exported backbone in ONNX Runtime.

    Each run has one thread, and as many run at once as there are CPUs.
    """
    from concurrent.futures import ThreadPoolExecutor

    from pipeline.artifacts.onnx import to_onnx
    from pipeline.finetune.start.features import FeatureExtractor
    from pipeline.modalities.image.network import ImageClassifier, Normalisation
    from serving.model.runtimes.machine import cpu_limit
    from serving.model.runtimes.ort import load_onnxruntime

    ort = load_onnxruntime()

    extractor = FeatureExtractor(
        ImageClassifier(pretrained(backbone), Normalisation((0.5,) * 3, (0.5,) * 3))
    ).eval()
    example = {"image": pixels[: max(2, batch)]}
    content = to_onnx(
        extractor, example, output_name="features", metadata={}, dynamic_axes={"image": ("batch",)}
    ).content
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run() -> np.ndarray:
        batches = [pixels[start : start + batch] for start in range(0, len(pixels), batch)]
        with ThreadPoolExecutor(cpu_limit()) as pool:
            return np.concatenate(
                list(pool.map(lambda images: session.run(None, {"image": images})[0], batches))
            )

    return _timed(run, len(pixels))


def _timed(run: Callable[[], np.ndarray], count: int) -> dict[str, Any]:
    run()
    start = time.perf_counter()
    rows = run()
    return {"per_s": count / (time.perf_counter() - start), "rows": rows[:32].tolist()}


def train_torch(backbone: str, pixels: np.ndarray, batch: int) -> dict[str, Any]:
    """Train by a plain torch loop at its defaults: fp32, NCHW, stock allocator."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model(backbone, num_classes=CLASSES).train()
    optimizer = torch.optim.AdamW(model.parameters())
    targets = torch.arange(len(pixels)) % CLASSES

    def step(start: int) -> None:
        x = torch.from_numpy(pixels[start : start + batch]).permute(0, 3, 1, 2).contiguous().float()
        loss = torch.nn.functional.cross_entropy(model((x / 255 - 0.5) / 0.5), targets[start : start + batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return _timed_steps(step, len(pixels), batch)


def train_graft(backbone: str, pixels: np.ndarray, batch: int) -> dict[str, Any]:
    """Train two epochs by Graft's own loop, augmentation included; the second one counts."""
    from pipeline.finetune.course.loop import train
    from pipeline.finetune.plan import plan_of
    from pipeline.finetune.strategies.full import Full
    from pipeline.finetune.strategies.modes import has_grouped_convolutions
    from pipeline.machine.settings import apply_settings, choose_settings, suit_network
    from pipeline.modalities.image.recipe import ImageFinetune
    from pipeline.modalities.image.training import training_options

    section = ImageFinetune(batch_size=batch, epochs=2)
    settings = choose_settings(section.device, section.precision)
    apply_settings(settings, 0)
    prepared = prepare_graft(backbone, pixels, section)
    grouped = has_grouped_convolutions(prepared.classifier.saved())
    settings = suit_network(settings, section.precision, has_grouped_convolutions=grouped)
    plan = plan_of(section, training_options(section), settings, 0, len(pixels))
    outcome = train(prepared, plan, Full(head_first=True))
    return {"per_s": outcome.epochs[-1].samples_per_s, "why": settings.why}


def prepare_graft(backbone: str, pixels: np.ndarray, section):
    """Return what Graft's loop starts from: pictures of two classes, and a network with random weights."""
    import timm

    from pipeline.finetune.start.heads import LinearHead
    from pipeline.finetune.start.prepared import Prepared, Split, floor_of
    from pipeline.modalities.image.examples import ImageExamples
    from pipeline.modalities.image.network import ImageClassifier, Normalisation
    from pipeline.tasks.classification import CLASSIFICATION

    network = timm.create_model(backbone, num_classes=CLASSES)
    classifier = ImageClassifier(network, Normalisation((0.5,) * 3, (0.5,) * 3))
    linear = network.get_classifier()
    head = LinearHead(linear.weight.detach().numpy(), linear.bias.detach().numpy(), penalty=0.0)
    classes = np.arange(CLASSES)
    return Prepared(
        classifier=classifier,
        train=Split(ImageExamples(pixels, section.augment), np.arange(len(pixels)) % CLASSES),
        validation=Split(ImageExamples(pixels[:CLASSES], section.augment), classes),
        floor=floor_of(classifier, np.zeros((CLASSES, CLASSES), np.float32), classes, CLASSIFICATION),
        best_head=head,
        gentle_head=head,
        class_weights=None,
        task=CLASSIFICATION,
        unit="pictures",
    )


def _timed_steps(step: Callable[[int], None], count: int, batch: int) -> dict[str, Any]:
    starts = range(0, count - batch + 1, batch)
    step(0)
    step(0)
    begin = time.perf_counter()
    for start in starts:
        step(start)
    return {"per_s": len(starts) * batch / (time.perf_counter() - begin)}


PAIRS = {
    "feature extraction": (Variant("torch default", features_torch), Variant("graft", features_graft)),
    "full fine-tuning": (Variant("torch default", train_torch), Variant("graft", train_graft)),
}
BATCHES = {"feature extraction": [1, 32], "full fine-tuning": [32]}
COUNTS = {"feature extraction": 192, "full fine-tuning": 256}


def compare(work: str, backbone: str, batch: int, rounds: int) -> None:
    """Print the pictures a second of both variants, and the ratio of the two in each round."""
    arguments = ("--child", work, "--backbone", backbone, "--batch", batch)
    results = [
        [measure_apart(__file__, *arguments, "--index", index) for index in (0, 1)] for _ in range(rounds)
    ]
    print(f"\n{work}, {backbone}, batch {batch}, {rounds} rounds: median [range]")
    for index, variant in enumerate(PAIRS[work]):
        print(f"  {variant.name:<15} pictures/s {spread([r[index]['per_s'] for r in results])}")
    print(f"  {'ratio':<15}            {spread([r[1]['per_s'] / r[0]['per_s'] for r in results])}")
    if "rows" in results[0][0]:
        reference, ours = (np.array(results[0][index]["rows"]) for index in (0, 1))
        print(f"  relative error  {np.abs(ours - reference).max() / np.abs(reference).max():.1e}")
    if "why" in results[0][1]:
        print(f"  graft trains in {results[0][1]['why']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--work", choices=PAIRS, action="append")
    parser.add_argument("--child", choices=PAIRS, help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        pixels = load_pixels(COUNTS[options.child])
        print(
            json.dumps(
                PAIRS[options.child][options.index].measure(options.backbone, pixels, options.batch[0])
            )
        )
        return
    for work in options.work or PAIRS:
        for batch in options.batch or BATCHES[work]:
            compare(work, options.backbone, batch, options.rounds)


if __name__ == "__main__":
    main()
