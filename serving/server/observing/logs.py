"""Logs as JSON, one object a line, for a collector; no header, no query and no body is in them, so that no secret is."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from serving.server.observing.sink import BackgroundHandler

access = logging.getLogger("graft.access")
# A path may hold anything: what is not ASCII is escaped, and so is the one ASCII control character that JSON lets through.
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode
DELETE, ESCAPED_DELETE = "\x7f", "\\u007f"


class JsonLines(logging.Formatter):
    """A record as one line of JSON: ``time`` (UTC, milliseconds), ``level``, ``logger``, ``message``, and ``exception`` where there is one.

    A record's attribute ``fields``, a dict, is added to them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": self._time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return _encode(line).replace(DELETE, ESCAPED_DELETE)

    def _time(self, created: float) -> str:
        second, text = self._second
        if int(created) != second:  # calendars are slow, and many records share a second
            second = int(created)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text
        return f"{text}.{int(1000 * (created - second)):03d}Z"


def configure_logging(level: str = "info") -> None:
    """Send the project's and the server's logs, and Python's warnings, to stderr as JSON lines.

    Args:
        level: The least that is logged; requests are ``info``.
    """
    handler = BackgroundHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))  # below that it tells of every start and end
    logging.captureWarnings(capture=True)


def flush_logs() -> None:
    """Wait until all is written: uvicorn ends a worker by its signal, after which nothing of Python's runs any more."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def logs_requests() -> bool:
    """Whether requests are logged; where they are not, their records need not be made."""
    return access.isEnabledFor(logging.INFO)


def log_request(fields: dict[str, Any], trace_id: str | None = None) -> None:
    """One line a request.

    Args:
        fields: Of the line, with ``method``, ``path`` and ``status``.
        trace_id: Of the trace that it belongs to.
    """
    if trace_id:
        fields["trace_id"] = trace_id
    message = f"{fields['method']} {fields['path']} {fields['status']}"
    # The record by hand: `info` would look up the place in the source that calls it, which takes longer than all the rest.
    access.handle(access.makeRecord(access.name, logging.INFO, "", 0, message, (), None, extra={"fields": fields}))
