"""Where a service listens: an address and port, or a Unix socket, with TLS or without."""

from __future__ import annotations

import errno
import socket
import ssl
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.model.errors import SettingsError

BACKLOG: Final = 2048
PROBE_S: Final = 1.0
ANYBODY: Final = 0o666  # who may reach a Unix socket is said by its folder, as a web server expects


@dataclass(frozen=True)
class Listening:
    """Where a service listens.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        unix_socket: Path of a Unix socket to listen on instead.
        tls_certificate: Path of a PEM file with the certificate and its chain, for HTTPS.
        tls_key: Path of a PEM file with the certificate's private key, where the first file does not hold it.
    """

    host: str = "127.0.0.1"
    port: int = 3000
    unix_socket: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def open(self) -> socket.socket:
        """Return a socket that listens, which worker processes may inherit; raises SettingsError."""
        self._require_certificate()
        listener = _listen_unix(self.unix_socket) if self.unix_socket else _listen(self.host, self.port)
        listener.listen(BACKLOG)  # from now on clients wait instead of being refused
        listener.set_inheritable(True)
        return listener

    def clean(self) -> None:
        """Remove the Unix socket, if there is one."""
        if self.unix_socket:
            with suppress(OSError):
                self.unix_socket.unlink()

    def _require_certificate(self) -> None:
        if self.tls_key and not self.tls_certificate:
            raise SettingsError("wrong_tls", "--tls-key is of no use without --tls-cert.")
        if self.tls_certificate:
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.tls_certificate, self.tls_key, password=_refuse_password)
            except (OSError, ValueError) as error:
                files = f"{self.tls_certificate}" + (f", {self.tls_key}" if self.tls_key else "")
                reason = getattr(error, "strerror", None) or error
                text = f"{files}: no certificate and key for TLS ({reason}). Name PEM files of one pair."
                raise SettingsError("wrong_tls", text) from error


def reserve_port(host: str, port: int) -> socket.socket:
    """Return a socket that holds a port for worker processes, which all listen on it themselves.

    Args:
        host: Address to listen on.
        port: Port of gRPC, whose servers take no socket that listens already.

    Raises:
        SettingsError: The port is taken, or the address cannot be listened on.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as alone:  # or else another service's port could be shared
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            alone.listen()
        holder = socket.socket(family, kind, protocol)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            holder.setsockopt(socket.SOL_SOCKET, option, 1)
        holder.bind(address)
    except OSError as error:
        text = f"{host}:{port}: gRPC cannot be answered there ({error.strerror}). Choose another --grpc-port."
        raise SettingsError("cannot_listen", text) from error
    return holder


def _refuse_password() -> str:
    raise ValueError("the key has a password")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        text = (
            f"{host}:{port}: cannot be listened on ({error.strerror}). Choose another with --port or --host."
        )
        raise SettingsError("cannot_listen", text) from error
    return listener


def _listen_unix(path: Path) -> socket.socket:
    try:
        _remove_abandoned(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(ANYBODY)
    except OSError as error:
        text = f"{path}: cannot be listened on ({error.strerror or error}). Choose another with --uds."
        raise SettingsError("cannot_listen", text) from error
    return listener


def _remove_abandoned(path: Path) -> None:
    """Remove a Unix socket on which nobody listens any more, as a killed service leaves it."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise OSError(errno.EEXIST, "a file is there that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
