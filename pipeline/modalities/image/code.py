"""The code in a folder that makes a network, which a checkpoint is rebuilt by, and so is held to its hash."""

from __future__ import annotations

from pipeline.errors import GraftError
from pipeline.files.sources import SourceMissingError, hash_code_folder
from pipeline.modalities.image.names import folder_of

KEY = "backbone.name"


def hash_code_of(name: str) -> str | None:
    """Return the SHA-256, in hex, of the code that makes a backbone; None where a package makes it.

    Args:
        name: The backbone's name, with the prefix of its source.
    """
    folder = folder_of(name)
    return None if folder is None else hash_code_folder(folder, KEY)


def check_code(name: str, sha256: str) -> None:
    """Make sure that the code which makes a checkpoint's network is still what it was trained with.

    Args:
        name: The backbone's name, with the prefix of its source.
        sha256: The code's SHA-256 at that time, in hex.

    Raises:
        GraftError: The folder is gone, or its code is another.
    """
    folder = folder_of(name)
    try:
        now = hash_code_of(name)
    except SourceMissingError as error:
        raise GraftError(
            f"{folder}: the code that makes this checkpoint's network is gone. Put the folder back there."
        ) from error
    if now != sha256:
        raise GraftError(
            f"{folder}: the code there is not what this checkpoint was trained with (SHA-256 {sha256[:12]}, "
            f"now {str(now)[:12]}). Check out the same version again, or train again: graft run RECIPE"
        )
