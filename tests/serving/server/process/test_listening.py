"""Where a service listens, as clients find it.

It listens at a Unix socket, by TLS, at the port of the environment, and below a prefix.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import psutil
import pytest

from serving.server.process.health import is_alive
from tests.conftest import free_port, make_picture
from tests.serving.processes import logged_service, serve_command, started, wait_for, workers_of

pytestmark = pytest.mark.slow
PREFIX = "/models/cells"
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def client_of(path: Path) -> httpx.Client:
    return httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=str(path)), timeout=30)


def is_ready(client: httpx.Client) -> bool:
    return client.get("/readyz").status_code == 200


def refuse(command: list[str]) -> str:
    """The one message with which a command ends."""
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return message


def idle(connection: socket.socket, at_most_s: float) -> float | None:
    """Ask once, and return the seconds after which the idle connection was closed, or None."""
    connection.settimeout(10)
    connection.sendall(REQUEST)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    begin = time.monotonic()
    connection.settimeout(at_most_s)
    try:
        while connection.recv(65536):  # the body may come apart from its headers
            pass
    except TimeoutError:
        return None
    return time.monotonic() - begin


@pytest.fixture(scope="module")
def path(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Unix socket of a service below a prefix, which keeps idle connections for a second."""
    folder = tmp_path_factory.mktemp("uds")
    path = folder / "graft.sock"
    command = serve_command(tiny_run / "bundle", "--uds", path, "--root-path", PREFIX, "--keep-alive", 1)
    with started(command, folder / "log"), client_of(path) as client:
        wait_for(lambda: is_ready(client))
        yield path
    assert not path.exists()


def test_a_unix_socket_answers_whoever_its_folder_lets_in(path: Path) -> None:
    with client_of(path) as client:
        assert client.post("/predict", content=make_picture("bars", 1)).json()["label"] == "bars"
    assert path.stat().st_mode & 0o777 == 0o666


def test_a_second_service_at_a_unix_socket_is_refused(path: Path, tiny_run: Path) -> None:
    message = refuse(serve_command(tiny_run / "bundle", "--uds", path))
    assert str(path) in message
    assert "--uds" in message
    with client_of(path) as client:
        assert is_ready(client), "the first one's socket was taken away"


def test_a_file_at_the_place_of_a_unix_socket_stays(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    assert "no socket). Choose another with --uds" in refuse(
        serve_command(tiny_run / "bundle", "--uds", tmp_path / "notes")
    )
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_unix_socket_that_a_killed_service_left_is_taken_over(tiny_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "graft.sock"
    command = serve_command(tiny_run / "bundle", "--uds", path)
    with client_of(path) as client, started(command, tmp_path / "first") as first:
        wait_for(lambda: is_ready(client))
        workers = workers_of(first)
        first.kill()
        assert psutil.wait_procs(workers.values(), 10)[1] == [], (
            "workers outlive the process that holds the socket"
        )
    assert path.is_socket()
    with client_of(path) as client, started(command, tmp_path / "second"):
        wait_for(lambda: is_ready(client))
    assert not path.exists()


def test_paths_answer_with_the_prefix_and_without(path: Path) -> None:
    with client_of(path) as client:
        for prefix in (PREFIX, ""):
            assert (
                client.post(f"{prefix}/predict", content=make_picture("plain", 1)).json()["label"] == "plain"
            )
            protocols = client.get(f"{prefix}/v2/models/other")
            own = client.get(f"{prefix}/other")
            assert protocols.status_code == own.status_code == 404
            assert isinstance(protocols.json()["error"], str), "the protocol's shape of errors"
            assert own.json()["error"]["code"]


def test_answers_have_a_date(path: Path) -> None:
    with client_of(path) as client:
        assert abs(parsedate_to_datetime(client.get("/livez").headers["date"]).timestamp() - time.time()) < 5


def test_an_idle_connection_is_closed_when_it_should(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        closed_s = idle(connection, 5)
    assert closed_s is not None
    assert 0.8 < closed_s < 2.5


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for localhost, its key, the same key with a password, and another key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    curve = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    for name in ("it", "other"):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
        openssl(
            "req",
            "-x509",
            *curve,
            *files,
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            folder=folder,
        )
    openssl("ec", "-in", "it.key", "-out", "locked.key", "-aes128", "-passout", "pass:secret", folder=folder)
    (folder / "both.pem").write_text((folder / "it.crt").read_text() + (folder / "it.key").read_text())
    return folder


def openssl(*arguments: str, folder: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True, timeout=60)


def test_https_answers_at_the_port_of_the_environment_and_keeps_idle_connections(
    pair: Path, tiny_run: Path, tmp_path: Path
) -> None:
    port = free_port()
    command = serve_command(tiny_run / "bundle", "--tls-cert", pair / "it.crt", "--tls-key", pair / "it.key")
    context = ssl.create_default_context(cafile=pair / "it.crt")
    with (
        started(command, tmp_path / "log", PORT=str(port)),
        httpx.Client(base_url=f"https://localhost:{port}", verify=context) as client,
    ):
        wait_for(lambda: is_ready(client))
        assert client.post("/predict", content=make_picture("bars", 2)).json()["label"] == "bars"
        assert is_alive(port), "the health check of a container asks by HTTPS too"
        assert not is_alive(free_port() + 1)
        with (
            socket.create_connection(("localhost", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            assert idle(connection, 3) is None


def test_the_port_of_the_command_line_wins(tiny_run: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the service before has just used it
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()  # a service that took this port could not start
        with logged_service(
            tiny_run / "bundle", tmp_path / "log", PORT=str(taken.getsockname()[1])
        ) as service:
            assert httpx.get(f"{service.url}/livez").status_code == 200


WRONG = {
    "another's key": (["--tls-cert", "it.crt", "--tls-key", "other.key"], "one pair"),
    "no file": (["--tls-cert", "it.crt", "--tls-key", "none.key"], "No such file"),
    "no key": (["--tls-cert", "it.crt"], "one pair"),
    "no certificate": (["--tls-key", "it.key"], "--tls-cert"),
    "a key with a password": (["--tls-cert", "it.crt", "--tls-key", "locked.key"], "the key has a password"),
}


def test_a_wrong_pair_is_refused_with_one_message(pair: Path, tiny_run: Path) -> None:
    def start(options: list[str]) -> str:
        places = [option if option.startswith("--") else str(pair / option) for option in options]
        return refuse(serve_command(tiny_run / "bundle", "--port", free_port(), *places))

    with ThreadPoolExecutor(2) as pool:
        messages = list(pool.map(start, [options for options, _ in WRONG.values()]))
    for message, (name, (_, expected)) in zip(messages, WRONG.items(), strict=True):
        assert expected in message, f"{name}: {message}"


def test_one_file_may_hold_certificate_and_key(pair: Path, tiny_run: Path, tmp_path: Path) -> None:
    port, context = free_port(), ssl.create_default_context(cafile=pair / "it.crt")
    command = serve_command(tiny_run / "bundle", "--tls-cert", pair / "both.pem", "--port", port)
    with (
        started(command, tmp_path / "log"),
        httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context) as client,
    ):
        wait_for(lambda: is_ready(client))
