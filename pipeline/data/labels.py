"""Labels: read from a table's values or the names of folders, renamed or left out, and checked for twins."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Final

from pipeline.errors import DataError
from pipeline.recipe.data import Labels, Range
from pipeline.reporting.printable import listing, printable

NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,6})?")
MISSING_ELSEWHERE: Final = frozenset(
    {"na", "n/a", "#n/a", "<na>", "nan", "-nan", "none", "null", "nil", "#na", "nat", "?"}
)
MANY_NUMBERS: Final = 20  # as many different fractions are measurements rather than classes


class LabelReader:
    """Reads labels one by one, and says at the end what there is to say of all of them.

    Args:
        section: The recipe's section ``data.labels``.
        classes: The recipe's ``data.table.classes``: the range of values of each class, by its name.
    """

    def __init__(self, section: Labels, classes: Mapping[str, Range] | None = None) -> None:
        self._section = section
        self._classes = classes
        self._known: dict[str, str | None] = {}
        self._counts: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._stripped: Counter[str] = Counter()
        self._missing: list[str] = []

    def read(self, value: str | None, place: str) -> str | None:
        """Return the label that a value stands for; None where its sample is left out.

        Args:
            value: The value of a label's column, or the name of a folder; None or blank where there is none.
            place: Where it stands, such as ``train.csv, line 17``, for messages.

        Raises:
            DataError: The value falls into none of the ranges of ``data.table.classes``, or into several.
        """
        if value is None or not value.strip():
            self._missing.append(place)
            return None
        if value not in self._known:
            self._known[value] = self._resolve(value, place)
        label = self._known[value]
        if label is None:
            self._left_out[value.strip()] += 1
            return None
        if value != value.strip():
            self._stripped[value] += 1
        self._counts[label] += 1
        return label

    def _resolve(self, value: str, place: str) -> str | None:
        """Return the label of a value that was not met before."""
        name = value.strip()
        if self._classes is not None:
            name = _class_of(name, self._classes, place)
        if name in self._section.leave_out:
            return None
        return self._section.rename.get(name, name)

    def finish(self, *, judge: bool = True) -> list[str]:
        """Return what there is to tell of all labels that were read.

        Args:
            judge: Whether anything is refused, the default.

        Raises:
            DataError: Labels are missing, look like one another, are not among those that the recipe names,
                have characters that nobody sees, or are the values of a measurement.
        """
        if judge:
            self._judge()
        return [*self._tell_left_out(), *_tell_missing_elsewhere(self._counts)]

    def _judge(self) -> None:
        self._refuse_missing()
        _refuse_invisible(self._counts)
        if self._section.on_twins == "refuse":
            _refuse_twins(self._counts)
        self._refuse_unknown()
        refuse_measurements(self._counts)

    def _refuse_missing(self) -> None:
        if self._missing and self._section.on_missing == "refuse":
            raise DataError(
                f"{len(self._missing):,} sample(s) have no label:\n{listing(self._missing)}\n"
                "Fill them in, or leave them out and count them: data.labels.on_missing: skip"
            )

    def _refuse_unknown(self) -> None:
        names = self._section.names
        unknown = [label for label in self._counts if names is not None and label not in names]
        if unknown:
            raise DataError(
                "data.labels.names does not have every label of the data:\n"
                f"{listing(_counted(unknown, self._counts))}\n"
                "Add them, or rename (data.labels.rename) or leave them out (data.labels.leave_out)."
            )

    def _tell_left_out(self) -> list[str]:
        told = []
        if self._missing:
            told.append(f"{len(self._missing):,} sample(s) without a label are left out")
        if self._left_out:
            counts = ", ".join(f"{printable(name)} ({count:,})" for name, count in self._left_out.items())
            told.append(f"left out by data.labels.leave_out: {counts}")
        if self._stripped:
            told.append(
                f"{sum(self._stripped.values()):,} label(s) had spaces around them, which do not count"
            )
        return told


def find_twins(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of labels that look like one another, each group in alphabetical order.

    Such labels differ only by case, spaces, the Unicode form or invisible characters; or they are the same
    number, as ``1``, ``1.0`` and ``01`` are.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[_look(label)].append(label)
    return [tuple(sorted(group)) for group in groups.values() if len(group) > 1]


def _look(label: str) -> str:
    """Return what a label looks like to a person, as a key."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    folded = "".join(each for each in folded if unicodedata.category(each) != "Cf")
    folded = unicodedata.normalize("NFKC", " ".join(folded.split()))
    return _same_number(folded) if NUMBER.fullmatch(folded) else folded


