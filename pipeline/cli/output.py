"""What commands print: results on standard output, for people or as JSON; what happens meanwhile on standard error."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

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


def emit(document: Any, text: str, *, as_json: bool) -> None:  # noqa: ANN401 - any JSON value
    """Print a result.

    Args:
        document: The result for programs.
        text: The same for people.
        as_json: Which of them.
    """
    click.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else text)
