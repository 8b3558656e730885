"""Where gRPC is answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GrpcAddress:
    """Where and how long a worker answers gRPC.

    Attributes:
        host: Address to listen on, as numbers.
        port: Port to listen on, which all workers share.
        tls_certificate: Path of a PEM file with the certificate and its chain, for TLS.
        tls_key: Path of a PEM file with the certificate's private key, where the first file does not hold it.
        drain_s: Longest time in which calls may come to their end after the service was told to end, in
            seconds.
    """

    host: str
    port: int
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    drain_s: float = 25.0

    def to_target(self) -> str:
        """Return the address as gRPC names it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
