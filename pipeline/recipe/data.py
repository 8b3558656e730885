"""The section ``data`` of every recipe: the places of labelled samples, how they are read, and the splits."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Split = Literal["train", "validation", "test", "calibration"]


log = logging.getLogger("graft")


class Section(BaseModel):
    """A part of the recipe: frozen, and unknown keys are refused.

    Attributes:
        former_keys: Names that keys had in earlier versions, each with the one of today. They are still read,
            since every run has its recipe with all keys written out; only those of today are written.
    """

    # Errors do not repeat what they were given, which may be a password: tracebacks show them, too.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
    former_keys: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _take_former_keys(cls, document: object) -> object:
        """Give keys of earlier versions the names of today."""
        if not isinstance(document, Mapping):
            return document
        renamed = dict(document)
        for former, key in cls.former_keys.items():
            if former not in renamed:
                continue
            value = renamed.pop(former)
            if renamed.setdefault(key, value) != value:
                raise ValueError(
                    f"{former} and {key} are the former and the present name of one key, and their values"
                    f" differ; leave {former} out"
                )
            _tell_once(former, key)
        return renamed


@functools.cache
def _tell_once(former: str, key: str) -> None:
    """Log that a key has another name now, once in a process, which may read a recipe many times."""
    log.warning("recipe: %s is called %s now; the former name is still read", former, key)


class Range(Section):
    """The numbers that make one class: ``from`` ≤ value < ``below``.

    Attributes:
        from_: Least value of the class; without it, the class has no lower end.
        below: The class ends before this value; without it, the class has no upper end.
    """

    from_: float | None = Field(default=None, alias="from")
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether a value lies in the range."""
        return (self.from_ is None or value >= self.from_) and (self.below is None or value < self.below)


class Table(Section):
    """The format of a table of samples. What is ``auto`` is found in the file, and the log says what it is.

    Attributes:
        separator: What stands between the values of a line: one character, ``whitespace``, or ``auto``.
        columns: Names of the columns of a table without a header line.
        encoding: Python's name of the text encoding, or ``auto``: UTF-8, or what a byte-order mark says.
        quoting: ``csv`` when values may stand in double quotes, ``none`` when a quote is a character like any
            other, or ``auto``.
        escape: Character that takes the meaning of the one after it, such as a backslash before a quote;
            none by default.
        path: Name of the column with each file's path, relative to the table or to ``data.root``.
        strip: Beginning of the paths that is taken off, such as the folder that they had on another machine.
        suffix: What is put behind paths that name files without their suffix, such as ``.jpg``.
        text: Name of the column with the sample itself, for kinds of input whose samples are cells of the
            table, such as texts.
        label: Name of the column with the label.
        split: Name of the column with the split of each sample; none by default.
        classes: The range of values of each class, by its name, where the label is a number.
        probabilities: The column with the probability of each class, by its name, such as
            ``{defective: probability}``, which training aims at instead of the label; one class may be left
            out and gets the rest. Metrics remain those of the label.
        weight: Name of the column with how much each sample counts in training, 0 or more; none by default.
    """

    separator: str = "auto"
    columns: tuple[str, ...] | None = None
    encoding: str = "auto"
    quoting: Literal["auto", "csv", "none"] = "auto"
    escape: str | None = Field(default=None, min_length=1, max_length=1)
    path: str = "path"
    strip: str = ""
    suffix: str = ""
    text: str = "text"
    label: str = "label"
    split: str | None = None
    classes: dict[str, Range] | None = None
    probabilities: dict[str, str] = {}
    weight: str | None = None


class Labels(Section):
    """The names of the classes.

    Attributes:
        names: All names in the order of the model's outputs; a label that is not among them is refused. By
            default they are those that the data have, in alphabetical order.
        rename: Other names of labels, such as ``{Pos: pos}``; two labels of one new name become one class.
        leave_out: Labels whose samples are left out and counted.
        on_twins: Whether labels that look like one, such as ``Pos`` and ``pos`` or ``1`` and ``1.0``, make
            Graft ``refuse`` the data, or ``keep`` them as classes of their own.
        on_missing: Whether samples without a label make Graft ``refuse`` the data, or ``skip`` these samples
            and count them.
    """

    names: tuple[str, ...] | None = None
    rename: dict[str, str] = {}
    leave_out: tuple[str, ...] = ()
    on_twins: Literal["refuse", "keep"] = "refuse"
    on_missing: Literal["refuse", "skip"] = "refuse"


class Splits(Section):
    """The division of the samples into splits: shares of those that never train, or what the data say.

    Attributes:
        validation: Share of the samples that selects the epoch and fits the temperature.
        test: Share of the samples that only measures: ``evaluate``, ``verify`` and ``benchmark`` read it.
        calibration: Share of the samples that ``onnx-int8`` is made with, and nothing else. Pictures need
            it; where it is 0, other kinds use the validation split.
        given: Whether splits that the data name (folders such as ``train`` and ``test``, or
            ``data.table.split``) are kept (``keep``), or all samples are divided anew (``ignore``).
        names: The split that each name of the data's own stands for, such as ``{holdout: test}``. Usual names
            such as ``valid``, ``dev`` or ``testing`` are known.
        keep: Table ``data/samples.csv`` of an earlier run, with its ``contents.csv`` beside it, whose samples
            keep their splits; none by default.
    """

    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.25, gt=0, lt=1)
    calibration: float = Field(default=0.0, ge=0, lt=1)
    given: Literal["keep", "ignore"] = "keep"
    names: dict[str, Split] = {}
    keep: str | None = None

    @model_validator(mode="after")
    def _leave_training_data(self) -> Splits:
        if self.validation + self.test + self.calibration >= 1:
            raise ValueError(
                "validation, test and calibration together must leave something to train on "
                "(their sum must be below 1)"
            )
        return self


class Data(Section):
    """The labelled samples.

    Attributes:
        source: A folder, a table (CSV, TSV, JSON Lines, Parquet, Excel), ``package:NAME/PATH`` for data that
            an installed package ships, or ``hub:NAME`` for a data set of the Hugging Face hub.
        root: Folder that the paths of a table count from; by default the table's own.
        layout: Where a file's split and label stand in its path below a folder, such as
            ``{split}/{label}/**`` (``*`` is any name, ``**`` any folders, ``#`` a number); ``auto`` looks,
            and the log says what it found.
        leave_out: Patterns of paths below the folder that are left out, such as ``train/unsup/**``.
        encoding: Python's name of the encoding of files of text.
        table: The format of the table.
        labels: The names of the classes.
        stratify_by: Names of further columns of the table whose mix every split keeps.
        group_by: What stays together in one split, such as all pictures of a patient: the name of a column,
            or for a folder a pattern over the path with ``{group}`` in it.
        split_by_time: Name of a column with the time of each sample: the oldest train, the newest test.
        splits: The division of the samples into splits.
        on_unreadable: Whether samples that serving would refuse make Graft ``refuse`` the data, or ``skip``
            these samples and count them.
        on_conflict: Whether equal samples under different labels make Graft ``refuse`` the data, or ``skip``
            all of these samples and count them.
    """

    source: str
    root: str | None = None
    layout: str = "auto"
    leave_out: tuple[str, ...] = ()
    encoding: str = "utf-8"
    table: Table = Table()
    labels: Labels = Labels()
    stratify_by: tuple[str, ...] = ()
    group_by: str | None = None
    split_by_time: str | None = None
    splits: Splits = Splits()
    on_unreadable: Literal["refuse", "skip"] = "refuse"
    on_conflict: Literal["refuse", "skip"] = "refuse"
