"""The names of a run's files, all in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def cache_folder() -> Path:
    """What is kept between runs: ``$GRAFT_CACHE``, or ``graft`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GRAFT_CACHE") or Path(base) / "graft")


def find_bundle(folder: Path) -> Path:
    """Return the bundle that a user names: that of a run which has one, or else the folder itself."""
    inside = RunFolder(folder).bundle
    return inside if inside.is_dir() else folder


@dataclass(frozen=True)
class RunFolder:
    """A run's folder. Each stage writes its own subfolder and reads those before it."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The recipe that the run carries out, with every default written out."""
        return self.root / "recipe.yaml"

    @property
    def samples(self) -> Path:
        """Columns ``source,label,split``."""
        return self.root / "data" / "samples.csv"

    @property
    def contents(self) -> Path:
        """Columns ``source,sha256``, the content hash of every sample; and ``text``, of a table of texts."""
        return self.root / "data" / "contents.csv"

    @property
    def audit(self) -> Path:
        """What intake counted, dropped and refused."""
        return self.root / "data" / "audit.json"

    @property
    def checkpoint(self) -> Path:
        """The fine-tuned model's folder: weights, and what is needed to rebuild it."""
        return self.root / "checkpoint"

    @property
    def metrics(self) -> Path:
        """The metrics of the test split."""
        return self.root / "evaluate" / "metrics.json"

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.root / "evaluate" / "report.html"

    @property
    def calibration(self) -> Path:
        """The temperature, and what it was fitted on."""
        return self.root / "evaluate" / "calibration.json"

    @property
    def reference(self) -> Path:
        """The checkpoint's logits on the test split and on some of validation: what receipts compare with."""
        return self.root / "evaluate" / "reference.npz"

    @property
    def bundle(self) -> Path:
        """What is served."""
        return self.root / "bundle"

    @property
    def model(self) -> Path:
        """The fp32 ONNX file, which every other one is made from."""
        return self.candidates / "model.onnx"

    @property
    def receipt(self) -> Path:
        """The fp32 ONNX file's receipt."""
        return self.bundle / "receipts" / "onnx-fp32.json"

    @property
    def candidates(self) -> Path:
        """The model files that are made from the checkpoint, not yet proven."""
        return self.root / "export"

    @property
    def made(self) -> Path:
        """What they were made from, and how each was made or why it was not."""
        return self.candidates / "made.json"

    @property
    def verification(self) -> Path:
        """What the verification found."""
        return self.root / "verify"

    @property
    def artifacts(self) -> Path:
        """What became of each artifact, and why."""
        return self.verification / "artifacts.json"

    @property
    def proof(self) -> Path:
        """The page with every artifact's receipt."""
        return self.verification / "report.html"

    @property
    def refused(self) -> Path:
        """The receipts of artifacts that were not published."""
        return self.verification / "receipts"

    def receipt_of(self, artifact: str) -> Path | None:
        """An artifact's receipt, published or not; None of one that was not run."""
        places = (self.bundle / "receipts" / f"{artifact}.json", self.refused / f"{artifact}.json")
        return next((place for place in places if place.is_file()), None)

    @property
    def benchmark(self) -> Path:
        """How fast each published artifact is here; what ``graft benchmark`` leaves."""
        return self.root / "benchmark"

    def scratch(self, split: str) -> Path:
        """Where decoded samples go that do not fit into memory."""
        return self.root / f".decoded-{split}.npy"

    @property
    def bento(self) -> Path:
        """The tags of what was packaged."""
        return self.root / "package" / "bento.json"

    def marker(self, stage: str) -> Path:
        """Written last by a stage: its fingerprint, and the hashes of what it wrote."""
        return self.root / ".stages" / f"{stage}.json"

    @property
    def lock(self) -> Path:
        """Held while a command works on the run."""
        return self.root / ".stages" / "lock"
