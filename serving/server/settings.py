"""The settings of a service, from its command line and from environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from serving.model.errors import SettingsError

PREFIX = "GRAFT_"
ROOT_PATH = re.compile(r"((/[A-Za-z0-9._~-]+)+)?")
OWN_PATHS = frozenset({
    "docs", "docs.json", "healthz", "livez", "metrics", "predict", "predict_batch", "readyz", "schema.json",
    "v2",
})  # fmt: skip
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]
# As a browser writes the Origin header (RFC 6454, section 6.1): any other spelling would never match.
_ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?"
)
_USUAL_PORTS: Final = re.compile(r"http://.*:80|https://.*:443")


def _require_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not _ORIGIN.fullmatch(origin) or _USUAL_PORTS.fullmatch(origin):
            raise ValueError(
                f"{origin[:80]!r} is no origin as browsers write it. Give scheme, host, and port unless it "
                "is the usual one, in lower case and with nothing behind, such as https://app.example.org or "
                "http://localhost:5173; `*` stands for nothing"
            )
    return origins


Origins = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: value.replace(",", " ").split() if isinstance(value, str) else value),
    AfterValidator(_require_origins),
]


class Settings(BaseModel):
    """The settings of one service.

    Each can also be given by an environment variable: its name in capitals after ``GRAFT_``, such as
    ``GRAFT_MAX_QUEUE``.

    Attributes:
        bundle: Path of the folder to serve. It is watched: a new bundle that appears there takes over once it
            is verified and loaded.
        artifact: Name of the published artifact to serve. By default it is the one that a benchmark
            recommends, or the bundle's first.
        fallback: Name of the artifact to serve instead when that one cannot be run on this machine, which is
            an error by default.
        trusted_keys: Path of a PEM file of public keys and certificates. A bundle is then served only if one
            of them signed it, at the start and whenever it changes. By default unsigned bundles are served.
        max_queue: Number of requests that may wait for a thread; further ones are answered with 503 at once.
            By default it is 16 per CPU.
        deadline_s: Longest time that a request may wait for a thread before it is answered with 503, in
            seconds. The default is 10.
        body_timeout_s: Longest time that a request's body may take to arrive, in seconds. The default is 20.
        max_body_bytes: Size of the largest request body, in bytes. By default it is what the kind of input
            says.
        max_buffered_bytes: Total size of the request bodies that one worker holds in memory at one time, in
            bytes. By default it is an eighth of the memory of the container or the machine, and 512 MiB at
            most, divided by the workers of ``graft serve``. No body may be larger.
        watch_s: Time between two checks of the bundle's folder and of the file of API keys, in seconds. The
            default is 1.
        keep_alive_s: Time after which a connection that has nothing to do is closed, in seconds. The default,
            75, is longer than balancers keep theirs, since one that reuses a closed connection answers 502.
        grpc_port: Port on which the Open Inference Protocol is answered over gRPC too, at the same address.
            By default it is not.
        root_path: Path below which a proxy offers the service, such as ``/models/cells``. By default there is
            none.
        api_keys_file: Path of a file with one API key per line.
        protect_all: Whether metrics and documentation need an API key too. The probes and the page never do.
        allow_anonymous: Whether other machines are answered although there are no API keys.
        allow_origin: Origins of the pages from elsewhere that may call the service from a browser, such as
            ``https://app.example.org``; separated by commas in the environment variable. By default none may.
        trace: Whether OpenTelemetry traces are sent, as the OTEL_* environment variables say.
        log_level: Lowest level that is logged. The default is ``info``; ``warning`` leaves out the line that
            each request has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    artifact: str | None = None
    fallback: str | None = None
    trusted_keys: Path | None = None
    max_queue: int | None = Field(default=None, ge=0)
    deadline_s: float = Field(default=10.0, gt=0)
    body_timeout_s: float = Field(default=20.0, gt=0)
    max_body_bytes: int | None = Field(default=None, gt=0)
    max_buffered_bytes: int | None = Field(default=None, gt=0)
    watch_s: float = Field(default=1.0, gt=0)
    keep_alive_s: int = Field(default=75, gt=0)
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    root_path: str = ""
    api_keys_file: Path | None = None
    protect_all: bool = False
    allow_anonymous: bool = False
    allow_origin: Origins = ()
    trace: bool = False
    log_level: LogLevel = "info"

    @field_validator("root_path")
    @classmethod
    def _is_a_path_beside_the_services(cls, value: str) -> str:
        if not ROOT_PATH.fullmatch(value):
            raise ValueError("it must begin with a slash and end without one, such as /models/cells")
        if value.split("/")[1:2] and value.split("/")[1] in OWN_PATHS:
            raise ValueError("the service has this path itself, so that a request could mean either")
        return value


def read_settings(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings that are given, completed from environment variables.

    Args:
        given: Values by the settings' names. None stands for a setting that is not given.
        environment: Environment variables, of which empty ones are ignored. By default they are those of the
            process.

    Raises:
        SettingsError: A setting is missing, unknown or invalid; the message names it.
    """
    environment = os.environ if environment is None else environment
    variables = {name: environment.get(PREFIX + name.upper()) for name in Settings.model_fields}
    values = {name: value for name, value in variables.items() if value}
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        messages = [(item["loc"], item["msg"].removeprefix("Value error, ")) for item in error.errors()]
        places = [(".".join(map(str, where)), message) for where, message in messages]
        reasons = "; ".join(f"{place} ({PREFIX}{place.upper()}): {reason}" for place, reason in places)
        text = f"The service's settings cannot be used: {reasons}."
        raise SettingsError("invalid_settings", text) from error
