"""The standard streams, without which a service may be started."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

MODES: Final = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_missing_streams() -> None:
    """Open ``/dev/null`` as those of the standard streams that this process was started without.

    The next pipe or socket would get a missing one's number, and a worker would write its log into it.
    """
    for name, mode in MODES.items():
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115 - it stays open, with the lowest free number
            os.set_inheritable(stream.fileno(), True)  # noqa: FBT003 - the function's own signature
            setattr(sys, name, stream)
