"""A real nginx in front of services, with its defaults."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import free_port

# What Debian's own file leaves to the reader, and nothing else: bodies, timeouts and HTTP/1.0 are nginx's.
CONFIGURATION = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_max_body_size 100m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {upstream}
  server {{
    listen 127.0.0.1:{port};
    location {location} {{ proxy_pass {target}; {extra} }}
  }}
}}
"""


@contextmanager
def proxied(
    folder: Path,
    ports: Sequence[int],
    *,
    location: str = "/",
    target: str = "http://replicas",
    extra: str = "",
) -> Iterator[str]:
    """Start nginx before services at these ports, wait until it answers, and yield its address."""
    folder.mkdir(exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""  # or else its workers could not write into the folder
    port = free_port()
    upstream = (
        f"upstream replicas {{ {' '.join(f'server 127.0.0.1:{each};' for each in ports)} }}" if ports else ""
    )
    file = folder / "nginx.conf"
    file.write_text(
        CONFIGURATION.format(
            folder=folder,
            user=user,
            upstream=upstream,
            port=port,
            location=location,
            target=target,
            extra=extra,
        )
    )
    process = subprocess.Popen(["nginx", "-c", str(file)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                httpx.get(url, timeout=5)
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, (folder / "error.log").read_text()
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)
