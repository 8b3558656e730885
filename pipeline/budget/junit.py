"""Figures as JUnit's XML, which the servers of continuous integration show as tests."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from pipeline.budget.records import BudgetRecord, Figure
from pipeline.files import atomic


def write_junit(path: Path, name: str, record: BudgetRecord) -> None:
    """Write one test a figure: failed above its limit, skipped where it could not be measured without one.

    Args:
        path: The XML file.
        name: Name of the run.
        record: The figures.

    Raises:
        OSError: The file cannot be written.
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
    atomic.write_bytes(path, ET.tostring(document, encoding="utf-8", xml_declaration=True))


def _case(name: str, figure: Figure) -> ET.Element:
    case = ET.Element("testcase", classname=f"budget.{name}", name=figure.name)
    if not figure.passed:
        text = f"{figure.value} {figure.unit} is above the limit of {figure.limit}. {figure.note}"
        if figure.value is None:
            text = f"not measured: {figure.note}"
        ET.SubElement(case, "failure", message=text.strip())
    elif _is_skipped(figure):
        ET.SubElement(case, "skipped", message=figure.note)
    else:
        output = ET.SubElement(case, "system-out")
        output.text = f"{figure.value} {figure.unit} {figure.note}".strip()
    return case


def _is_skipped(figure: Figure) -> bool:
    return figure.value is None and figure.passed
