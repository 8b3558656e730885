"""Labelled examples: what intake makes of every layout, and what everything after it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.recipe.data import Split


@dataclass(frozen=True, slots=True)
class Labelled:
    """An example with its label.

    Attributes:
        source: Where the example comes from, relative to the data's root: the path of its file, or the path
            of its table and the line or row, such as ``cats/1.jpg`` or ``train.csv:17``. It is unique.
        label: The label of the example.
        path: Path of the example's file; None where the example is a cell of a table.
        text: The example itself, where it is a text of a table; None, the default, otherwise.
        load: Returns the bytes of an example that a table holds as bytes; None, the default, otherwise.
        split: The split that the data name for the example; None, the default, where they name none.
        strata: The example's values in the columns to stratify by; none by default.
        group: Name of the group that stays in one split; None, the default, where there are no groups.
        time: The example's value in the column of times; None, the default, where there is none.
        probabilities: The probability of each class of the data, in alphabetical order, where a table has
            them; None, the default, otherwise.
        weight: How much the example counts in training, 0 or more; None, the default, where no table says.
    """

    source: str
    label: str
    path: Path | None = None
    text: str | None = None
    load: Callable[[], bytes] | None = None
    split: Split | None = None
    strata: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    probabilities: tuple[float, ...] | None = None
    weight: float | None = None

    def read(self) -> bytes:
        """Return the bytes of the example.

        Raises:
            OSError: The file cannot be read.
        """
        if self.text is not None:
            return self.text.encode(errors="surrogatepass")
        if self.load is not None:
            return self.load()
        if self.path is None:
            raise FileNotFoundError(2, "names no file", self.source)
        return self.path.read_bytes()


@dataclass(frozen=True)
class Intake:
    """The labelled examples of a recipe's source.

    Attributes:
        examples: The examples, each with a source of its own.
        remarks: What people must be told: how the data were read, and what was left out.
    """

    examples: list[Labelled]
    remarks: tuple[str, ...] = ()
