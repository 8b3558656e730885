"""``python -m serving``."""

import os
import signal
import sys
from types import FrameType


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)  # as a shell tells of a process that a signal has ended


if __name__ == "__main__":
    # The kernel lets the first process of a container ignore what it has no handler for (pid_namespaces(7)),
    # so that one which is told to end while it still starts would have to be killed. What serves has its own.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)

    from serving.server.process.cli import main

    main()
