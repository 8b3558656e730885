"""What Graft's default is measured against, on the splits of its run, each as a textbook does it.

(a) Logistic regression on frozen features, with its penalty chosen by cross-validation. (b) Plain full
fine-tuning: a head of zeros, AdamW, one rate for all layers, warm-up and a cosine, as many epochs as Graft
planned, no augmentation; the best of three rates by accuracy on validation.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from finetuning.runs import Answered
from numpy.typing import NDArray

RATES = {"image": (1e-4, 3e-4, 1e-3), "text": (2e-5, 5e-5, 1e-4)}
BATCH = 32
WEIGHT_DECAY = 0.01
WARMUP = 0.1
# scikit-learn's C, the inverse of the penalty on the sum of the samples' losses.
PENALTIES = np.geomspace(1e-3, 30, 10)
FOLDS = 5


@dataclass(frozen=True)
class Split:
    """A decoded split of a run.

    Attributes:
        examples: The decoded samples.
        targets: Index of each sample's label, int64 of shape (samples,).
    """

    examples: object
    targets: NDArray[np.int64]


class Peers:
    """The two peers on the splits of a run.

    Args:
        run: A run whose samples are split.
        epochs: Number of epochs of full fine-tuning.
    """

    def __init__(self, run, epochs: int) -> None:
        from pipeline.files.samples import labels_of, read_samples
        from pipeline.machine.settings import choose_settings
        from pipeline.modalities.registry import modality_of

        modality, self.epochs, self.seed = modality_of(run.recipe), epochs, run.recipe.seed
        self.modality = run.recipe.modality
        self.settings = choose_settings()
        torch.use_deterministic_algorithms(mode=False)
        self.pretrained = modality.load_pretrained(run.recipe)
        samples = read_samples(run.folder)
        self.labels = labels_of(samples)
        self.splits = {}
        for name in ("train", "validation", "test"):
            chosen = [sample for sample in samples if sample.split == name]
            examples = modality.decode_examples(
                chosen, self.pretrained.preprocessor, run.folder.scratch(f"peers-{name}")
            )
            self.splits[name] = Split(examples, np.array([self.labels.index(s.label) for s in chosen]))

    def answer_by_regression(self) -> Answered:
        """Answer the test split by (a)."""
        from sklearn.linear_model import LogisticRegressionCV

        train, test = self._features("train"), self._features("test")
        mean, scale = train.mean(axis=0), train.std()
        # The penalty is the same in any rotation: the space that the samples span is enough, and faster.
        basis = np.linalg.svd(train - mean, full_matrices=False)[2].T / scale
        model = LogisticRegressionCV(
            Cs=PENALTIES, cv=FOLDS, scoring="neg_log_loss", max_iter=2000, tol=1e-3, random_state=self.seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes with fewer samples than folds, and of new defaults
            model.fit((train - mean) @ basis, self.splits["train"].targets)
        return Answered(model.predict((test - mean) @ basis).astype(np.int64), self.splits["test"].targets)

    def answer_by_full(self) -> tuple[float, Answered]:
        """Answer the test split by (b); the best rate comes with the answers."""
        best: tuple[float, float, float, Answered] | None = None
        for rate in RATES[self.modality]:
            model = self._train(rate)
            logits = self._logits(model, "validation")
            targets = self.splits["validation"].targets
            accuracy = float((logits.argmax(axis=1) == targets).mean())
            loss = float(
                torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
            )
            if best is None or (accuracy, -loss) > best[:2]:
                predicted = self._logits(model, "test").argmax(axis=1)
                best = accuracy, -loss, rate, Answered(predicted, self.splits["test"].targets)
        assert best is not None
        return best[2], best[3]

    def _features(self, split: str) -> NDArray[np.float64]:
        model = self._on_device(self.pretrained.classifier)
        with torch.inference_mode():
            rows = [model.embed(**batch).float().cpu() for batch in self._in_order(split)]
        return torch.cat(rows).double().numpy()

    def _logits(self, model, split: str) -> NDArray[np.float32]:
        model.saved().eval()
        with torch.inference_mode():
            return torch.cat([model(**batch).float().cpu() for batch in self._in_order(split)]).numpy()

    def _in_order(self, split: str):
        examples = self.splits[split].examples
        for start in range(0, len(examples), BATCH):
            yield examples.batch(np.arange(start, min(start + BATCH, len(examples))), self.settings.device)

    def _on_device(self, classifier):
        classifier.saved().to(self.settings.device).eval()
        classifier.prepare()
        return classifier

    def _train(self, rate: float):
        device, train = self.settings.device, self.splits["train"]
        torch.manual_seed(self.seed)
        classifier = copy.deepcopy(self.pretrained.classifier)
        classifier.saved().to("cpu")
        width = int(self._features_width())
        count = len(self.labels)
        classifier.set_head(np.zeros((count, width), np.float32), np.zeros(count, np.float32))
        model = self._on_device(classifier)
        optimizer = torch.optim.AdamW(model.saved().parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
        size = min(BATCH, len(train.targets))
        steps = self.epochs * (len(train.targets) // size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step, steps))
        generator = torch.Generator().manual_seed(self.seed)
        model.saved().train()
        for _ in range(self.epochs):
            order = torch.randperm(len(train.targets), generator=generator).numpy()
            for start in range(0, len(order) - size + 1, size):
                chosen = order[start : start + size]
                batch = train.examples.batch(chosen, device)
                targets = torch.from_numpy(train.targets[chosen]).to(device)
                with torch.autocast(device, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                    logits = model(**batch)
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(logits.float(), targets).backward()
                optimizer.step()
                schedule.step()
        return model

    def _features_width(self) -> int:
        model = self._on_device(self.pretrained.classifier)
        with torch.inference_mode():
            return model.embed(
                **self.splits["train"].examples.batch(np.arange(1), self.settings.device)
            ).shape[1]


def _factor(step: int, steps: int) -> float:
    """Return the share of the rate at a step: a linear warm-up, then a cosine to 0."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))
