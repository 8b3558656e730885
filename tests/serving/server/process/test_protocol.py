"""What the hardened connection takes from uvicorn that uvicorn does not promise.

A new version that changes it fails here.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from serving.server.process import protocol
from serving.server.process.protocol import UVICORN_KEEP_ALIVE_S, HardenedProtocol, harden_connections
from tests.conftest import ROOT

TREE = ast.parse(inspect.getsource(protocol))
OVERRIDDEN = sorted(
    name
    for name, value in vars(HardenedProtocol).items()
    if inspect.isfunction(value) and hasattr(HttpToolsProtocol, name)
)


def names_after(prefix: str) -> set[str]:
    """The attributes that the module takes from an expression, such as ``self.cycle``."""
    return {
        node.attr
        for node in ast.walk(TREE)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == prefix
    }


def assigned_in(function: object) -> set[str]:
    """The attributes of ``self`` that a function sets."""
    tree = ast.parse(inspect.getsource(function).lstrip())
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


async def names_of_a_connection() -> set[str]:
    connection = HttpToolsProtocol(Config(app=None, log_config=None), ServerState(), {})
    return set(dir(connection))


def test_connection_has_the_attributes_that_are_used() -> None:
    own = set(vars(HardenedProtocol)) | {"_header_timer", "_stall_timer"}
    used = names_after("self") - own
    assert {"cycle", "headers", "loop", "parser", "transport", "url", "_unset_keepalive_if_required"} <= used
    found = asyncio.run(names_of_a_connection()) | assigned_in(HttpToolsProtocol.on_message_begin)
    assert used <= found, used - found
    assert names_after("super()") <= found


def test_cycle_has_the_attributes_that_are_used() -> None:
    used = names_after("self.cycle")
    assert used == {"disconnected", "response_complete"}
    assert used <= assigned_in(RequestResponseCycle.__init__)


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_overridden_methods_have_uvicorns_parameters(name: str) -> None:
    own, theirs = (
        inspect.signature(getattr(kind, name)).parameters for kind in (HardenedProtocol, HttpToolsProtocol)
    )
    assert list(own) == list(theirs)


def test_each_callback_is_still_one_of_uvicorns() -> None:
    assert len(OVERRIDDEN) == 11
    assert httptools_impl.STATUS_LINE[431] == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


def test_supervisor_has_the_attributes_that_are_used() -> None:
    assert {"processes", "should_exit", "config", "sockets"} <= assigned_in(Multiprocess.__init__)
    assert {"process", "child_conn"} <= assigned_in(Process.__init__)
    assert {"handle_hup", "keep_subprocess_alive", "run"} <= set(dir(Multiprocess))
    assert {"exitcode", "is_alive", "join", "kill", "pid", "start"} <= set(dir(Process))


def test_uvicorn_is_pinned_below_the_next_minor_version() -> None:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (pinned,) = [requirement for requirement in map(Requirement, lines) if requirement.name == "uvicorn"]
    here = Version(version("uvicorn"))
    assert here in pinned.specifier
    assert Version(f"{here.major}.{here.minor + 1}") not in pinned.specifier


async def harden(**options: object) -> Config:
    config = Config(app=lambda: None, log_config=None, **options)  # type: ignore[arg-type]
    harden_connections(LifespanOn(config).receive, 75)
    return config


def test_a_uvicorn_that_somebody_else_configured_gets_our_connections() -> None:
    config = asyncio.run(harden())
    assert config.http_protocol_class is HardenedProtocol
    assert config.timeout_keep_alive == 75
    assert not isinstance(config.loaded_app, ProxyHeadersMiddleware), (
        "what a request says of its origin is no fact"
    )


def test_a_keep_alive_that_uvicorn_was_given_stays() -> None:
    assert asyncio.run(harden(timeout_keep_alive=9)).timeout_keep_alive == 9


def test_another_server_is_left_alone() -> None:
    harden_connections(lambda: None, 75)


def test_uvicorns_own_keep_alive_is_known() -> None:
    assert inspect.signature(Config).parameters["timeout_keep_alive"].default == UVICORN_KEEP_ALIVE_S
