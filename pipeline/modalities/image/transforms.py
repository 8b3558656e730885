"""The transforms of torchvision.transforms.v2 that a recipe may name, checked without importing torch.

A transform may be named if it turns one picture into another, and its arguments are plain values.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

Transforms = tuple[dict[str, JsonValue], ...]


@dataclass(frozen=True)
class Rule:
    """What the value of an argument must be.

    Attributes:
        words: End of the sentence "it must be ...".
        holds: Says whether a value is so.
        required: Whether the argument must be given; False by default.
    """

    words: str
    holds: Callable[[object], bool]
    required: bool = False


def _in_range(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _are_in_range(value: object, low: float, high: float, count: int = 2) -> bool:
    """Say whether a value is a list of so many numbers in a range."""
    if not isinstance(value, list):
        return False
    return len(value) == count and all(_in_range(each, low, high) for each in value)


def number(low: float, high: float, *, required: bool = False) -> Rule:
    """Return the rule of a number in a range, both ends included."""
    return Rule(f"a number from {low:g} to {high:g}", lambda value: _in_range(value, low, high), required)


def whole(low: int, high: int, *, odd: bool = False, required: bool = False) -> Rule:
    """Return the rule of a whole number, or of an odd one."""

    def holds(value: object) -> bool:
        return isinstance(value, int) and _in_range(value, low, high) and (not odd or value % 2 == 1)

    return Rule(f"{'an odd' if odd else 'a whole'} number from {low} to {high}", holds, required)


def interval(low: float, high: float, *, or_one: bool = False, required: bool = False) -> Rule:
    """Return the rule of two numbers in order, or also of a single one."""

    def holds(value: object) -> bool:
        if isinstance(value, list):
            return _are_in_range(value, low, high) and value == sorted(value)
        return or_one and _in_range(value, max(0, low), high)

    alone = "a number, or " if or_one else ""
    return Rule(f"{alone}two numbers in order, from {low:g} to {high:g}", holds, required)


def pair(low: float, high: float) -> Rule:
    """Return the rule of two numbers, for the width and the height."""
    return Rule(f"two numbers from {low:g} to {high:g}", lambda value: _are_in_range(value, low, high))


def choice(*values: JsonValue) -> Rule:
    """Return the rule of one among some values."""
    return Rule(f"one of {', '.join(str(value) for value in values)}", lambda value: value in values)


FLAG: Final = Rule("true or false", lambda value: isinstance(value, bool))
CHANCE: Final = number(0, 1)
SIZE: Final = whole(1, 4096, required=True)
INTERPOLATION: Final = choice("nearest", "bilinear", "bicubic")
FILL: Final = Rule(
    "a number from 0 to 255, or three of them",
    lambda value: _in_range(value, 0, 255) or _are_in_range(value, 0, 255, 3),
)
PADDING: Final = choice("constant", "edge", "reflect", "symmetric")
INNER: Final = Rule(
    "a list of transforms", lambda value: isinstance(value, list) and value != [], required=True
)
FACTOR: Final = interval(0, 10, or_one=True)
LOOKS: Final = {"interpolation": INTERPOLATION, "fill": FILL}

RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "AugMix": {
        "severity": whole(1, 10),
        "mixture_width": whole(1, 10),
        "chain_depth": whole(-1, 10),
        "alpha": number(0.01, 100),
        "all_ops": FLAG,
        **LOOKS,
    },
    "AutoAugment": {"policy": choice("imagenet", "cifar10", "svhn"), **LOOKS},
    "CenterCrop": {"size": SIZE},
    "ColorJitter": {
        "brightness": FACTOR,
        "contrast": FACTOR,
        "saturation": FACTOR,
        "hue": interval(-0.5, 0.5, or_one=True),
    },
    "ElasticTransform": {"alpha": number(0, 1000), "sigma": number(0.1, 100), **LOOKS},
    "GaussianBlur": {
        "kernel_size": whole(1, 255, odd=True, required=True),
        "sigma": interval(0.01, 100, or_one=True),
    },
    "GaussianNoise": {"mean": number(-1, 1), "sigma": number(0, 1), "clip": FLAG},
    "Grayscale": {"num_output_channels": Rule("3", lambda value: value == 3, required=True)},
    "JPEG": {"quality": whole(1, 100, required=True)},
    "Pad": {"padding": whole(0, 4096, required=True), "fill": FILL, "padding_mode": PADDING},
    "RandAugment": {
        "num_ops": whole(1, 10),
        "magnitude": whole(0, 30),
        "num_magnitude_bins": whole(2, 100),
        **LOOKS,
    },
    "RandomAdjustSharpness": {"sharpness_factor": number(0, 100, required=True), "p": CHANCE},
    "RandomAffine": {
        "degrees": interval(-360, 360, or_one=True, required=True),
        "translate": pair(0, 1),
        "scale": interval(0.01, 100),
        "shear": interval(-89, 89, or_one=True),
        **LOOKS,
    },
    "RandomApply": {"transforms": INNER, "p": CHANCE},
    "RandomAutocontrast": {"p": CHANCE},
    "RandomChannelPermutation": {},
    "RandomChoice": {"transforms": INNER},
    "RandomCrop": {
        "size": SIZE,
        "padding": whole(0, 4096),
        "pad_if_needed": FLAG,
        "fill": FILL,
        "padding_mode": PADDING,
    },
    "RandomEqualize": {"p": CHANCE},
    "RandomErasing": {
        "p": CHANCE,
        "scale": interval(0, 1),
        "ratio": interval(0.01, 100),
        "value": number(0, 255),
    },
    "RandomGrayscale": {"p": CHANCE},
    "RandomHorizontalFlip": {"p": CHANCE},
    "RandomInvert": {"p": CHANCE},
    "RandomOrder": {"transforms": INNER},
    "RandomPerspective": {"distortion_scale": CHANCE, "p": CHANCE, **LOOKS},
    "RandomPhotometricDistort": {
        "brightness": interval(0, 10),
        "contrast": interval(0, 10),
        "saturation": interval(0, 10),
        "hue": interval(-0.5, 0.5),
        "p": CHANCE,
    },
    "RandomPosterize": {"bits": whole(0, 8, required=True), "p": CHANCE},
    "RandomResizedCrop": {
        "size": SIZE,
        "scale": interval(0.01, 1),
        "ratio": interval(0.01, 100),
        "interpolation": INTERPOLATION,
        "antialias": FLAG,
    },
    "RandomRotation": {"degrees": interval(-360, 360, or_one=True, required=True), **LOOKS},
    "RandomSolarize": {"threshold": number(0, 255, required=True), "p": CHANCE},
    "RandomVerticalFlip": {"p": CHANCE},
    "RandomZoomOut": {"fill": FILL, "side_range": interval(1, 10), "p": CHANCE},
    "Resize": {"size": SIZE, "interpolation": INTERPOLATION, "antialias": FLAG},
    "TrivialAugmentWide": {"num_magnitude_bins": whole(2, 100), **LOOKS},
}
"""The arguments of each transform, by its name, and what their values must be."""


def name_transforms(given: object) -> Transforms:
    """Return transforms as a recipe has them in one form: ``{name: {argument: value}}`` each.

    Args:
        given: A list of names, or of mappings from a name to its arguments.

    Raises:
        ValueError: Something is no transform, or an argument is unknown, missing or out of range; the message
            lists everything.
    """
    if not isinstance(given, list | tuple):
        raise ValueError(
            "must be a list of transforms, such as [RandomInvert, RandomRotation: {degrees: 10}]"
        )
    named = tuple(_in_one_form(item) for item in given)
    wrong = [fault for place, item in enumerate(named, 1) for fault in _faults(item, f"transform {place}")]
    if wrong:
        raise ValueError("; ".join(wrong))
    return named


def _in_one_form(item: JsonValue) -> dict[str, JsonValue]:
    """Return a transform as a mapping from its name to its arguments; what is none comes back as it is."""
    if isinstance(item, str):
        return {item: {}}
    if not isinstance(item, Mapping) or len(item) != 1:
        return {"": item}
    ((name, arguments),) = item.items()
    arguments = {} if arguments is None else arguments
    inner = arguments.get("transforms") if isinstance(arguments, dict) else None
    if isinstance(inner, list | tuple) and isinstance(arguments, dict):
        return {str(name): {**arguments, "transforms": [_in_one_form(each) for each in inner]}}
    return {str(name): arguments}


def _faults(item: dict[str, JsonValue], place: str) -> Iterator[str]:
    """Yield what is wrong with a transform in the one form."""
    ((name, arguments),) = item.items()
    if not name:
        yield f"{place} must be a name, or a mapping from one name to its arguments"
        return
    if name not in RULES:
        close = difflib.get_close_matches(name, RULES, n=1, cutoff=0.6)
        known = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(RULES)}"
        yield f"{place} `{name}` is none that a recipe may name; {known}"
        return
    if not isinstance(arguments, dict):
        yield f"{place} {name} must have its arguments by name"
        return
    yield from _argument_faults(name, arguments, place)


def _argument_faults(name: str, arguments: dict[str, JsonValue], place: str) -> Iterator[str]:
    """Yield what is wrong with the arguments of a transform that is known."""
    rules = RULES[name]
    for key, value in arguments.items():
        if key not in rules:
            known = ", ".join(rules) or "none"
            yield f"{place} {name}.{key} is no argument that a recipe may give; known here: {known}"
        elif not rules[key].holds(value):
            yield f"{place} {name}.{key} must be {rules[key].words}"
        elif rules[key] is INNER and isinstance(value, list):
            for inner, each in enumerate(value, 1):
                if isinstance(each, dict):
                    yield from _faults(each, f"{place} {name}, {inner}")
    missing = [key for key, rule in rules.items() if rule.required and key not in arguments]
    if missing:
        yield f"{place} {name} needs {', '.join(missing)}"
