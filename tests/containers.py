"""What this machine allows of containers: CI may allow less than the machine that a test was written on."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request

from pipeline.errors import GraftError
from pipeline.package.container.fetching import MIRROR
from pipeline.package.container.memory import limited_memory

PROBE = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "true"]


def why_not() -> str | None:
    """Why no container can be run here as root runs it; None if one can."""
    if os.geteuid() != 0:
        return "containers are run as root here"
    try:
        subprocess.run(PROBE, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"namespaces cannot be made here: {error}"
    return None


def why_no_real_image() -> str | None:
    """Why no image can be written of Debian's real packages; None if one can."""
    try:
        urllib.request.urlopen(MIRROR, timeout=5).close()
    except (OSError, urllib.error.URLError) as error:
        return f"Debian's mirror cannot be reached: {error}"
    return None


def limit_mb(memory_mb: int) -> int | None:
    """A limit on memory, where one can be set here."""
    try:
        with limited_memory(memory_mb):
            return memory_mb
    except GraftError:
        return None
