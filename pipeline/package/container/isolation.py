"""The command that runs another one as a container does: other root, other user, no rights beyond that."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError

# As root, with what every Debian has: a root that is read-only but for /tmp, the few devices that each
# container has, no right that root had but to enter it, and none that could be got back.
_SCRIPT = """
set -e
PATH={path}
{enter}
mount --bind {root} {root}
mount -o remount,bind,ro {root}
mount -t proc proc {root}/proc
mount -t tmpfs -o mode=1777,nosuid,nodev,size=64m tmpfs {root}/tmp
mount -t tmpfs -o mode=755,nosuid tmpfs {root}/dev
for name in null zero random urandom; do
  touch {root}/dev/$name
  mount --bind /dev/$name {root}/dev/$name
done
mkdir {root}/dev/shm
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs {root}/dev/shm
{loopback}
setpriv=$(command -v setpriv)
chroot=$(command -v chroot)
PATH=/usr/bin
exec $setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \\
  $chroot --userspec={user}:{user} {root} {command}
"""
_LOOPBACK = (
    "import fcntl, socket, struct; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    "fcntl.ioctl(s, 0x8914, struct.pack('16sH14s', b'lo', 1, bytes(14)))"
)  # SIOCSIFFLAGS with IFF_UP, netdevice(7)


@dataclass(frozen=True)
class Isolation:
    """How a container is kept apart.

    Attributes:
        user: Number of the user and the group that it runs as.
        has_network: Whether it shares this machine's network; otherwise it only has a loopback of its own.
        control_group: Folder of the control group that it enters; None for that of this process.
    """

    user: int
    has_network: bool = True
    control_group: Path | None = None


def isolate(root: Path, command: Sequence[str], isolation: Isolation) -> list[str]:
    """Return the command that runs another one isolated; its end ends all that it has started.

    Args:
        root: The folder that becomes its root.
        command: The command, as paths from that root.
        isolation: How it is kept apart.

    Raises:
        GraftError: This machine can isolate nothing.
    """
    if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("setpriv"):
        return _as_root(root, command, isolation)
    if shutil.which("bwrap"):
        return _by_bubblewrap(root, command, isolation)
    raise GraftError(
        "A container cannot be run here: it takes root, or the program bwrap (apt-get install bubblewrap)."
    )


def _as_root(root: Path, command: Sequence[str], isolation: Isolation) -> list[str]:
    group = isolation.control_group
    script = _SCRIPT.format(
        path=shlex.quote(os.environ.get("PATH", os.defpath)),
        enter=f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}" if group else "",
        root=shlex.quote(str(root)),
        user=isolation.user,
        loopback=""
        if isolation.has_network
        else f"{shlex.quote(sys.executable)} -c {shlex.quote(_LOOPBACK)}",
        command=shlex.join(command),
    )
    network = [] if isolation.has_network else ["--net"]
    return [
        shutil.which("unshare") or "unshare",
        "--mount",
        "--pid",
        "--ipc",
        "--uts",
        *network,
        "--fork",
        "--kill-child",
        "/bin/sh",
        "-c",
        script,
    ]


def _by_bubblewrap(root: Path, command: Sequence[str], isolation: Isolation) -> list[str]:
    if isolation.control_group:
        raise GraftError("A limit on memory takes root here, which may make a control group.")
    network = ["--share-net"] if isolation.has_network else []
    user = ["--uid", str(isolation.user), "--gid", str(isolation.user)]
    mounts = ["--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    mounts += ["--tmpfs", "/tmp"]  # noqa: S108 - the only folder that can be written
    rights = ["--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    return [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        *network,
        *user,
        *mounts,
        *rights,
        "--chdir",
        "/",
        *command,
    ]
