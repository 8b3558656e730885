"""The whole way on real pictures: carry out the recipe, start the service, ask it, and stop it again."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = Path("models/solar-cells")
GRAFT = [sys.executable, "-m", "pipeline.cli"]
PORTS = range(3000, 3100)
READY_WITHIN_S = 60.0


def main() -> int:
    """Run the demonstration and return its exit code."""
    os.chdir(ROOT)
    start = time.monotonic()
    code = subprocess.call([*GRAFT, "run", "examples/solar-cells/recipe.yaml", "--run", str(RUN)])
    if code:
        return code
    port = next(port for port in PORTS if is_free(port))
    service = subprocess.Popen(
        [*GRAFT, "serve", str(RUN), "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        picture = test_picture()
        started = time.monotonic()
        answer = ask(port, picture, service)
        say(f"started   the service answered {time.monotonic() - started:.1f} s after its start")
        say(f"asked     curl --data-binary @{os.path.relpath(picture)} http://127.0.0.1:{port}/predict")
        say(f"answer    {answer}")
    finally:
        service.terminate()
        service.wait()
    say(
        f"took      {time.monotonic() - start:.0f} s; the service is stopped, "
        f"start it with: {GRAFT_COMMAND} serve {RUN}"
    )
    return 0


GRAFT_COMMAND = os.path.relpath(Path(sys.executable).with_name("graft"), ROOT)


def test_picture() -> Path:
    """Return the path of the first picture of the test split."""
    with (RUN / "data" / "samples.csv").open(encoding="utf-8", newline="") as file:
        source = next(row["source"] for row in csv.DictReader(file) if row["split"] == "test")
    return Path((RUN / "data-root.txt").read_text(encoding="utf-8").rstrip("\n"), source)


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def ask(port: int, picture: Path, service: subprocess.Popen[bytes]) -> str:
    """Return the answer of the service to a picture, as soon as it gives one."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", data=picture.read_bytes(), method="POST"
    )
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError):
            if service.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
