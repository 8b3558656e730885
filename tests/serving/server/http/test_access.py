"""Who may call: keys over HTTP against a real service, and addresses by the guard alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.model.errors import InputRefusedError
from serving.server.http.access import Access, Guard
from serving.server.http.keys import Keys
from tests.conftest import free_port, make_picture, serving

OLD, NEW = "old-key-0123456789", "new-key-0123456789"


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"# two callers\n{OLD}\nanother-key-0123456789\n")
    return file


@pytest.fixture(scope="module")
def client(tiny_run: Path, keys_file: Path) -> Iterator[httpx.Client]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "serving",
        str(tiny_run / "bundle"),
        "--port",
        str(port),
        "--api-keys-file",
        str(keys_file),
        "--protect-all",
    ]
    with serving(command, port) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def ask(client: httpx.Client, **headers: str) -> httpx.Response:
    return client.post(
        "/predict",
        content=make_picture("bars", 1),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


@pytest.mark.slow
def test_a_key_is_asked_for_and_accepted_in_either_header(client: httpx.Client) -> None:
    refused = [
        ask(client),
        ask(client, authorization="Bearer wrong"),
        ask(client, authorization=OLD),
        ask(client, x_api_key=OLD[:-1]),
    ]
    assert [answer.status_code for answer in refused] == [401] * 4
    assert {answer.json()["error"]["code"] for answer in refused} == {"unauthorized"}
    assert refused[0].headers["www-authenticate"] == "Bearer"
    accepted = [
        ask(client, authorization=f"Bearer {OLD}"),
        ask(client, x_api_key=OLD),
        ask(client, authorization="bearer another-key-0123456789"),
    ]
    assert [answer.status_code for answer in accepted] == [200] * 3


@pytest.mark.slow
def test_one_valid_key_is_enough_where_two_are_sent(client: httpx.Client) -> None:
    """A proxy that knows its users sends an Authorization of its own."""
    for other in ("Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer ey.J.x"):
        assert ask(client, authorization=other, x_api_key=OLD).status_code == 200
    assert ask(client, authorization=f"Bearer {OLD}", x_api_key="wrong").status_code == 200
    assert ask(client, authorization="Bearer wrong", x_api_key="wrong").status_code == 401


@pytest.mark.slow
def test_probes_and_the_page_need_no_key_and_metrics_and_documentation_do_when_told_to(
    client: httpx.Client,
) -> None:
    status = {
        path: client.get(path).status_code
        for path in ("/livez", "/readyz", "/", "/metrics", "/docs.json", "/v2/health/ready", "/v2")
    }
    assert status == {
        "/livez": 200,
        "/readyz": 200,
        "/": 200,
        "/metrics": 401,
        "/docs.json": 401,
        "/v2/health/ready": 200,
        "/v2": 401,
    }
    assert client.get("/metrics", headers={"authorization": f"Bearer {OLD}"}).status_code == 200


@pytest.mark.slow
def test_keys_are_replaced_without_a_restart(client: httpx.Client, keys_file: Path) -> None:
    keys_file.write_text(f"{NEW}\n")
    deadline = time.monotonic() + 10
    while ask(client, x_api_key=NEW).status_code == 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ask(client, x_api_key=OLD).status_code == 401


PROXIES = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-envoy-external-address",
    "x-amzn-trace-id",
]
LOOPBACK = [
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "localhost",
    "LOCALHOST",
    "Localhost.",
    "::ffff:127.0.0.1",
    "::FFFF:7f00:1",
    "127.1",
    "0:0:0:0:0:0:0:1",
]
ELSEWHERE = [
    "10.0.0.5",
    "192.168.1.4",
    "8.8.8.8",
    "::",
    "fe80::1%eth0",
    "example.org",
    "127.0.0.1.example.org",
    "::ffff:10.0.0.1",
    "localhost.example.org",
]


def check(
    server: tuple[str, int | None] | None,
    *,
    keys: Keys | None = None,
    allow_anonymous: bool = False,
    headers: dict[str, str] | None = None,
    access: Access = "model",
    **more: object,
) -> None:
    """What a guard says to a request without a key that came in at an address."""
    guard = Guard(
        keys or Keys(),
        protect_all=False,
        is_keyless=not (keys or allow_anonymous),
        require_model=lambda: None,
    )
    sent = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    guard.check(
        {"type": "http", "path": "/predict", "method": "POST", "headers": sent, "server": server, **more},
        access,
    )


@pytest.mark.parametrize("address", LOOPBACK)
def test_no_key_is_needed_where_no_other_machine_can_come_from(address: str) -> None:
    check((address, 3000))
    check(("/run/graft.sock", None))


@pytest.mark.parametrize("address", ELSEWHERE)
def test_other_machines_are_refused_without_keys_unless_told_otherwise(address: str) -> None:
    with pytest.raises(InputRefusedError, match="--allow-anonymous") as refused:
        check((address, 3000))
    assert refused.value.status == 401
    check((address, 3000), allow_anonymous=True)


def test_a_key_is_asked_for_everywhere_where_there_is_one() -> None:
    with pytest.raises(InputRefusedError, match="API key is needed"):
        check(("127.0.0.1", 3000), keys=Keys([OLD]), allow_anonymous=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "example.org"},
        {"host": "example.org:3000"},
        {"host": "127.0.0.1.example.org"},
        {"host": "[fe80::1]:3000"},
        {"host": "a@b"},
    ]
    + [{"host": "localhost", name: "10.0.0.1"} for name in PROXIES],
)
def test_what_came_through_a_proxy_or_by_another_name_is_not_from_this_machine(
    headers: dict[str, str],
) -> None:
    with pytest.raises(InputRefusedError, match="not through a proxy"):
        check(("127.0.0.1", 3000), headers=headers)
    with pytest.raises(InputRefusedError, match="GRAFT_API_KEYS") as unready:
        check(("127.0.0.1", 3000), headers=headers, access="ready")
    assert (unready.value.status, unready.value.code) == (503, "no_keys")
    check(("127.0.0.1", 3000), headers=headers, access="probe")
    check(("127.0.0.1", 3000), headers=headers, allow_anonymous=True)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:3000",
        "LocalHost:3000",
        "127.0.0.1:3000",
        "[::1]:3000",
        "[::1]",
        "[::ffff:127.0.0.1]:80",
        "app.localhost:3000",
    ],
)
def test_this_machine_may_be_called_by_its_own_names(host: str) -> None:
    check(("127.0.0.1", 3000), headers={"host": host})


def test_http_1_0_with_a_host_is_nginxs_and_without_one_a_persons() -> None:
    with pytest.raises(InputRefusedError, match="not through a proxy"):
        check(("127.0.0.1", 3000), headers={"host": "127.0.0.1:3000"}, http_version="1.0")
    check(("127.0.0.1", 3000), http_version="1.0")


def test_starlettes_client_for_tests_is_this_process() -> None:
    check(("testserver", 80), headers={"host": "testserver"}, client=("testclient", 50000))
    with pytest.raises(InputRefusedError, match="not through a proxy"):
        check(
            ("testserver", 80),
            headers={"host": "testserver", "x-forwarded-for": "testclient"},
            client=("testclient", 50000),
        )
