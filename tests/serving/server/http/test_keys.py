from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.model.errors import SettingsError
from serving.server.http.keys import LEAST_CHARACTERS, Keys

OLD, NEW = "old-key-0123456789", "new-key-0123456789"
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=LEAST_CHARACTERS, max_size=40)


@given(st.lists(KEYS, min_size=1, max_size=4), KEYS)
def test_keys_accept_those_that_are_listed_and_no_other(listed: list[str], other: str) -> None:
    keys = Keys(listed)
    assert all(keys.accept(key) for key in listed)
    assert keys.accept(other) is (other in listed)
    assert not any(keys.accept(bad) for bad in (None, "", listed[0][:-1], listed[0] + "x"))


def test_keys_ask_for_nothing_when_there_are_none() -> None:
    assert not Keys().are_set
    assert not Keys().accept("anything at all, long")


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# for the batch job\n{OLD}\n\n")
    keys = Keys(file=file)
    assert keys.accept(OLD)
    file.write_text(f"{NEW}\n{OLD}x\n")
    keys.refresh()
    assert (keys.accept(OLD), keys.accept(NEW)) == (False, True)


@pytest.mark.parametrize("content", ["", "# nothing\n", "short\n", None])
def test_the_keys_stay_when_their_file_becomes_useless(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(OLD)
    keys = Keys(file=file)
    file.unlink() if content is None else file.write_text(content)
    keys.refresh()
    assert keys.accept(OLD)
    assert "the earlier ones stay" in caplog.text
    assert OLD not in caplog.text


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "no_keys"),
        (b"\xff\xfe", "no_keys"),
        (b"secret", "weak_key"),
        ("secret-schlüssel-0123".encode(), "bad_key"),
        (b"secret-0123456789  # mine", "bad_key"),
    ],
)
def test_a_useless_file_of_keys_is_refused_at_the_start_without_showing_it(
    tmp_path: Path, content: bytes, code: str
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        Keys(file=file)
    assert refused.value.code == code
    assert str(file) in refused.value.message
    assert "secret" not in refused.value.message.replace("import secrets", "").replace("secrets.token", "")


def test_keys_hold_hashes_only(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(NEW)
    keys = Keys([OLD], tmp_path / "keys")
    assert OLD not in repr(vars(keys))
    assert NEW not in repr(vars(keys))
    assert os.fspath(tmp_path) in repr(vars(keys))
