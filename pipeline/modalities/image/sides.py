"""Labels that name a side, a digit or a character: pictures under them must not be mirrored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from pipeline.reporting.printable import printable

Axis = Literal["horizontal", "vertical"]

# Words in several languages that a mirror swaps. One of them is enough: that the other side has no class of
# its own does not make its pictures ones of this side.
SWAPPED: Final[dict[Axis, str]] = {
    "horizontal": """
        left right leftward rightward leftwards rightwards lefthand righthand sinistral dextral
        links rechts linke rechte linker rechter linkes rechtes
        gauche droite droit izquierda derecha izquierdo derecho sinistra destra sinistro destro
        esquerda direita esquerdo direito lewo prawo lewy prawy lewa prawa
        лево право левый правый левая правая налево направо слева справа 左 右
        east west eastward westward northeast northwest southeast southwest ost est ouest este oeste
        clockwise counterclockwise anticlockwise cw ccw port starboard slash backslash
    """,
    "vertical": """
        up down upward downward upwards downwards top bottom upper lower above below upright
        oben unten haut bas arriba abajo sopra sotto su giù cima baixo вверх вниз 上 下
        north south northward southward northeast northwest southeast southwest nord süd sud norte sur
        clockwise counterclockwise anticlockwise cw ccw slash backslash
    """,
}
ARROWS: Final[dict[Axis, str]] = {
    "horizontal": "←→↔↖↗↘↙⇐⇒⬅➡➔➜⟵⟶↩↪↶↷↺↻⟲⟳«»<>◀▶◁▷👈👉",
    "vertical": "↑↓↕↖↗↘↙⇑⇓⬆⬇⟰⟱↶↷↺↻⟲⟳▲▼△▽^👆👇",
}
# Words that say that the labels are digits, letters or other characters.
CHARACTERS: Final = """
    digit digits letter letters character characters char numeral numerals number glyph alphabet hiragana
    katakana kanji hangul ziffer ziffern buchstabe buchstaben zahl chiffre lettre letra letras cifra lettera
    цифра буква
"""
NUMBERS: Final = "zero one two three four five six seven eight nine ten"
# Pairs of characters, each of which a mirror turns into the other.
TWINS: Final[dict[Axis, frozenset[str]]] = {
    "horizontal": frozenset({"bd", "pq", "()", "[]", "{}", "<>", "/\\", "25", "sz", "69", "ez"}),
    "vertical": frozenset({"bp", "dq", "mw", "un", "69", "25", "sz", "/\\", "^v"}),
}
LISTED: Final = 3
FEW: Final = 2
WORD: Final = re.compile(r"[^\W\d_]+")
CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def why_not_mirror(labels: Sequence[str], axis: Axis) -> str | None:
    """Return why pictures with these labels must not be mirrored, as the part of a sentence after "since".

    Args:
        labels: Names of the classes.
        axis: ``horizontal`` for left to right, ``vertical`` for top to bottom.

    Returns:
        Such as ``'left' and 'right' are swapped by a mirror``; None where the labels say nothing.
    """
    words = {label: {word.casefold() for word in WORD.findall(CAMEL.sub(" ", label))} for label in labels}

    def saying(known: str) -> list[str]:
        return [label for label in labels if not words[label].isdisjoint(known.split())]

    sides = saying(SWAPPED[axis]) or [label for label in labels if not set(label).isdisjoint(ARROWS[axis])]
    if sides:
        verb = "names a side" if len(sides) == 1 else "name sides"
        return f"{_listed(sides)} {verb}, which a mirror swaps"
    counted = saying(NUMBERS)
    single = [label.strip() for label in labels if len(label.strip()) == 1 or label.strip().isdecimal()]
    named = saying(CHARACTERS) or (counted if len(counted) > FEW else [])
    if not named and len(single) == len(labels) and (len(labels) > FEW or _are_twins(single, axis)):
        named = single
    return f"{_listed(named)} may stand for characters, which a mirror makes others" if named else None


def _are_twins(labels: Sequence[str], axis: Axis) -> bool:
    """Say whether a mirror makes one of two labels the other: two alone may be mere names, as 0 and 1 are."""
    return "".join(sorted(label.casefold() for label in labels)) in {
        "".join(sorted(pair)) for pair in TWINS[axis]
    }


def _listed(labels: Sequence[str]) -> str:
    """Return some labels as the subject of a sentence."""
    names = [f"'{printable(label, 40)}'" for label in labels[:LISTED]]
    more = len(labels) - len(names)
    if more:
        return f"the labels {', '.join(names)} and {more} more"
    return (
        f"the label {names[0]}" if len(names) == 1 else f"the labels {', '.join(names[:-1])} and {names[-1]}"
    )
