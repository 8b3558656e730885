"""What is done once, in the process that starts the workers, before any of them starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import bentoml
from bentoml.container import BentoMLContainer  # type: ignore[attr-defined]

from serving.model.errors import SettingsError
from serving.server.app.components import require_startable
from serving.server.process.workers import open_shared_folder
from serving.service.arguments import pass_on_arguments, read_service_settings

DO_NOT_TRACK: Final = "BENTOML_DO_NOT_TRACK"


def prepare_deployment() -> None:
    """Refuse what could never start, with one message, and give the workers what BentoML does not.

    A bundle that is refused is no such thing: it may be replaced, and ``/readyz`` says why meanwhile.

    Raises:
        BentoMLConfigException: A setting, an argument or a key cannot be used, or traces cannot be sent.
    """
    _do_not_track()
    try:
        os.environ.update(pass_on_arguments(_read_command(), BentoMLContainer.bento_arguments.get()))
        require_startable(read_service_settings())
    except SettingsError as error:
        raise bentoml.exceptions.BentoMLConfigException(error.message) from error
    open_shared_folder()


def _read_command() -> list[str]:
    """Return BentoML's command line, where this is its command and not a program of somebody's own."""
    program, *rest = sys.argv
    return rest if "bentoml" in Path(program).parts[-2:] else []


def _do_not_track() -> None:
    """Keep BentoML from reporting the start of this service to its makers, which it does by default."""
    from bentoml._internal.utils.analytics import usage_stats

    os.environ.setdefault(DO_NOT_TRACK, "True")
    usage_stats.do_not_track.cache_clear()  # it was asked before this service was loaded
