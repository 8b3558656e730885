"""API keys: several at a time, compared in constant time, and replaced while the service runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from serving.model.errors import SettingsError

log = logging.getLogger("graft")
KEYS_VARIABLE = "GRAFT_API_KEYS"
LEAST_CHARACTERS = 16


class Keys:
    """The API keys that the service accepts.

    Only their hashes are kept, so that neither a log nor a memory dump shows a key.

    Args:
        listed: Keys that are given directly, such as those of an environment variable.
        file: Path of a file with one key per line; blank lines and lines that start with ``#`` are ignored.
            :meth:`refresh` reads it again. By default there is none.

    Raises:
        SettingsError: The file cannot be read or holds no key, or a key has fewer than 16 characters or one
            that no header can carry.
    """

    def __init__(self, listed: Iterable[str] = (), file: Path | None = None) -> None:
        self._listed = _hash_all(listed, KEYS_VARIABLE)
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._from_file: tuple[bytes, ...] = ()
        if file is not None:
            self._seen = _signature(file)
            self._from_file = _read(file)

    @property
    def are_set(self) -> bool:
        """Whether requests need a key."""
        return bool(self._listed or self._file)

    def accept(self, key: str | None) -> bool:
        """Return whether a key is valid, in a time that does not reveal how much of it matches.

        Args:
            key: Key that a request carries, or None where it carries none, which is never valid.
        """
        digest = _hash(key or "")
        matches = [hmac.compare_digest(digest, known) for known in (*self._listed, *self._from_file)]
        return key is not None and any(matches)

    def refresh(self) -> None:
        """Read the file again if it changed.

        A file that cannot be used is logged and changes nothing: the previous keys stay valid.
        """
        if self._file is None:
            return
        seen = _signature(self._file)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._from_file = _read(self._file)
            log.info("API keys: reloaded, %d in the file", len(self._from_file))
        except SettingsError as error:
            log.error("API keys: the earlier ones stay. %s", error.message)


def open_keys(file: Path | None, environment: Mapping[str, str] | None = None) -> Keys:
    """Return the keys of a file and of the environment variable ``GRAFT_API_KEYS``.

    Args:
        file: Path of a file with one key per line, or None.
        environment: Environment variables, of which ``GRAFT_API_KEYS`` holds keys separated by commas. By
            default they are those of the process.

    Raises:
        SettingsError: The file or a key cannot be used.
    """
    listed = (os.environ if environment is None else environment).get(KEYS_VARIABLE, "")
    return Keys(filter(None, (key.strip() for key in listed.split(","))), file)


def _read(file: Path) -> tuple[bytes, ...]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError("no_keys", f"{file}: the API keys cannot be read ({reason}).") from error
    keys = _hash_all((line for line in lines if line and not line.startswith("#")), str(file))
    if not keys:
        raise SettingsError("no_keys", f"{file}: holds no API key. Write one per line.")
    return keys


def _hash_all(keys: Iterable[str], place: str) -> tuple[bytes, ...]:
    """Return the hashes of keys; raises SettingsError, which names the place where they are given."""
    keys = list(keys)
    if any(not key.isascii() or not key.isprintable() or " " in key for key in keys):
        reason = "has a space, or characters that no header can carry"
        text = f"{place}: an API key {reason}. Use letters, digits, - and _."
        raise SettingsError("bad_key", text)
    if any(len(key) < LEAST_CHARACTERS for key in keys):
        remedy = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        text = f"{place}: an API key has fewer than {LEAST_CHARACTERS} characters. Make one with: {remedy}"
        raise SettingsError("weak_key", text)
    return tuple(_hash(key) for key in keys)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _signature(file: Path) -> tuple[int, int, int] | None:
    """Return a file's modification time in nanoseconds, size in bytes and inode number, if it is there."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
