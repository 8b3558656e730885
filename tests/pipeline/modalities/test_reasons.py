from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.modalities.reasons import LONGEST, reason_of


def test_reason_is_the_first_line_that_says_something_without_codes_of_a_terminal() -> None:
    message = "\x1b[96m\n[torch.onnx] \x1b[1mFailed\x1b[0m to export   the model ❌\x1b[0m\nThis is step 1/3"
    assert reason_of(RuntimeError(message)) == "[torch.onnx] Failed to export the model ❌"


def test_reason_is_the_class_when_the_error_says_nothing() -> None:
    assert reason_of(AssertionError()) == "AssertionError"
    assert reason_of(ValueError("\n---\n")) == "ValueError"


@given(st.text())
def test_reason_is_one_short_line_of_whatever_a_library_says(message: str) -> None:
    reason = reason_of(RuntimeError(message))
    assert 0 < len(reason) <= LONGEST
    assert reason.isprintable()
