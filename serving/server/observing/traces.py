"""Start of tracing. OpenTelemetry is an optional extra, which is imported only when traces are wanted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from serving.model.errors import SettingsError

if TYPE_CHECKING:
    from serving.server.observing.spans import Traces

REMEDY = "pip install 'graft-ml[tracing]'"
# The first that is set counts.
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"


def open_traces() -> Traces:
    """Return an object that sends traces to where the ``OTEL_*`` environment variables say.

    Raises:
        SettingsError: ``tracing_missing``: OpenTelemetry's exporter is not installed. ``wrong_tracing``: a
            variable asks for another exporter than ``otlp`` or another protocol than ``http/protobuf``.
    """
    require_tracing()
    from serving.server.observing.spans import Traces

    return Traces()


def require_tracing() -> None:
    """Raise SettingsError where :func:`open_traces` would raise it."""
    try:
        import serving.server.observing.spans  # noqa: F401
    except ImportError as error:
        text = f"Tracing needs OpenTelemetry's exporter. Install it: {REMEDY}"
        raise SettingsError("tracing_missing", text) from error
    _require_value(EXPORTER_VARIABLE, os.environ.get(EXPORTER_VARIABLE), "otlp")
    name = next((name for name in PROTOCOL_VARIABLES if os.environ.get(name)), PROTOCOL_VARIABLES[-1])
    _require_value(name, os.environ.get(name), PROTOCOL)


def _require_value(name: str, value: str | None, known: str) -> None:
    if value and value.strip().lower() != known:
        raise SettingsError("wrong_tracing", f"{name} is {value[:40]!r}, but only {known!r} is supported.")
