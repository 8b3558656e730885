"""API keys: several, compared in constant time, and replaced while the service runs."""

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
    """The keys that may call. Only their hashes are kept, so that neither a log nor a dump of the memory shows one.

    Args:
        listed: Keys, as from an environment variable.
        file: A file with one key a line; blank lines and those that begin with ``#`` do not count. :meth:`refresh` reads it again.

    Raises:
        SettingsError: The file cannot be read or holds no key, or a key is shorter than 16 characters.
    """

    def __init__(self, listed: Iterable[str] = (), file: Path | None = None) -> None:
        self._listed = _hash_all(listed, "the environment")
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._from_file: tuple[bytes, ...] = ()
        if file is not None:
            self._seen = _signature(file)
            self._from_file = _read(file)

    @property
    def are_set(self) -> bool:
        """Whether a key is asked for at all."""
        return bool(self._listed or self._file)

    def accept(self, key: str | None) -> bool:
        """Whether it is one of them, in a time that does not tell how much of it is right."""
        digest = _hash(key or "")
        matches = [hmac.compare_digest(digest, known) for known in (*self._listed, *self._from_file)]
        return key is not None and any(matches)

    def refresh(self) -> None:
        """Read the file again if it changed. One that cannot be used changes nothing: the keys that were there go on, and it is logged."""
        if self._file is None:
            return
        seen = _signature(self._file)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._from_file = _read(self._file)
            log.info("API keys: read again, %d", len(self._from_file))
        except SettingsError as error:
            log.error("API keys: the earlier ones stay. %s", error.message)


def open_keys(file: Path | None, environment: Mapping[str, str] | None = None) -> Keys:
    """The keys of a file and of the environment variable ``GRAFT_API_KEYS``, which holds them with commas between."""
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
        raise SettingsError("no_keys", f"{file}: holds no API key. Write one a line.")
    return keys


def _hash_all(keys: Iterable[str], place: str) -> tuple[bytes, ...]:
    found = list(keys)
    if any(not key.isascii() or not key.isprintable() for key in found):
        raise SettingsError("bad_key", f"{place}: an API key has characters that no header can carry. Use letters, digits and -_.")
    if any(len(key) < LEAST_CHARACTERS for key in found):
        remedy = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        raise SettingsError("weak_key", f"{place}: an API key has fewer than {LEAST_CHARACTERS} characters. Make one: {remedy}")
    return tuple(_hash(key) for key in found)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _signature(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
