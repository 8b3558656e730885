"""The one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import shutil
import time
from typing import Any

import click

from pipeline.errors import EXIT_ERROR, GraftError
from pipeline.machine.launch import launched

# How much later than the first process another one tells an error, in seconds.
SPEAKS_AFTER_S = 3.0


class Failure(click.ClickException):
    """An error that ends the command with a message on standard error and an exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click reads it from the instance


class FriendlyGroup(click.Group):
    """A group that turns errors which a user can act on into one message; ``--debug`` shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run the command, and explain its errors."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            failure = explain(error)
            if failure is None or (ctx.obj or {}).get("debug"):
                raise
            raise _of_this_process(failure) from error


def _of_this_process(failure: Failure) -> Failure:
    """Return the failure as one of several processes tells it, and let the first one speak first.

    What is wrong for all of them, such as a mistake in the recipe, is then said once: the launcher ends the
    others when the first one ends.
    """
    launch = launched()
    if not launch.is_helper:
        return failure
    time.sleep(SPEAKS_AFTER_S)
    return Failure(f"{launch.title}: {failure.message}", failure.exit_code)


def explain(error: Exception) -> Failure | None:
    """Return the message for an error that a user can act on; None for a defect of Graft."""
    from serving.model.errors import ServingError

    if isinstance(error, GraftError):
        return Failure(str(error), error.exit_code)
    if isinstance(error, ServingError):
        return Failure(error.message)
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error)
    if isinstance(error, shutil.Error):  # copytree raises it with a list of (source, destination, reason)
        return Failure(
            f"Files could not be copied: {error.args[0][0][2] if error.args and error.args[0] else error}"
        )
    if isinstance(error, OSError) and error.errno in REMEDIES:
        place = f"{error.filename}: " if error.filename else ""
        return Failure(f"{place}{error.strerror}. {REMEDIES[error.errno]}")
    return None


FILE_IN_THE_WAY = "A file stands where a folder is needed. Remove it, or choose another place with --run DIR."
REMEDIES = {
    errno.ENOSPC: (
        "Free some space, or choose another place with --run DIR; "
        "the same command then goes on from the last finished stage."
    ),
    errno.EDQUOT: "Your quota is used up. Free some space, or choose another place with --run DIR.",
    errno.EACCES: "Give yourself the right to it, or choose another place with --run DIR.",
    errno.EPERM: "Give yourself the right to it, or choose another place with --run DIR.",
    errno.EROFS: "The place is read-only. Choose another with --run DIR.",
    errno.ENOTDIR: FILE_IN_THE_WAY,
    errno.EEXIST: FILE_IN_THE_WAY,
}


def _missing_module(error: ModuleNotFoundError) -> Failure | None:
    name = (error.name or "").split(".")[0]
    if not name or name in {"pipeline", "serving"}:  # a missing module of Graft itself is a defect
        return None
    from pipeline.machine.extras import remedy_for

    return Failure(f"The module `{name}` is not installed. Try: {remedy_for(name)}")
