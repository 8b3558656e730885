"""What to say of a name that timm does not have: the names, or the sets of weights, that are near it."""

from __future__ import annotations

import difflib

import timm

ORGANISATION = "timm/"
"""What stands before timm's names on the hub."""
SHOWN, SHOWN_TAGS = 5, 12
CUTOFF = 0.6


def describe_unknown(name: str) -> str:
    """Return the sentences of an error for a name that timm cannot create.

    Args:
        name: A name that is none of timm's architectures, or has a tag behind its dot that this one has not.
    """
    bare = name.lower().removeprefix(ORGANISATION)
    architecture, dot, tag = bare.partition(".")
    if dot and timm.is_model(architecture):
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        if tag not in tags:
            near = difflib.get_close_matches(tag, tags, n=SHOWN_TAGS, cutoff=0.0)
            more = " …" if len(tags) > len(near) else ""
            return (
                f"timm has no weights `{tag}` for {architecture}. It has {', '.join(near) or 'none'}{more}; "
                f"without a tag, `{architecture}` is its default."
            )
    return (
        f"timm has no `{name}`. Near it: {', '.join(_near(architecture, tag)) or 'nothing'}; "
        "all: timm.list_models(); networks of the hub are written hf-hub:ORGANISATION/NAME"
    )


def _near(architecture: str, tag: str) -> list[str]:
    """Return up to five names of timm's that are near one: the same letters first, then beginnings, then all.

    Args:
        architecture: The name in small letters, without its tag.
        tag: The tag, which names that have weights of that tag get; may be empty.
    """
    wanted = _letters(architecture)
    known = {_letters(name): name for name in timm.list_models()}
    if not wanted:
        return []
    begins = sorted((key for key in known if key.startswith(wanted)), key=len)
    alike = difflib.get_close_matches(wanted, known, n=SHOWN, cutoff=CUTOFF)
    keys = list(dict.fromkeys([*begins, *alike]))[:SHOWN]
    names = [known[key] for key in keys]
    return [f"{name}.{tag}" if tag and timm.list_pretrained(f"{name}.{tag}") else name for name in names]


def _letters(name: str) -> str:
    """Return the letters and digits of a name."""
    return "".join(letter for letter in name if letter.isalnum())
