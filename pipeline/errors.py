"""Errors that a user can act on. The command line turns each into one message and an exit code."""

from __future__ import annotations

EXIT_ERROR = 1
EXIT_GATE_FAILED = 3


class GraftError(Exception):
    """Something that the user can mend.

    Args:
        message: What is wrong, where, and the remedy.
    """

    exit_code = EXIT_ERROR


class RecipeError(GraftError):
    """A recipe that cannot be carried out; the message lists everything that is wrong with it."""


class IsolationError(GraftError):
    """A machine that cannot run a container apart from itself, which says nothing about the container."""


class DataError(GraftError):
    """Data that cannot be used as it is."""


class GateFailedError(GraftError):
    """A measured value that misses its limit: the run ends, and nothing is packaged."""

    exit_code = EXIT_GATE_FAILED
