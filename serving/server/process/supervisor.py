"""The process that holds the port: it starts workers, and replaces those that die."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from serving.server.observing.sharing import tell_deaths

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

    @contextmanager
    def started(self) -> Iterator[None]:
        """Start the workers, and kill them where the block raises an error: they have not begun to serve."""
        super().init_processes()
        try:
            yield
        except BaseException:
            for worker in self.processes:
                worker.process.kill()
                worker.process.join()
            raise

    def init_processes(self) -> None:
        """Start the workers, unless that has been done."""
        if not self.processes:
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang, unless one could not even start, as no other could either."""
        for index, process in enumerate(self.processes):
            process.child_conn.close()  # or else one that dies while it is asked is waited for as if it hung
            if self.should_exit.is_set():  # they end because they shall
                return
            if process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            process.kill()
            process.join()
            if process.exitcode == STARTUP_FAILURE:
                self.should_exit.set()
            else:
                self._replace(index)

    def _replace(self, index: int) -> None:
        """Start another worker in the place of one that has ended."""
        dead, another = self.processes[index], Process(self.config, self.sockets)
        self._count_deaths(self._deaths + 1)  # before it starts, since it tells their number
        text = "worker %s died (exit code %s); another takes its place"
        log.warning(text, dead.pid, dead.exitcode)
        another.start()
        self.processes[index] = another

    def _count_deaths(self, count: int) -> None:
        self._deaths = count
        tell_deaths(count)

    def handle_hup(self) -> None:
        """Called when the terminal is closed."""
        log.info("Received SIGHUP, exiting.")
        self.should_exit.set()
