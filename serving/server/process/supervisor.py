"""The process that holds the port: it starts workers, and replaces those that die."""

from __future__ import annotations

import logging
import os
import signal
import socket

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from serving.server.observing.sharing import DEATHS

log = logging.getLogger("graft")


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which here tells of dead workers, and ends with the terminal that it runs in.

    uvicorn takes SIGHUP for a wish to restart all workers, so that a service would go on when its terminal is
    closed. Started by ``nohup``, it still does.

    Args:
        config: uvicorn's configuration.
        sockets: Sockets on which the workers answer.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        outlives_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        super().__init__(config, sockets)
        if outlives_terminal:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._count_deaths(0)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang."""
        for process in self.processes:
            if self.should_exit.is_set():  # they end because they shall
                return
            if not process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                self._bury(process)
        super().keep_subprocess_alive()

    def _bury(self, process: Process) -> None:
        """End a worker that hangs, and count it before another starts, which then knows the number."""
        process.kill()
        process.join()
        if process.exitcode == STARTUP_FAILURE:
            return
        self._count_deaths(self._deaths + 1)
        text = "worker %s died (exit code %s); another takes its place"
        log.warning(text, process.pid, process.exitcode)

    def _count_deaths(self, count: int) -> None:
        self._deaths = count
        os.environ[DEATHS] = str(count)

    def handle_hup(self) -> None:
        """Called when the terminal is closed."""
        log.info("Received SIGHUP, exiting.")
        self.should_exit.set()
