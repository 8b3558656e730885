from __future__ import annotations

import io
import logging
import threading

from serving.server.observing.sink import BackgroundHandler


class Stalled(io.StringIO):
    """A pipe that nobody reads until told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.go.wait(10)
        return super().write(text)


def make_record(number: int) -> logging.LogRecord:
    return logging.LogRecord("graft", logging.INFO, "", 0, f"line {number}", (), None)


def test_lines_arrive_in_order() -> None:
    stream = io.StringIO()
    handler = BackgroundHandler(stream)
    for number in range(500):
        handler.handle(make_record(number))
    handler.close()
    assert stream.getvalue().splitlines() == [f"line {number}" for number in range(500)]


def test_lines_are_dropped_and_counted_when_nobody_reads() -> None:
    stream = Stalled()
    handler = BackgroundHandler(stream, most_lines=10)
    for number in range(100):
        handler.handle(make_record(number))  # returns, though the stream does not
    stream.go.set()
    handler.close()
    lines = stream.getvalue().splitlines()
    written = [line for line in lines if line.startswith("line")]
    assert 10 <= len(written) <= 12
    assert f"{100 - len(written)} log lines were dropped: nobody read them" in lines
