"""Whether requests are traced: OpenTelemetry is an extra, and none of it is imported before it is asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from serving.model.errors import SettingsError

if TYPE_CHECKING:
    from serving.server.observing.spans import Traces

REMEDY = "pip install 'graft-ml[tracing]'"
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")  # the first that is set counts
PROTOCOL = "http/protobuf"
EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"


def open_traces() -> Traces:
    """Traces that go where the ``OTEL_*`` environment variables say.

    Raises:
        SettingsError: OpenTelemetry is not installed, or a variable asks for what is not here.
    """
    require_tracing()
    from serving.server.observing.spans import Traces

    return Traces()


def require_tracing() -> None:
    """Raise SettingsError unless :func:`open_traces` would give some."""
    try:
        import serving.server.observing.spans  # noqa: F401
    except ImportError as error:
        raise SettingsError("tracing_missing", f"Tracing needs OpenTelemetry's exporter. Install it: {REMEDY}") from error
    _require_value(EXPORTER_VARIABLE, os.environ.get(EXPORTER_VARIABLE), "otlp")
    name = next((name for name in PROTOCOL_VARIABLES if os.environ.get(name)), PROTOCOL_VARIABLES[-1])
    _require_value(name, os.environ.get(name), PROTOCOL)


def _require_value(name: str, value: str | None, known: str) -> None:
    if value and value.strip().lower() != known:
        raise SettingsError("wrong_tracing", f"{name} is {value[:40]!r}, but only {known!r} is known here.")
