"""A kind of input as one object: what every command may ask before anything heavy is imported.

Importing this module, or the object of one of our own kinds, loads neither torch nor NumPy nor Pillow. What
trains is imported when :meth:`Modality.load` is called.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.errors import GraftError
from pipeline.modalities.content import Content
from pipeline.recipe.data import Table
from pipeline.recipe.sections import Recipe

if TYPE_CHECKING:
    from pipeline.modalities.training import Training

TRAINING_NAMES = (
    "UNIT",
    "DYNAMIC_AXES",
    "load_pretrained",
    "build_classifier",
    "decode_examples",
    "fit_baseline",
    "show",
    "training_options",
    "longest_axes",
)
"""What a module ``training`` must have; :class:`pipeline.modalities.training.Training` explains each."""


@dataclass(frozen=True)
class Look:
    """The data as ``graft init`` sees them: the files of a folder, or the first rows of a table.

    Attributes:
        source: Path of the folder or the table.
        files: Paths of files in the folder, evenly spread over all; empty for a table.
        form: The section that says how to read the table; its columns are not chosen yet. It is empty by
            default.
        label: Name of the table's column with the labels; empty for a folder, and where none is known yet.
        rows: First rows of a table, each value by the name of its column, and at least one where the table
            has any; a value that is missing or no text is empty. Empty for a folder.
        columns: Names of the table's columns; empty for a folder.
        binary: Names of the columns that hold bytes, such as embedded pictures.
        paths: Names of the columns whose values lead to files, beside the table or below its folder.
    """

    source: Path
    files: Sequence[Path] = ()
    form: Table = field(default_factory=Table)
    label: str = ""
    rows: Sequence[Mapping[str, str]] = ()
    columns: Sequence[str] = ()
    binary: Sequence[str] = ()
    paths: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    @property
    def is_table(self) -> bool:
        """Whether the data are a table."""
        return bool(self.columns)

    @property
    def suffixes(self) -> Mapping[str, int]:
        """The number of :attr:`files` by suffix, which is in lower case and begins with a dot."""
        return Counter(path.suffix.lower() for path in self.files)

    def pick(self, known: Sequence[str]) -> str | None:
        """Return the column that has the first of some names, whatever its case; None where there is none.

        Args:
            known: Names in lower case, the best first.
        """
        return next(
            (column for name in known for column in self.columns if column.strip().lower() == name), None
        )

    def share(self, takes: Callable[[str, Callable[[], bytes]], bool]) -> float:
        """Return the share of the folder's files that a kind may take as samples, from 0 to 1.

        Args:
            takes: The kind's :attr:`Modality.takes`.
        """
        return share_of(self.files, takes)

    def table(self, **columns: str) -> Table:
        """Return the recipe's section for this table.

        Args:
            columns: As ``path`` the name of the column that names the files, or as ``text`` the name of the
                one that holds the samples.
        """
        return self.form.model_copy(update={"label": self.label, **columns})


def share_of(files: Sequence[Path], takes: Callable[[str, Callable[[], bytes]], bool]) -> float:
    """Return the share of some files that a kind may take as samples, from 0 to 1; 0 for no files."""

    def head(path: Path) -> bytes:
        with path.open("rb") as file:
            return file.read(4096)

    return sum(takes(path.suffix.lower(), partial(head, path)) for path in files) / max(1, len(files))


@dataclass(frozen=True)
class Proposal:
    """A kind's claim that the data are its own.

    Attributes:
        confidence: How sure the kind is, from 0 to 1; the surest gets the data. Our own, which look at names
            alone, are at most 0.5 sure.
        table: The recipe's section that says how to read the table; None, the default, for a folder.
        values: What the template of the kind's own part of the new recipe is filled in with, besides what
            all kinds have; nothing by default.
    """

    confidence: float
    table: Table | None = None
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Modality:
    """All that the pipeline knows of one kind of input.

    Attributes:
        name: The ``modality`` of a recipe and a bundle, and the kind's name on serving's side.
        recipe: Class of the kind's recipe, with its own sections and defaults.
        room: Import name of the package that holds what is the kind's own: the module ``training``, which
            follows :class:`pipeline.modalities.training.Training`, and the file ``recipe.yaml.jinja``, the
            part of a new recipe that comes after its section ``data``.
        samples_are_cells: Whether a sample of a table is the content of a cell, such as a text, rather than
            a file that the cell names.
        columns: Names, in lower case, by which ``graft init`` finds a table's column of such samples.
        content: Returns how the audit judges samples, for a recipe of the class.
        propose: Says how sure the kind is that some data are its own; None where they are not.
        takes: Says whether a file in a folder may be a sample, by its suffix (in lower case, with its dot)
            and a function that gives its first 4,096 bytes; others are left out and counted. Any file may by
            default.
        warn_of_labels: Returns what has to be heeded of samples with these labels, a sentence that ``graft
            init`` writes into the recipe and the audit into its record; None, also by default, for nothing.
        calibration_samples: Number of samples that int8 is calibrated on at most; 512 by default.
        packages: Names of the distributions that decode the kind's inputs and build its networks. A run is
            redone when the version of one of them changes, and a bundle names the versions. None by default.
    """

    name: str
    recipe: type[Recipe]
    room: str
    samples_are_cells: bool
    columns: tuple[str, ...]
    content: Callable[[Any], Content]
    propose: Callable[[Look], Proposal | None]
    takes: Callable[[str, Callable[[], bytes]], bool] = lambda _suffix, _head: True
    warn_of_labels: Callable[[Sequence[str]], str | None] = lambda _labels: None
    calibration_samples: int = 512
    packages: tuple[str, ...] = ()

    @property
    def training(self) -> str:
        """Import name of the module that trains."""
        return f"{self.room}.training"

    def load(self) -> Training:
        """Import the module that trains, and with it torch and the kind's own libraries.

        Raises:
            GraftError: The module cannot be imported, or lacks something that every kind must have.
            ModuleNotFoundError: A library that it needs is not installed.
        """
        try:
            module = importlib.import_module(self.training)
        except Exception as error:  # somebody else's module may raise anything
            missing_library = (getattr(error, "name", None) or self.room).partition(".")[0]
            if isinstance(error, ModuleNotFoundError) and missing_library != self.room.partition(".")[0]:
                raise
            raise GraftError(
                f"The modality `{self.name}` cannot be loaded from {self.training} ({error})."
            ) from error
        missing = [name for name in TRAINING_NAMES if not hasattr(module, name)]
        if missing:
            raise GraftError(
                f"The modality `{self.name}` is not whole: {self.training} lacks {', '.join(missing)}."
            )
        return cast("Training", module)
