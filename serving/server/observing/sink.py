"""Where log lines go: to a stream, by a thread of its own, so that a reader that stalls stalls no request."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from contextlib import suppress
from typing import TextIO

MOST_LINES = 10_000
FLUSH_S = 2.0


class BackgroundHandler(logging.Handler):
    """Writes records in the background. Past a bound they are dropped, and how many is logged when there is room again.

    A pipe that nobody reads blocks whoever writes to it once it is full, which on the event loop would end the service. The standard
    library's QueueListener waits for that pipe at exit too; this one waits two seconds.

    Args:
        stream: Such as ``sys.stderr``.
        most_lines: That may wait.
    """

    def __init__(self, stream: TextIO, most_lines: int = MOST_LINES) -> None:
        super().__init__()
        self._stream = stream
        self._records: queue.Queue[logging.LogRecord | threading.Event | None] = queue.Queue(most_lines)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the thread."""
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until what was handed over is written, for as long as the stream takes it."""
        written = threading.Event()
        if not self._thread.is_alive():  # logging's own end flushes what is closed
            return
        try:
            self._records.put(written, timeout=FLUSH_S)
        except queue.Full:
            return
        written.wait(FLUSH_S)

    def close(self) -> None:
        """Write what waits, for as long as the stream takes it."""
        atexit.unregister(self.close)
        try:
            self._records.put(None, timeout=FLUSH_S)
        except queue.Full:
            return
        self._thread.join(FLUSH_S)
        super().close()

    def _write(self) -> None:
        while (record := self._records.get()) is not None:
            if isinstance(record, threading.Event):
                with suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
                    self._stream.flush()
                record.set()
                continue
            try:
                line = self.format(record)
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    lost = logging.LogRecord(
                        "graft", logging.WARNING, "", 0, f"{dropped} log lines were dropped: nobody read them", (), None
                    )
                    line = f"{self.format(lost)}\n{line}"
                self._stream.write(line + "\n")
                if self._records.empty():
                    self._stream.flush()
            except Exception:  # as every handler: a line that cannot be written must not end the others
                self.handleError(record)
