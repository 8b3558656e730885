"""Structured logs for a log collector: one JSON object per line.

Apart from ``X-Request-ID``, no header, query or body of a request is logged, so that no secret is.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from serving.server.observing.sink import BackgroundHandler

access = logging.getLogger("graft.access")
# A path may hold any character. JSON escapes those outside ASCII and all ASCII control characters but DELETE,
# which is therefore escaped here.
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode
DELETE, ESCAPED_DELETE = "\x7f", "\\u007f"


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON.

    Its fields are ``time`` (UTC, with milliseconds), ``level``, ``logger`` and ``message``, and ``exception``
    and ``stack`` where the record has them. A record's attribute ``fields``, a dict, adds further ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON, without a line break at the end."""
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
        if int(created) != second:  # formatting a date is slow, and many records share a second
            second = int(created)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text
        return f"{text}.{int(1000 * (created - second)):03d}Z"


def configure_logging(level: str = "info") -> None:
    """Write the logs of Graft and of uvicorn, and Python's warnings, to stderr as JSON lines.

    Args:
        level: Lowest level that is logged. Requests are logged at ``info``, the default.
    """
    # A process that was started without stderr has None.
    handler = BackgroundHandler(sys.stderr) if sys.stderr else logging.NullHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Below `warning`, uvicorn logs every start and end.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    # What no line holds need not be looked up for each: of a process's id, Python asks the system every time.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def flush_logs() -> None:
    """Wait until all log lines are written.

    This is needed because uvicorn ends a worker with a signal, after which no Python code runs any more.
    """
    for handler in logging.getLogger().handlers:
        handler.flush()


def logs_requests() -> bool:
    """Return whether requests are logged; if not, the fields of their lines need not be collected."""
    return access.isEnabledFor(logging.INFO)


def log_request(fields: dict[str, Any], trace_id: str | None = None) -> None:
    """Write the log line of one request.

    Args:
        fields: Fields of the line, among them ``method``, ``path`` and ``status``.
        trace_id: Id of the trace that the request belongs to. It is added to the fields unless it is None.
    """
    if trace_id:
        fields["trace_id"] = trace_id
    message = f"{fields['method']} {fields['path']} {fields['status']}"
    # `access.info` would also look up the source line that calls it, which takes longer than all the rest.
    record = access.makeRecord(access.name, logging.INFO, "", 0, message, (), None, extra={"fields": fields})
    access.handle(record)
