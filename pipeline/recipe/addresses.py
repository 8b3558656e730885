"""Addresses of servers and databases, and the one place that takes passwords and tokens out of them."""

from __future__ import annotations

import re
from urllib.parse import unquote

SQLITE = "sqlite:///"
DATABASES = ("postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "sqlite")
HIDDEN = "***"
# What stands before an @ may hold others, and spaces behind a colon, where nobody has quoted it; with three
# slashes there is no user, but a path.
USER = re.compile(r"(?P<scheme>\w[\w+.-]*)://(?!/)(?P<user>[^\s/:@]*:[^\n]*|\S*)@")
PARAMETER = re.compile(
    r"(?P<before>[?&;#])(?P<name>[^?&;#=\s]+)="
    r"(?P<value>\"[^\"\n]*\"|'[^'\n]*'|\{[^}\n]*\}|[^&\s]*?(?=[\"')\]},;]*(?:[&\s]|$)))"
)
# As drivers and Python write what they were given: password='...', PWD={...}, "token": "...".
WRITTEN = re.compile(
    r"(?P<before>^|[^\w%])(?P<name>[\"']?[\w-]+[\"']?)(?P<sign>\s*=\s*|(?<=[\"'])\s*:\s*)"
    r"(?P<value>\"[^\"\n]*\"|'[^'\n]*'|\{[^}\n]*\}|[^\s&;,#'\")\]}]+)"
)
SECRET = re.compile(
    r"passw|pwd|passphrase|token|secret|credential|signature|apikey|accesskey|^(pass|sig)$|^auth"
    r"|^(?!ssl)(.*[_-])?key$",
    re.IGNORECASE,
)


def without_credentials(text: str) -> str:
    """Return a text without what the addresses and settings in it tell of passwords and tokens.

    Addresses are as in :func:`bare_address`. Hidden, too, is what follows names such as ``password=``.

    Args:
        text: The text, such as the error of a driver.
    """
    return WRITTEN.sub(_hide_written, _bare(text))


def bare_address(uri: str) -> str:
    """Return an address without what lets anybody in.

    The password of a database is left out, and its user stays, so that the address can still be used with a
    password from elsewhere. Of every other address the user is hidden too, since it may be a token. So are
    the values of parameters with names such as ``password``, ``token`` or ``api_key``.

    Args:
        uri: The address.
    """
    head, question, query = uri.partition("?")
    return _bare(f"{head}{question}{query.replace(' ', '%20')}")


def has_credentials(uri: str) -> bool:
    """Return whether an address holds a password or a token; a server's user counts, since it may be one."""
    return _bare(uri) != uri


def _bare(text: str) -> str:
    return PARAMETER.sub(_hide_parameter, USER.sub(_hide_user, text))


def kind_of(uri: str) -> str:
    """Return what an address is of, such as ``https`` or ``postgresql``; empty where it is no address."""
    scheme, separator, _ = uri.partition("://")
    return scheme.partition("+")[0].lower() if separator else ""


def _hide_user(found: re.Match[str]) -> str:
    scheme, user = found["scheme"], found["user"]
    shown = user.partition(":")[0] if kind_of(found[0]) in DATABASES else HIDDEN
    return f"{scheme}://{shown}@"


def _hide_parameter(found: re.Match[str]) -> str:
    value = unquote(found["value"])
    # An address of ODBC holds another list of parameters in one value.
    if _is_secret(unquote(found["name"])) or WRITTEN.sub(_hide_written, value) != value:
        return f"{found['before']}{found['name']}={HIDDEN}"
    return found[0]


def _hide_written(found: re.Match[str]) -> str:
    if not _is_secret(found["name"].strip("\"'")):
        return found[0]
    return f"{found['before']}{found['name']}{found['sign']}{HIDDEN}"


def _is_secret(name: str) -> bool:
    """Return whether a parameter's value lets anybody in, by its name; ``sslkey`` is the path of a file."""
    return SECRET.search(name) is not None
