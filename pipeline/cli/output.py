"""The output of commands: results on standard output, as text or JSON, and the log on standard error."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import click


def start_logging(*, quiet: bool) -> None:
    """Send the log of ``graft`` to standard error, one plain line a message."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("graft")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.INFO)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder that the run's data are in now, if they moved; the run remembers it.",
)


def emit(document: object, text: str, *, as_json: bool) -> None:
    """Print a result.

    Args:
        document: The result for programs: a JSON value, or a dataclass or pydantic model, whose fields become
            the keys of an object.
        text: The result for people.
        as_json: Whether to print the document, as JSON; otherwise the text is printed.
    """
    click.echo(_to_json(document) if as_json else text)


def _to_json(document: object) -> str:
    from pydantic_core import to_jsonable_python  # not needed by --help, which is to stay fast

    return json.dumps(to_jsonable_python(document), indent=2, ensure_ascii=False)