def _same_number(written: str) -> str:
    """Return the one form of all that write a number, with every digit: long ones are names of things."""
    number = Decimal(written)
    exact = Context(prec=len(written), Emax=MAX_EMAX, Emin=MIN_EMIN)
    return str(number.normalize(exact)) if number else "0"


def _refuse_twins(counts: Mapping[str, int]) -> None:
    twins = find_twins(counts)
    if twins:
        rename = {each: best for group in twins for best in [likeliest(group, counts)] for each in group}
        remedy = ", ".join(f"{_quoted(old)}: {_quoted(new)}" for old, new in rename.items() if old != new)
        raise DataError(
            "Some labels look like one another:\n"
            f"{listing(' = '.join(_counted(group, counts)) for group in twins)}\n"
            f"If they are one class: data.labels.rename: {{{remedy}}}. If not: data.labels.on_twins: keep"
        )


def likeliest(group: Sequence[str], counts: Mapping[str, int]) -> str:
    """Return the one of some twins that is probably meant: the most frequent, and of such the plainest."""
    plain = [each for each in group if each.isprintable()] or list(group)
    return min(plain, key=lambda label: (-counts[label], len(label), label))


def _refuse_invisible(counts: Mapping[str, int]) -> None:
    """Refuse labels with line breaks and other control characters, which would break whatever shows them."""
    wrong = [label for label in counts if any(unicodedata.category(each) in {"Cc", "Cs"} for each in label)]
    if wrong:
        rename = ", ".join(f"{_quoted(label)}: {_quoted(plain(label))}" for label in wrong[:3])
        raise DataError(
            f"{len(wrong)} label(s) have a line break or another control character:\n"
            f"{listing(_counted(wrong, counts))}\nGive them other names: data.labels.rename: {{{rename}}}"
        )


def plain(label: str) -> str:
    """Return a label without control characters, which become spaces.

    Bytes of a folder's name that are not UTF-8 become the letters that they are on older systems.
    """
    legible = "".join(map(_legible, label))
    spaced = "".join(" " if unicodedata.category(each) in {"Cc", "Cs"} else each for each in legible)
    return " ".join(spaced.split()) or "unnamed"


def _legible(character: str) -> str:
    """Return the letter of Windows' Western encoding for a byte that Python keeps as a lone surrogate."""
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]).decode("cp1252", "replace")
    return character


def refuse_measurements(counts: Mapping[str, int]) -> None:
    """Refuse labels that are the values of a measurement.

    Args:
        counts: The number of samples of each label.

    Raises:
        DataError: Most of many labels are fractions.
    """
    fractions = [label for label in counts if NUMBER.fullmatch(label) and not float(label).is_integer()]
    if len(counts) > MANY_NUMBERS and len(fractions) > len(counts) / 2:
        examples = ", ".join(printable(label) for label in fractions[:3])
        raise DataError(
            f"The labels are {len(counts):,} different numbers ({examples}, …), which are measurements and "
            "no classes. Say which range is which class, such as "
            "data.table.classes: {low: {below: 0.5}, high: {from: 0.5}}, or name another column: "
            "data.table.label"
        )


def _tell_missing_elsewhere(counts: Mapping[str, int]) -> list[str]:
    odd = [label for label in counts if label.casefold() in MISSING_ELSEWHERE]
    if not odd:
        return []
    return [
        f"{', '.join(_counted(odd, counts))}: kept as a class of that name, though other tools read it as "
        "missing; if it is, leave it out: "
        f"data.labels.leave_out: [{', '.join(_quoted(label) for label in odd)}]"
    ]


def _class_of(value: str, classes: Mapping[str, Range], place: str) -> str:
    """Return the name of the class whose range a value is in."""
    if not NUMBER.fullmatch(value):
        raise DataError(f"{place}: data.table.classes needs numbers, but the label is {printable(value)!r}.")
    names = [name for name, interval in classes.items() if interval.holds(float(value))]
    if len(names) != 1:
        fault = f"more than one class ({', '.join(names)})" if names else "no class"
        raise DataError(f"{place}: {value} falls into {fault} of data.table.classes. Mend the ranges.")
    return names[0]


def _counted(labels: Iterable[str], counts: Mapping[str, int]) -> list[str]:
    return [f"{_quoted(label)} ({counts[label]:,})" for label in labels]


def _quoted(label: str) -> str:
    """Return a label as YAML and people read it, in double quotes and with escapes."""
    return f'"{printable(label.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34)))}"'
