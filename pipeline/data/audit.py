"""The audit of every example before anything trains on it: it must be readable, unique, and of one label."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pipeline.data.labelled import Labelled
from pipeline.errors import DataError
from pipeline.modalities.content import Content
from pipeline.recipe.data import Data
from pipeline.reporting.progress import track
from serving.model.errors import InputRefusedError
from serving.model.runtimes.machine import cpu_limit

LISTED = 10


@dataclass(frozen=True)
class Audited:
    """A usable example.

    Attributes:
        example: The example.
        sha256: SHA-256, in hexadecimal, of its bytes.
        identity: Hash, in hexadecimal, that it shares with every example that is the same to a person.
    """

    example: Labelled
    sha256: str
    identity: str


@dataclass(frozen=True)
class Findings:
    """The examples that the audit kept, and those that it left out.

    Attributes:
        kept: The examples that can be trained on, in the order in which they were given.
        unreadable: Examples that serving would refuse: the reason, by the example's source.
        repeats: Copies of examples that are kept: the kept example's source, by the copy's source.
        conflicts: Groups of equal examples under different labels: in each, the label by the source.
    """

    kept: list[Audited]
    unreadable: dict[str, str]
    repeats: dict[str, str]
    conflicts: list[dict[str, str]]


def audit(examples: Sequence[Labelled], data: Data, content: Content) -> Findings:
    """Check every example and keep what can be trained on.

    Args:
        examples: The examples that intake found.
        data: The recipe's section ``data``, which says what to do with unreadable and conflicting examples.
        content: The judge of an example's bytes.

    Raises:
        DataError: An example is unreadable, or equal ones have different labels, and the recipe says
            ``refuse``.
    """
    with ThreadPoolExecutor(cpu_limit()) as pool:
        outcomes = pool.map(partial(_audit_one, content=content), examples)
        audited = list(track(outcomes, total=len(examples), what="audit", unit="examples"))
    unreadable = {
        example.source: item for example, item in zip(examples, audited, strict=True) if isinstance(item, str)
    }
    if unreadable and data.on_unreadable == "refuse":
        lines = [f"{source}: {reason}" for source, reason in unreadable.items()]
        raise DataError(
            _listing(f"{len(lines)} example(s) cannot be read", lines, "data.on_unreadable: skip")
        )
    return _without_copies([item for item in audited if isinstance(item, Audited)], unreadable, data)


def _audit_one(example: Labelled, content: Content) -> Audited | str:
    """Return the example with its hashes, or the reason why it cannot be used."""
    try:
        data = example.read()
        content.check(data)
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return error.strerror or str(error)
    except InputRefusedError as refusal:
        return refusal.message
    return Audited(example, hashlib.sha256(data).hexdigest(), content.identity(data))


def _without_copies(readable: list[Audited], unreadable: dict[str, str], data: Data) -> Findings:
    """Keep one of each group of equal examples, and none of a group whose labels differ."""
    groups: dict[str, list[Audited]] = defaultdict(list)
    for item in readable:
        groups[item.identity].append(item)
    conflicts = [
        {item.example.source: item.example.label for item in group}
        for group in groups.values()
        if not _agree(group)
    ]
    if conflicts and data.on_conflict == "refuse":
        lines = [
            " = ".join(f"{source} ({label})" for source, label in [*group.items()][:LISTED])
            for group in conflicts
        ]
        raise DataError(
            _listing(
                f"{len(lines)} content(s) appear under different labels", lines, "data.on_conflict: skip"
            )
        )
    agreed = [group for group in groups.values() if _agree(group)]
    return Findings(
        kept=[group[0] for group in agreed],
        unreadable=unreadable,
        repeats={item.example.source: group[0].example.source for group in agreed for item in group[1:]},
        conflicts=conflicts,
    )


def _agree(group: list[Audited]) -> bool:
    return len({item.example.label for item in group}) == 1


def _listing(what: str, lines: list[str], remedy: str) -> str:
    shown = "\n".join(f"  {line}" for line in lines[:LISTED])
    more = f"\n  … and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    return (
        f"{what}:\n{shown}{more}\n"
        f"Mend or remove them, or set `{remedy}` in the recipe to leave them out and count them in the"
        " report."
    )
