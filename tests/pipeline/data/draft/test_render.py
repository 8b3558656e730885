from __future__ import annotations

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data.draft.render import yaml_of

TEXTS = st.text(
    st.one_of(
        st.sampled_from(
            "a b\n\r\t\0\x7f\x85\u2028\ufeff\u200b\"'\\#:{}[]*&!%@`\udce9\ue000\U0001f600\U000e0001"
        ),
        st.characters(),
    ),
    max_size=50,
)


@given(TEXTS)
@example("\U0001f600\n")
def test_yaml_of_writes_one_line_that_reads_as_what_it_was(text: str) -> None:
    written = yaml_of({text: [text]})
    assert written.isprintable()
    assert yaml.safe_load(f"key: {written}  # comment\n") == {"key": {text: [text]}}
