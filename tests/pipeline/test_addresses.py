"""What lets anybody in is in no address that is kept or shown."""

from __future__ import annotations

import pytest

from pipeline.recipe.addresses import bare_address, has_credentials, without_credentials

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("address", "bare"),
    [
        (f"postgresql://me:{SECRET}@host/db", "postgresql://me@host/db"),
        (f"POSTGRESQL+pg8000://me:p@/{SECRET}?x@host/db", "POSTGRESQL+pg8000://me@host/db"),
        (f"postgresql://me@corp:{SECRET}@host/db", "postgresql://me@corp@host/db"),
        (f"postgresql://me:two {SECRET}@host/db", "postgresql://me@host/db"),
        (f"http://{SECRET}@host", "http://***@host"),
        (f"http://me:{SECRET}@host", "http://***@host"),
        (f"http://host/?passwd={SECRET}&a=b", "http://host/?passwd=***&a=b"),
        (f"http://host/?a=b&PWD=x {SECRET}", "http://host/?a=b&PWD=***"),
        (f"http://host/?pass%77ord={SECRET}", "http://host/?pass%77ord=***"),
        (f"http://host/#token={SECRET}", "http://host/#token=***"),
    ],
)
def test_an_address_keeps_all_but_what_lets_anybody_in(address: str, bare: str) -> None:
    assert has_credentials(address)
    assert bare_address(address) == bare
    assert bare_address(bare) == bare


NAMES = [
    "password",
    "passwd",
    "pwd",
    "pass",
    "token",
    "access_token",
    "api_key",
    "apikey",
    "API-KEY",
    "key",
    "secret",
    "client_secret",
]


@pytest.mark.parametrize(
    "name", [*NAMES, "sslpassword", "credentials", "Credential", "ssl_key_password", "sig"]
)
def test_a_parameter_that_is_a_secret_is_known_by_its_name(name: str) -> None:
    assert bare_address(f"http://host/?a=b&{name}={SECRET}") == f"http://host/?a=b&{name}=***"


@pytest.mark.parametrize(
    "address",
    [
        "http://host:5000/path?a=b",
        "postgresql://me@host:5432/db?sslmode=require&sslkey=/home/me/key.pem",
        "sqlite:////home/me@work/token=5/mlflow.db",
    ],
)
def test_an_address_without_secrets_stays_as_it_is(address: str) -> None:
    assert not has_credentials(address)
    assert bare_address(address) == address


@pytest.mark.parametrize(
    "text",
    [
        f"cannot connect (\"host=h password='two {SECRET}' user=me\")",
        f"{{'user': 'me', 'Password': '{SECRET}'}}",
        f'{{"token": "{SECRET}"}}',
        f"Max retries exceeded with url: /?token={SECRET} (Caused by x)",
        f"DRIVER=x;PWD={{two {SECRET}}};UID=me",
        f"uri: 'http://me:{SECRET}@host'",
    ],
)
def test_a_text_shows_no_secret_however_it_is_quoted(text: str) -> None:
    assert SECRET not in without_credentials(text)


def test_a_text_without_secrets_stays_as_it_is() -> None:
    text = "monkey=3, finetune.learning_rate: 0.1 (found 'x'), http://127.0.0.1:5000 is not there"
    assert without_credentials(text) == text
