"""Errors that serving raises. Each carries a machine-readable code and a message for people."""

from __future__ import annotations


class ServingError(Exception):
    """Base of all errors raised by :mod:`serving`.

    Args:
        code: Stable, machine-readable name of what went wrong, such as ``"hash_mismatch"``.
        message: What happened, where, and what to do about it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BundleError(ServingError):
    """A bundle that must not be served: changed, incomplete, unproven, or of an unknown schema."""


class ProviderError(ServingError):
    """A requested execution provider that is not there or not in use."""


class SettingsError(ServingError):
    """Settings that a service cannot be started with."""


class InputRefusedError(ServingError):
    """An input that cannot be predicted, or a request that is not answered.

    Args:
        code: Stable name of the reason.
        message: What is wrong with the input, and what would be accepted.
        status: The HTTP status code that says the same.
        retry_after_s: When it may be tried again; None where that would not help.
        allow: The methods that would be answered.
    """

    def __init__(
        self, code: str, message: str, status: int = 400, *, retry_after_s: int | None = None, allow: tuple[str, ...] = ()
    ) -> None:
        super().__init__(code, message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.allow = allow
