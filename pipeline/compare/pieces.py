"""Finished pieces of a comparison on disk, by all that each depends on: what is there is not done again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.files.records import VersionedRecord, read_record, write_record
from pipeline.files.samples import digest, read_samples
from pipeline.finetune.definition import FINETUNE
from pipeline.machine.settings import hardware_names
from pipeline.machine.versions import TRAINING_PACKAGES, versions_of
from pipeline.modalities.registry import find_modality, modules_of
from pipeline.recipe.reading import section_json
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Absent
from pipeline.run.fingerprints import hash_code

log = logging.getLogger("graft")
AnyPiece = TypeVar("AnyPiece", bound=VersionedRecord)
DIGITS = 16


@dataclass(frozen=True)
class Pieces:
    """The finished pieces of a run's comparisons.

    Attributes:
        run: The run's folder.
    """

    run: RunFolder

    @property
    def folder(self) -> Path:
        """The folder of the pieces."""
        return self.run.compare / "pieces"

    def sweep(self) -> None:
        """Finish or remove what a killed command left half-written."""
        if self.folder.is_dir():
            atomic.recover(self.folder)

    def unfinished(self, key: str) -> Path:
        """Return the folder in which a piece that is not finished keeps its work.

        Args:
            key: The piece's key.
        """
        return self.run.compare / f"unfinished-{key}"

    def get(self, form: type[AnyPiece], key: str, make: Callable[[], AnyPiece]) -> AnyPiece:
        """Return a piece: from the disk if it is there, or else made, and then kept.

        Args:
            form: The piece's class.
            key: Its key, of :func:`key_of`.
            make: Makes it.

        Raises:
            GraftError: Whatever making it raises.
        """
        path = self.folder / f"{form.__name__.lower()}-{key}.json"
        if path.is_file():
            try:
                return read_record(path, form, "It is made anew.")
            except GraftError as error:
                log.warning("compare: %s", error)
        piece = make()
        write_record(path, piece)
        return piece


def key_of(module: str, recipe: Recipe, run: RunFolder, **further: object) -> str:
    """Return a hash, in hex, of all that a piece depends on.

    That is what a training of the recipe depends on, the code that makes the piece, this machine, and more.

    Args:
        module: Import name of the module that makes the piece.
        recipe: The recipe of the piece.
        run: The run's folder, with the samples.
        further: JSON values that it depends on besides.

    Raises:
        GraftError: Something is not on this machine, such as the weights.
    """
    inputs = FINETUNE.inputs(recipe, run)
    for value in inputs.values():
        if isinstance(value, Absent):
            raise GraftError(f"{value.what}. {value.remedy}")
    return _hash(module, recipe, inputs, further)


def key_of_data(module: str, recipe: Recipe, run: RunFolder, **further: object) -> str:
    """Return a hash, in hex, of all that a piece depends on which no backbone has a part in.

    Args:
        module: Import name of the module that makes the piece.
        recipe: The recipe of the run.
        run: The run's folder, with the samples.
        further: JSON values that it depends on besides.
    """
    seen = [sample for sample in read_samples(run) if sample.split in {"train", "validation"}]
    packages = (*TRAINING_PACKAGES, *find_modality(recipe.modality).packages)
    sections = [section_json(section) for section in recipe.own_sections()]
    inputs = {"samples": digest(seen), "sections": sections, "versions": versions_of(*packages)}
    return _hash(module, recipe, inputs, {"seed": recipe.seed, **further})


def _hash(module: str, recipe: Recipe, inputs: Mapping[str, object], further: Mapping[str, object]) -> str:
    document = {
        "module": module,
        "code": hash_code(module, *modules_of(recipe.modality)),
        "machine": hardware_names(),
        "inputs": inputs,
        "further": further,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:DIGITS]


def without_training(recipe: Recipe) -> Recipe:
    """Return a recipe without its choices of a training, on which heads and costs do not depend.

    Args:
        recipe: The recipe.
    """
    section = recipe.finetune
    plain = type(section)(device=section.device, precision=section.precision)
    return recipe.model_copy(update={"finetune": plain})
