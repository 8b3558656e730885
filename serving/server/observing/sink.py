"""Writing of log lines in a background thread, so that a stalled reader of the logs stalls no request."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from contextlib import suppress
from typing import TextIO

MOST_LINES = 10_000
FLUSH_S = 2.0
REST_S = 0.05


class BackgroundHandler(logging.Handler):
    """Writes log records in a background thread.

    To wake a thread for each line would cost a request more than the line itself. So the thread, once it has
    written all there was, rests for a twentieth of a second, unless a warning or something worse comes.

    Records that find the queue full are dropped, and their number is logged when there is room again.

    Once a pipe that nobody reads is full, it blocks whoever writes to it; on the event loop, that would end
    the service. The standard library's QueueListener waits for such a pipe at exit too. This handler waits
    two seconds for room in its queue, and two for the stream.

    Args:
        stream: Text stream to write to, such as ``sys.stderr``.
        most_lines: Number of records that may wait to be written. The default is 10,000.
    """

    def __init__(self, stream: TextIO, most_lines: int = MOST_LINES) -> None:
        super().__init__()
        self._stream = stream
        self._records: queue.Queue[logging.LogRecord | threading.Event | None] = queue.Queue(most_lines)
        self._dropped = 0
        self._is_urgent = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record to the queue, or drop it when the queue is full."""
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self._dropped += 1
        if record.levelno >= logging.WARNING:
            self._is_urgent.set()

    def flush(self) -> None:
        """Wait until the records in the queue are written, unless the stream takes too long."""
        written = threading.Event()
        if not self._thread.is_alive():  # `logging.shutdown` also flushes handlers that are closed
            return
        self._is_urgent.set()
        try:
            self._records.put(written, timeout=FLUSH_S)
        except queue.Full:
            return
        written.wait(FLUSH_S)

    def close(self) -> None:
        """Write the records in the queue, unless the stream takes too long, and end the thread."""
        atexit.unregister(self.close)
        self._is_urgent.set()
        try:
            self._records.put(None, timeout=FLUSH_S)
        except queue.Full:
            return
        self._thread.join(FLUSH_S)
        super().close()

    def _write(self) -> None:
        while (record := self._records.get()) is not None:
            if isinstance(record, threading.Event):
                with suppress(OSError, ValueError):  # the reader is gone, or the stream is closed
                    self._stream.flush()
                record.set()
                continue
            try:
                line = self.format(record)
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    text = f"{dropped} log lines were dropped: nobody read them"
                    lost = logging.LogRecord("graft", logging.WARNING, "", 0, text, (), None)
                    line = f"{self.format(lost)}\n{line}"
                self._stream.write(line + "\n")
                if self._records.empty():
                    self._stream.flush()
                    self._is_urgent.wait(REST_S)
                    self._is_urgent.clear()
            except Exception:  # a record that cannot be written must not stop the others
                self.handleError(record)
