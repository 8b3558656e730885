"""The layout of a run's folder: the names of its files, all in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError


def cache_folder() -> Path:
    """Return the folder of the files that are kept between runs.

    It is ``$GRAFT_CACHE``, or ``graft`` in the user's cache folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GRAFT_CACHE") or Path(base) / "graft")


def find_bundle(folder: Path) -> Path:
    """Return the bundle that a user names: the folder itself if it is one, or else that of the run.

    Args:
        folder: The folder of a bundle, whatever it holds beside its manifest, or of a run.

    Raises:
        GraftError: It is both a bundle and a run.
    """
    run = RunFolder(folder)
    if os.path.lexists(folder / "manifest.json"):
        if os.path.lexists(run.recipe):
            raise GraftError(
                f"{folder}: is a bundle (manifest.json) and a run ({run.recipe.name}) at once. "
                "Move one of them elsewhere, and name the other."
            )
        return folder
    return run.bundle if run.bundle.is_dir() else folder


@dataclass(frozen=True)
class RunFolder:
    """A run's folder. Each stage writes its own subfolder and reads those before it.

    Attributes:
        root: Path of the folder.
    """

    root: Path

    @property
    def recipe(self) -> Path:
        """The recipe that the run carries out, with every default written out."""
        return self.root / "recipe.yaml"

    @property
    def data_root(self) -> Path:
        """The file with the path of the data's root, which the names of samples count from."""
        return self.root / "data-root.txt"

    @property
    def samples(self) -> Path:
        """The table of samples, with the columns ``source,label,split``."""
        return self.root / "data" / "samples.csv"

    @property
    def contents(self) -> Path:
        """The table of contents, with the columns ``source,sha256``, and ``text`` if samples are texts.

        It holds the content hash of every sample.
        """
        return self.root / "data" / "contents.csv"

    @property
    def store(self) -> Path:
        """The folder of the samples that a table holds as bytes; there is none where it holds no such."""
        return self.root / "data" / "stored"

    def stored(self, sha256: str) -> Path:
        """Return the path of a stored sample.

        Args:
            sha256: SHA-256, in hexadecimal, of the sample's bytes.
        """
        return self.store / sha256[:2] / sha256

    @property
    def audit(self) -> Path:
        """The record of what the audit counted, dropped and refused."""
        return self.root / "data" / "audit.json"

    @property
    def checkpoint(self) -> Path:
        """The fine-tuned model's folder: weights, and what is needed to rebuild it."""
        return self.root / "checkpoint"

    @property
    def rates(self) -> Path:
        """The folder of what ``graft rates`` found: the losses at rising learning rates, and their plot."""
        return self.root / "rates"

    @property
    def search(self) -> Path:
        """The folder of what ``graft search`` found: its trials, the best recipe and a page."""
        return self.root / "search"

    @property
    def compare(self) -> Path:
        """The folder of what ``graft compare`` measured of several backbones, and of more samples."""
        return self.root / "compare"

    @property
    def transfer(self) -> Path:
        """The folder of what the model is compared with to say whether transfer helps."""
        return self.root / "transfer"

    @property
    def opponents(self) -> Path:
        """The record of the opponents."""
        return self.transfer / "opponents.json"

    @property
    def opponents_answers(self) -> Path:
        """The opponents' answers to the test split."""
        return self.transfer / "answers.npz"

    @property
    def metrics(self) -> Path:
        """The metrics of the test split."""
        return self.root / "evaluate" / "metrics.json"

    @property
    def report(self) -> Path:
        """The self-contained page of the evaluation."""
        return self.root / "evaluate" / "report.html"

    @property
    def calibration(self) -> Path:
        """The temperature, and the record of what it was fitted on."""
        return self.root / "evaluate" / "calibration.json"

    @property
    def reference(self) -> Path:
        """The checkpoint's logits on the test split and on some of validation.

        Receipts compare the answers of artifacts with them.
        """
        return self.root / "evaluate" / "reference.npz"

    @property
    def bundle(self) -> Path:
        """The folder of the bundle, which is served."""
        return self.root / "bundle"

    @property
    def model(self) -> Path:
        """The fp32 ONNX file, which every other one is made from."""
        return self.candidates / "model.onnx"

    @property
    def receipt(self) -> Path:
        """The receipt of the fp32 ONNX file."""
        return self.bundle / "receipts" / "onnx-fp32.json"

    @property
    def candidates(self) -> Path:
        """The folder of the model files that are made from the checkpoint and not yet proven."""
        return self.root / "export"

    @property
    def made(self) -> Path:
        """The record of what the model files were made from, and how each was made or why it was not."""
        return self.candidates / "made.json"

    @property
    def verification(self) -> Path:
        """The folder of what the verification found."""
        return self.root / "verify"

    @property
    def artifacts(self) -> Path:
        """The record of what became of each artifact, and why."""
        return self.verification / "artifacts.json"

    @property
    def proof(self) -> Path:
        """The page with the receipts of all artifacts."""
        return self.verification / "report.html"

    @property
    def refused(self) -> Path:
        """The folder of the receipts of artifacts that were not published."""
        return self.verification / "receipts"

    def receipt_of(self, artifact: str) -> Path | None:
        """Return the path of an artifact's receipt, published or not; None if the artifact was not run."""
        places = (self.bundle / "receipts" / f"{artifact}.json", self.refused / f"{artifact}.json")
        return next((place for place in places if place.is_file()), None)

    @property
    def benchmark(self) -> Path:
        """The folder of what ``graft benchmark`` measured of the published artifacts on this machine."""
        return self.root / "benchmark"

    @property
    def history(self) -> Path:
        """The history of the run, one JSON object a line, which is only ever appended to."""
        return self.root / "history.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of the files for TensorBoard, where the recipe names no other."""
        return self.root / "tensorboard"

    def scratch(self, split: str) -> Path:
        """Return the path of the decoded samples of a split that do not fit into memory."""
        return self.root / f".decoded-{split}.npy"

    def unfinished(self, stage: str) -> Path:
        """Return the folder of what a stage keeps of unfinished work, to go on with when it is repeated.

        It is removed when the stage is done, or is to begin anew.
        """
        return self.root / f".unfinished-{stage}"

    @property
    def bento(self) -> Path:
        """The record of the tags of the Bento and its model."""
        return self.root / "package" / "bento.json"

    def packaged(self, target: str) -> Path:
        """Return the folder of what the bundle becomes for a target, such as ``triton``.

        Args:
            target: Name of the target.
        """
        return self.root / "package" / target

    @property
    def image(self) -> Path:
        """The folder of the OCI layout, where the image is written to its usual place."""
        return self.packaged("oci") / "layout"

    @property
    def budget(self) -> Path:
        """The folder of what ``graft budget`` measured of the image."""
        return self.root / "budget"

    def marker(self, stage: str) -> Path:
        """Return the path of a stage's marker: its fingerprint, its inputs, and the hashes of its files.

        The stage writes it last.
        """
        return self.root / ".stages" / f"{stage}.json"

    @property
    def states(self) -> Path:
        """The table of the content hashes of the data's files, with what tells whether one has changed."""
        return self.root / ".stages" / "states.csv"

    @property
    def lock(self) -> Path:
        """The lock, which a command holds while it works on the run."""
        return self.root / ".stages" / "lock"
