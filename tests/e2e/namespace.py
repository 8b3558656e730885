"""What processes say to the network.

They run in a network namespace of their own, in which every IPv4 address is their machine's.

:func:`listen_to` starts this file once more, as a script inside. There a name server gives every name the
same address, every route leads to ``lo``, and what is sent to another address than ``127.0.0.0/8`` is noted,
whatever its port. IPv6 has no route.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

ANSWER = "10.9.9.9"  # the address of every name
ROOT = Path(__file__).parent.parent.parent
NAMESPACES = ("unshare", "--net", "--mount")
IP_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
ETH_P_IP = 0x0800  # <linux/if_ether.h>
QUERY_A, CLASS_IN = 1, 1
SYN, ACK = 2, 16  # flags of TCP


@dataclass(frozen=True)
class Command:
    """A command as a user starts it, without any setting that would quieten a library.

    Attributes:
        arguments: The program and its arguments.
        environment: All of its environment variables but for PATH.
        log: The file for its standard output and its standard error.
        ready: The URL that answers 200 when a service is up, which is then ended by SIGTERM; None for a
            command that ends by itself.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: str
    ready: str | None = None


@dataclass(frozen=True)
class Heard:
    """What was heard.

    Attributes:
        names: The names that were looked up: seconds since the start, and the name.
        targets: What was sent to other machines, each target once: seconds since the start, and such as ``tcp
            10.9.9.9:443``.
        exit_codes: Of the commands, in their order; None for a service that did not come up.
    """

    names: list[tuple[float, str]]
    targets: list[tuple[float, str]]
    exit_codes: list[int | None]


def why_not() -> str | None:
    """Why there can be no such namespace here; None where there can."""
    try:
        done = subprocess.run(
            [*NAMESPACES, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    return done.stderr.strip() or None if done.returncode else None


def listen_to(commands: Sequence[Command], seconds: float, read_only: Sequence[Path] = ()) -> Heard:
    """Run commands side by side, until the time is over and those that end by themselves have ended.

    Args:
        commands: What to run.
        seconds: How long all services live together at least.
        read_only: Empty folders into which nobody can write.
    """
    order = {
        "commands": [asdict(command) for command in commands],
        "seconds": seconds,
        "read_only": [str(path) for path in read_only],
    }
    script = [*NAMESPACES, sys.executable, str(Path(__file__))]
    done = subprocess.run(
        script, input=json.dumps(order), capture_output=True, text=True, timeout=300 + seconds, check=False
    )
    assert done.returncode == 0, done.stderr
    return Heard(**json.loads(done.stdout))


class Listener:
    """Notes names and targets, with the time of each."""

    def __init__(self) -> None:
        self.names: list[tuple[float, str]] = []
        self.targets: list[tuple[float, str]] = []
        self._start = time.monotonic()
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        wire.bind(("lo", ETH_P_IP))
        for listen, on in ((self._serve_names, server), (self._watch, wire)):
            threading.Thread(target=listen, args=(on,), daemon=True).start()

    def _serve_names(self, server: socket.socket) -> None:
        while True:
            query, client = server.recvfrom(4096)
            name, reply = answer_query(query)
            self.names.append((self._now(), name))
            server.sendto(reply, client)

    def _watch(self, wire: socket.socket) -> None:
        while True:
            packet, (_, _, kind, *_) = wire.recvfrom(65536)
            target = describe_target(packet)
            if kind != socket.PACKET_OUTGOING and target and target not in [seen for _, seen in self.targets]:
                self.targets.append((self._now(), target))

    def _now(self) -> float:
        return round(time.monotonic() - self._start, 2)


def answer_query(query: bytes) -> tuple[str, bytes]:
    """The name that a DNS query asks for, and the reply.

    The reply is `ANSWER` to a query for an IPv4 address, and nothing to any other.
    """
    labels, place = [], 12
    while query[place]:
        labels.append(query[place + 1 : place + 1 + query[place]].decode(errors="replace"))
        place += 1 + query[place]
    question = query[12 : place + 5]
    is_known = struct.unpack("!HH", question[-4:]) == (QUERY_A, CLASS_IN)
    head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, int(is_known), 0, 0)
    address = struct.pack("!HHHIH", 0xC00C, QUERY_A, CLASS_IN, 60, 4) + socket.inet_aton(ANSWER)
    return ".".join(labels), head + question + (address if is_known else b"")


def describe_target(packet: bytes) -> str | None:
    """Whom an IPv4 packet is for.

    None if that is the loopback address, or if the packet only goes on with a connection.
    """
    target, protocol, body = IPv4Address(packet[16:20]), packet[9], packet[4 * (packet[0] & 15) :]
    if target.is_loopback:
        return None
    port = f":{struct.unpack('!H', body[2:4])[0]}" if protocol in {6, 17} else ""
    goes_on = protocol == 6 and body[13] & (SYN | ACK) != SYN
    return None if goes_on else f"{IP_PROTOCOLS.get(protocol, protocol)} {target}{port}"


def _make_network() -> None:
    """Bring ``lo`` up with every address there is, and ask 127.0.0.1 for names."""
    for line in ("link set lo up", f"address add {ANSWER}/32 dev lo", "route add local default dev lo"):
        subprocess.run(["ip", *line.split()], check=True)
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", file.name, str(Path("/etc/resolv.conf").resolve())], check=True)
    Path(file.name).unlink()


def _start(command: dict[str, Any]) -> subprocess.Popen[bytes]:
    with Path(command["log"]).open("wb") as log:
        environment = {"PATH": os.environ["PATH"]} | command["environment"]
        return subprocess.Popen(
            command["arguments"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=environment
        )


def _is_up(url: str, process: subprocess.Popen[bytes], deadline_s: float = 60) -> bool:
    until = time.monotonic() + deadline_s
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            time.sleep(0.1)
    return False


def _run(commands: list[dict[str, Any]], seconds: float) -> list[int | None]:
    """Start all; when the time is over and the others have ended, end the services too.

    Returns the exit codes.
    """
    processes = [_start(command) for command in commands]
    pairs = list(zip(commands, processes, strict=True))
    were_up = [not command["ready"] or _is_up(command["ready"], process) for command, process in pairs]
    time.sleep(seconds)
    services = [process for command, process in pairs if command["ready"]]
    for process in processes:
        if process not in services:
            process.wait()
    for process in services:
        process.terminate()
    codes = [process.wait() for process in processes]
    return [code if was_up else None for code, was_up in zip(codes, were_up, strict=True)]


def main() -> None:
    """Carry out the order on standard input, and print what was heard."""
    order = json.load(sys.stdin)
    for folder in order["read_only"]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], check=True)
    _make_network()
    listener = Listener()
    exit_codes = _run(order["commands"], order["seconds"])
    print(json.dumps(asdict(Heard(listener.names, listener.targets, exit_codes))))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
