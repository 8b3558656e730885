"""The errors that serving raises, each with a machine-readable code and a message for people."""

from __future__ import annotations

from typing import Final

PICKLE_REFUSED: Final = (
    "Pickled content is never read. Send the input itself. A BentoML service that depends on this one must "
    "name its address: bentoml.depends(url=...)."
)


class ServingError(Exception):
    """The base class of all errors raised by :mod:`serving`.

    Args:
        code: Stable, machine-readable name of the problem, such as ``"hash_mismatch"``.
        message: What happened, where it happened, and how to fix it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BundleError(ServingError):
    """Raised for a bundle that must not be served: changed, incomplete, unproven, or of an unknown schema."""


class SignatureError(BundleError):
    """Raised where trusted keys are asked for, and a folder is unsigned, foreign, or not what was signed."""


class ProviderError(ServingError):
    """Raised when an artifact cannot be run by the execution provider and in the precision that it names."""


class SettingsError(ServingError):
    """Raised for settings with which the service cannot start."""


class InputRefusedError(ServingError):
    """Raised for an input that cannot be predicted, or for a request that the service refuses.

    Args:
        code: Stable, machine-readable name of the reason.
        message: What is wrong with the input or the request, and what would be accepted.
        status: The HTTP status code of the response. The default is 400.
        retry_after_s: Seconds after which a client may try again; None, the default, if that would not help.
    """

    def __init__(
        self, code: str, message: str, status: int = 400, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(code, message)
        self.status = status
        self.retry_after_s = retry_after_s
