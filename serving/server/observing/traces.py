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
NO_EXPORTER = "none"
DISABLED_VARIABLE = "OTEL_SDK_DISABLED"


def open_traces() -> Traces | None:
    """Return an object that sends traces to where the ``OTEL_*`` environment variables say.

    It is None where they say that none are sent, by ``OTEL_SDK_DISABLED=true`` or
    ``OTEL_TRACES_EXPORTER=none``. Nothing of OpenTelemetry is needed then.

    Raises:
        SettingsError: ``tracing_missing``: OpenTelemetry's exporter is not installed. ``wrong_tracing``: a
            variable asks for another exporter than ``otlp``, or for several, or for another protocol than
            ``http/protobuf``.
    """
    require_tracing()
    if _are_off():
        return None
    from serving.server.observing.spans import Traces

    return Traces()


def require_tracing() -> None:
    """Raise SettingsError where :func:`open_traces` would raise it."""
    if _are_off():
        return
    try:
        import serving.server.observing.spans  # noqa: F401
    except ImportError as error:
        text = f"Tracing needs OpenTelemetry's exporter. Install it: {REMEDY}"
        raise SettingsError("tracing_missing", text) from error
    _require_value(EXPORTER_VARIABLE, "otlp", NO_EXPORTER)
    name = next((name for name in PROTOCOL_VARIABLES if os.environ.get(name)), PROTOCOL_VARIABLES[-1])
    _require_value(name, PROTOCOL)


def _are_off() -> bool:
    return _read(DISABLED_VARIABLE) == "true" or _read(EXPORTER_VARIABLE) == NO_EXPORTER


def _read(name: str) -> str:
    return os.environ.get(name, "").strip().lower()


def _require_value(name: str, *known: str) -> None:
    if _read(name) not in {"", *known}:
        supported = " or ".join(map(repr, known))
        text = f"{name} is {os.environ[name][:40]!r}, but only {supported} is supported."
        raise SettingsError("wrong_tracing", text)
