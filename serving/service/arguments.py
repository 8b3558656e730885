"""The arguments of the service: what ``bentoml serve --arg`` and a Bento's own arguments can set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import bentoml
import yaml
from pydantic import BaseModel, ConfigDict

from serving.model.errors import SettingsError
from serving.server.settings import PREFIX, Settings, read_settings

OPTION, FILE_OPTION = "--arg", "--arg-file"
BUNDLE_VARIABLE: Final = f"{PREFIX}BUNDLE"
IN_ENVIRONMENT: Final = frozenset({"artifact", "fallback"})


class ServiceArguments(BaseModel):
    """What ``bentoml serve --arg`` and the Bento's own arguments can set.

    Attributes:
        bundle: Path of a bundle's folder.
        model: Tag of a bundle in BentoML's model store.
        artifact: Name of the published artifact to serve.
        fallback: Name of the artifact to serve where that one cannot be run.
    """

    model_config = ConfigDict(extra="forbid")

    bundle: str | None = None
    model: str | None = None
    artifact: str | None = None
    fallback: str | None = None

    def folder(self) -> Path:
        """Return the bundle's folder; raises SettingsError where none is named, or it is not in the store."""
        if self.bundle:
            return Path(self.bundle)
        if self.model:
            try:
                return Path(bentoml.models.BentoModel(self.model).resolve().path)
            except bentoml.exceptions.BentoMLException as error:
                raise SettingsError("no_model", f"{self.model}: not in BentoML's store ({error}).") from error
        if os.environ.get(BUNDLE_VARIABLE):
            return Path(os.environ[BUNDLE_VARIABLE])
        example = "bentoml serve serving.service:GraftService --arg bundle=FOLDER"
        raise SettingsError("no_bundle", f"Name a bundle, by {BUNDLE_VARIABLE} or: {example}")


def read_arguments() -> ServiceArguments:
    """Return the arguments of this process; raises SettingsError where one is unknown or unusable."""
    try:
        return bentoml.use_arguments(ServiceArguments)
    except bentoml.exceptions.InvalidArgument as error:
        known = ", ".join(ServiceArguments.model_fields)
        text = f"The service's arguments cannot be used. Known: {known}. {error}"
        raise SettingsError("invalid_arguments", text) from error


def read_service_settings(allowed_origins: Sequence[str] = ()) -> Settings:
    """Return the settings that arguments and environment variables give; raises SettingsError.

    Args:
        allowed_origins: Origins that BentoML's own configuration allows, which count where no other are set.
    """
    arguments = read_arguments()
    given = {"bundle": arguments.folder(), "artifact": arguments.artifact, "fallback": arguments.fallback}
    settings = read_settings(given)
    if settings.grpc_port is not None:
        text = f"{PREFIX}GRPC_PORT: BentoML answers no gRPC. Use `graft serve` or `python -m serving`."
        raise SettingsError("no_grpc_here", text)
    if allowed_origins and not settings.allow_origin:
        return read_settings({**given, "allow_origin": tuple(allowed_origins)})
    return settings


def pass_on_arguments(command: Sequence[str], in_use: Mapping[str, object]) -> dict[str, str]:
    """Return the environment variables that give workers the arguments which BentoML forgets.

    A built Bento's own arguments replace those of the command line (BentoML 1.4), so that another artifact
    than the one asked for would answer without a word.

    Args:
        command: The command line.
        in_use: The arguments that BentoML uses.

    Raises:
        SettingsError: One of the others was given, which a Bento fixes.
    """
    given = {key: value for key, value in _read_command(command).items() if in_use.get(key) != value}
    settable = IN_ENVIRONMENT if in_use.get("bundle") or in_use.get("model") else IN_ENVIRONMENT | {"bundle"}
    fixed = sorted(set(given) - settable)
    if fixed:
        remedy = (
            "Serve another bundle by: graft serve BUNDLE" if fixed[0] in ServiceArguments.model_fields else ""
        )
        others = " and ".join(f"`{name}`" for name in sorted(settable))
        text = f"`{fixed[0]}` cannot be set for a built Bento, only {others}. {remedy}".rstrip()
        raise SettingsError("fixed_argument", text)
    return {f"{PREFIX}{key.upper()}": value for key, value in given.items()}


def _read_command(command: Sequence[str]) -> dict[str, str]:
    """Return the values of ``--arg`` and ``--arg-file`` in a command line."""
    values: dict[str, str] = {}
    for index, word in enumerate(command):
        option, has_value, value = word.partition("=")
        if option not in {OPTION, FILE_OPTION}:
            continue
        value = value if has_value else next(iter(command[index + 1 :]), "")
        if option == FILE_OPTION:
            values |= {str(key): str(item) for key, item in yaml.safe_load(Path(value).read_bytes()).items()}
        else:
            key, _, item = value.partition("=")
            values[key] = item
    return values
