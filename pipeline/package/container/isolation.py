"""The command that runs another one as a container does: other root, other user, no rights beyond that."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import IsolationError

# As root, with what every Debian has: a root that is read-only but for /tmp, the few devices that each
# container has, and no right. The bounding set keeps the three that chroot takes to enter and to change the
# user, since setpriv has to run before, and the image holds nothing that could drop them after. Nobody in
# there can get them: no user but root is given rights by the bounding set, and no-new-privs cannot be undone.
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
NO_WAY = "A container cannot be run here: it takes root, or the program bwrap (apt-get install bubblewrap)."
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


_PROBE = "mount -t tmpfs tmpfs /tmp && mount -t proc proc /proc"


def require_isolation() -> None:
    """Try whether this machine lets anything be isolated, with nothing of an image in it.

    Raises:
        IsolationError: It does not. Whatever fails after that is the container's own doing.
    """
    if _is_root():
        command = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "/bin/sh", "-c", _PROBE]
    elif shutil.which("bwrap"):
        command = [
            "bwrap",
            "--unshare-all",
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "true",
        ]
    else:
        raise IsolationError(NO_WAY)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " / ".join(done.stderr.strip().splitlines()[-2:]) or f"exit code {done.returncode}"
        raise IsolationError(f"A container cannot be run here, since nothing can be isolated: {reason}")


def _is_root() -> bool:
    return os.geteuid() == 0 and bool(shutil.which("unshare") and shutil.which("setpriv"))


def isolate(root: Path, command: Sequence[str], isolation: Isolation) -> list[str]:
    """Return the command that runs another one isolated; its end ends all that it has started.

    Args:
        root: The folder that becomes its root.
        command: The command, as paths from that root.
        isolation: How it is kept apart.

    Raises:
        IsolationError: This machine can isolate nothing.
    """
    if _is_root():
        return _as_root(root, command, isolation)
    if shutil.which("bwrap"):
        return _by_bubblewrap(root, command, isolation)
    raise IsolationError(NO_WAY)


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
        raise IsolationError("A limit on memory takes root here, which may make a control group.")
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
        "--as-pid-1",  # so that a signal reaches the service, and not one that waits for it
        "--chdir",
        "/",
        *command,
    ]
