"""The processes of a container as this machine sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LISTENS = "0A"  # TCP_LISTEN, <net/tcp_states.h>


def inner_processes(pid: int) -> list[int]:
    """Return the processes that one has started, and those that these have started, from the outside in.

    Args:
        pid: Number of the process, which need not live any more.
    """
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *inner_processes(child)]
    return found


def listens(pid: int, port: int) -> bool:
    """Return whether a container's own processes, and nobody else, listen on a port.

    Args:
        pid: Number of its outermost process.
        port: The TCP port.
    """
    return any(set(_listeners(inner, port)) & set(_sockets(inner)) for inner in inner_processes(pid))


def _listeners(pid: int, port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that listen on a port of the network of a process (proc_net_tcp(5))."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _sockets(pid: int) -> Iterator[str]:
    """Yield the inodes of the sockets that a process has open."""
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                name = str(descriptor.readlink())
                if name.startswith("socket:["):
                    yield name.removeprefix("socket:[").removesuffix("]")
