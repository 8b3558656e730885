"""Figures as JUnit's XML, which the servers of continuous integration show as tests."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

from pipeline.budget.records import BudgetRecord, Figure
from pipeline.errors import GraftError
from pipeline.files import atomic

# What XML 1.0 knows no way to write, and the sequences of terminals that begin with such a character.
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def require_place(path: Path) -> None:
    """Refuse a file that could not be written, before anything is measured for it.

    Args:
        path: The XML file.

    Raises:
        GraftError: It is a folder, or its folder cannot be made or written to.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: OSError) -> GraftError:
    return GraftError(f"{path}: cannot be written ({error.strerror}). Name another file: --junit FILE")


def write_junit(path: Path, name: str, record: BudgetRecord) -> None:
    """Write one test a figure: failed above its limit, skipped where it could not be measured without one.

    Args:
        path: The XML file.
        name: Name of the run.
        record: The figures.

    Raises:
        GraftError: The file cannot be written.
    """
    failed = sum(not figure.passed for figure in record.figures)
    skipped = sum(_is_skipped(figure) for figure in record.figures)
    suite = ET.Element(
        "testsuite",
        name=f"budget of {name}",
        tests=str(len(record.figures)),
        failures=str(failed),
        errors="0",
        skipped=str(skipped),
    )
    for figure in record.figures:
        suite.append(_case(name, figure))
    document = ET.Element("testsuites")
    document.append(suite)
    ET.indent(document)
    try:
        atomic.write_bytes(path, ET.tostring(document, encoding="utf-8", xml_declaration=True))
    except OSError as error:
        raise _refusal(path, error) from error


def _cleaned(text: str) -> str:
    """Return a text, which may come from a container, with those characters alone that XML can hold."""
    return _NO_XML.sub("\ufffd", _TERMINAL.sub("", text)).strip()


def _case(name: str, figure: Figure) -> ET.Element:
    case = ET.Element("testcase", classname=f"budget.{name}", name=figure.name)
    if not figure.passed:
        text = f"{'failed' if figure.failed else 'not measured'}: {figure.note}"
        if figure.value is not None:
            text = f"{figure.measured()} is above the limit of {figure.limit:,g}. {figure.note}"
        # Some readers show the message, others the text alone, and the schemas ask for a type.
        failure = ET.SubElement(case, "failure", message=_cleaned(text), type="budget")
        failure.text = _cleaned(text)
    elif _is_skipped(figure):
        ET.SubElement(case, "skipped", message=_cleaned(figure.note))
    else:
        output = ET.SubElement(case, "system-out")
        limit = "" if figure.limit is None else f", at most {figure.limit:,g}"
        output.text = _cleaned(f"{figure.measured()}{limit}. {figure.note}")
    return case


def _is_skipped(figure: Figure) -> bool:
    return figure.value is None and figure.passed
