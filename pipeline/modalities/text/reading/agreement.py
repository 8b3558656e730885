# ruff: noqa: RUF001 - the letters are meant
"""Texts on which two tokenizers are held to be the same, or are shown not to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

Encode = Callable[[str], Sequence[int]]

PROBES: Final = (
    "",
    " ",
    "hello world",
    "The quick brown Fox jumps over THE lazy dog.",
    "  two  spaces   and one at the end ",
    "line\nbreak\ttab\r\nand more",
    "100 2024 12,345.67 1,000,000 3rd 50% $9.99",
    "don't can't we've it's o'clock",
    "e-mail: name@example.com, https://example.com/a?b=c&d=1#e",
    "``quoted'' \"words\" (and) [brackets] {braces} <tags/>",
    "naïve café Ångström Straße İstanbul ŒUVRE",
    "e\u0301 n\u0303 a\u030a o\u0302\u0301 q\u0323\u0307",
    "ﬁne ½ ² Ⅳ ＡＢＣ１２３ ﷺ ㎏ ™",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u3053\u3093\u306b\u3061\u306f \uc548\ub155\ud558\uc138\uc694",
    "Привет мир Γειά σου שלום مرحبا नमस्ते क्षि สวัสดี",
    "🎉🎉 party 😀👍🏽 👩‍👩‍👧‍👦 🇩🇪 🫠",
    "zero\u200bwidth non\u00a0breaking soft\u00adhyphen thin\u2009space \ufeffmark",
    "… ‘single’ “double” – — • · ¿ ¡ § ¶",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ALLCAPS mixedCase snake_case kebab-case x=y+z; a*b/c^d|e~f`g\\h",
    "▁ under ▁▁score ▁",
    "!?!?... ,,, ;;; :-) :D <3",
    "\U00010348 \U0001d54f \u2603 \ue000",
)


def first_difference(first: Encode, second: Encode) -> str | None:
    """Return the first text that two tokenizers give different ids; None where they agree on all.

    Args:
        first: A function from a text to its token ids.
        second: The other.
    """
    return next((text for text in PROBES if list(first(text)) != list(second(text))), None)
