"""How a service is set up, by its command line or by environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from serving.model.errors import SettingsError

PREFIX = "GRAFT_"
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]


class Settings(BaseModel):
    """One service's settings. Each can be set by the environment variable of its name, such as ``GRAFT_MAX_QUEUE``.

    Attributes:
        bundle: The folder to serve. It is watched: what appears there takes over once it is proven and loaded.
        artifact: A published artifact's name; by default what a benchmark recommends, or the bundle's first.
        fallback: The name of one to serve where that cannot be run.
        max_queue: Requests that may wait; past them the answer is 503 at once. None for 16 a CPU.
        deadline_s: A request that has waited so long is answered by 503 instead.
        body_timeout_s: A request's body must have arrived after so long.
        max_body_bytes: Largest body; None for 64 MiB of pictures, 8 MiB of texts.
        max_buffered_bytes: Of all the bodies that are held at one time.
        watch_s: Between two looks at the bundle's folder and the file of keys.
        api_keys_file: One key a line.
        protect_all: Metrics and documentation need a key too; only the probes and the page do not.
        allow_anonymous: Answer without keys on addresses that other machines can reach.
        trace: Send OpenTelemetry traces, by the OTEL_* environment variables.
        log_level: The least that is logged; ``warning`` leaves out the line a request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    artifact: str | None = None
    fallback: str | None = None
    max_queue: int | None = Field(default=None, ge=0)
    deadline_s: float = Field(default=10.0, gt=0)
    body_timeout_s: float = Field(default=20.0, gt=0)
    max_body_bytes: int | None = Field(default=None, gt=0)
    max_buffered_bytes: int = Field(default=512 * 1024 * 1024, gt=0)
    watch_s: float = Field(default=1.0, gt=0)
    api_keys_file: Path | None = None
    protect_all: bool = False
    allow_anonymous: bool = False
    trace: bool = False
    log_level: LogLevel = "info"


def read_settings(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings as given, and those that are not (None) from the environment.

    Raises:
        SettingsError: A value that means nothing; the message names it.
    """
    environment = os.environ if environment is None else environment
    found = {name: environment[PREFIX + name.upper()] for name in Settings.model_fields if environment.get(PREFIX + name.upper())}
    try:
        return Settings.model_validate(found | {name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SettingsError("invalid_settings", f"The service's settings cannot be used: {reasons}.") from error
