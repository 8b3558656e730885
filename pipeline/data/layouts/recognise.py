"""Find out where split and label stand in the paths below a folder."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os.path import commonprefix
from typing import Final

from pipeline.data.layouts.names import split_named
from pipeline.data.layouts.pattern import literal
from pipeline.data.layouts.stems import find_stem_pattern

STRAY: Final = 0.1  # share of the files that may lie less deep than the others, such as a read-me picture
FEW_GROUPS: Final = (
    30  # more folders than these below the classes are rather patients or sessions than classes
)
UNLABELLED: Final = frozenset({"unsup", "unlabeled", "unlabelled", "unsupervised", "unknown", "no_label"})


@dataclass(frozen=True)
class Reading:
    """One way to read a folder.

    Attributes:
        layout: The pattern, as the recipe's ``data.layout`` takes it.
        said: What it means, in a few words, such as ``splits, then classes``.
        leave_out: Patterns of paths that hold no labelled samples, as ``data.leave_out`` takes them.
    """

    layout: str
    said: str
    leave_out: tuple[str, ...] = ()


def recognise(files: Sequence[str]) -> list[Reading]:
    """Return every way to read a folder, the likeliest first; none where no folder or name is a label.

    Args:
        files: Paths of the samples, relative to the folder, with ``/`` between names.
    """
    everything, affixes = _without_affixes([tuple(path.split("/")[:-1]) for path in files])
    training = [names for names in everything if any(split_named(name) == "train" for name in names)]
    depth = min(map(len, _deep_enough(training or everything)), default=0)
    folders = [names for names in everything if len(names) >= depth]
    split_level = _split_level(folders, depth)
    strange = _strange(folders, split_level)
    folders = [names for names in folders if split_level is None or names[split_level] not in strange]
    repeated = _repeated(folders, depth, split_level)
    levels = [
        level
        for level in range(depth)
        if level != split_level and level not in repeated and len({names[level] for names in folders}) > 1
    ]
    labels = [level for level in levels if split_level is None or _shared(folders, level, split_level)]
    if not labels:
        pattern = find_stem_pattern([path.rpartition("/")[2] for path in files])
        if not pattern:
            return []
        prefix = _pattern(folders, depth, None, split_level, affixes).removesuffix("**")
        return [Reading(prefix + pattern, _said("the beginning of each name is its class", split_level))]
    return [
        Reading(
            _pattern(folders, depth, level, split_level, affixes),
            _said(_which(level, labels, folders), split_level),
            (*(f"**/{literal(name)}/**" for name in strange), *_unlabelled(folders, level, split_level)),
        )
        for level in _by_likelihood(labels, folders)
    ]


def _without_affixes(
    folders: list[tuple[str, ...]],
) -> tuple[list[tuple[str, ...]], dict[int, tuple[str, str]]]:
    """Take off what the names of splits have in common, as in ``20news-bydate-train``.

    Returns:
        The folders with the bare names of splits, and what was taken off before and behind them, by level.
    """
    affixes = {}
    for level in range(min(map(len, folders), default=0)):
        names = sorted({each[level] for each in folders})
        before = re.sub(r"[^\W_]*$", "", commonprefix(names))  # noqa: RUF071 - characters are what is wanted
        behind = re.sub(r"^[^\W_]*", "", commonprefix([name[::-1] for name in names])[::-1])  # noqa: RUF071
        bare = [split_named(name[len(before) : len(name) - len(behind)]) for name in names]
        fixed = literal(before + behind) == before + behind
        if fixed and None not in map(split_named, names):
            continue
        if fixed and len(set(bare)) == len(bare) > 1 and None not in bare and "train" in bare:
            affixes[level] = before, behind
    bared = [
        tuple(_bare(name, *affixes.get(level, ("", ""))) for level, name in enumerate(names))
        for names in folders
    ]
    return (bared if affixes else folders), affixes


def _bare(name: str, before: str, behind: str) -> str:
    return name.removeprefix(before).removesuffix(behind)


def _deep_enough(folders: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Leave out the few files that lie less deep than all others."""
    depths = Counter(map(len, folders))
    shallow = 0
    for depth in sorted(depths):
        shallow += depths[depth]
        if shallow > STRAY * len(folders):
            return [names for names in folders if len(names) >= depth]
    return folders


def _split_level(folders: Sequence[tuple[str, ...]], depth: int) -> int | None:
    """Return the level of folders whose names are splits, ``train`` among them; None where there is none.

    A class may be called ``train`` too: beside ``bus`` and ``car`` it is no split. A further folder beside
    ``train`` and ``test`` is none of the data where what is below it is not what is below them.
    """
    for level in range(depth):
        names = Counter(each[level] for each in folders)
        splits = {name: split_named(name) for name in names}
        named = [name for name, split in splits.items() if split]
        if "train" not in splits.values():
            continue
        if len(named) == len(names) and (len(named) > 1 or depth > 1):
            return level
        if len({splits[name] for name in named}) > 1 and _hold_classes(folders, level, named):
            return level
    return None


def _strange(folders: Sequence[tuple[str, ...]], split_level: int | None) -> list[str]:
    """Return the names of the folders beside those of the splits that are none."""
    names = {each[split_level] for each in folders} if split_level is not None else set()
    return sorted(name for name in names if not split_named(name))


def _hold_classes(folders: Sequence[tuple[str, ...]], level: int, names: Sequence[str]) -> bool:
    """Return whether folders of one level hold folders of the same names, two at least."""
    below: dict[str, set[str]] = defaultdict(set)
    for each in folders:
        if len(each) > level + 1:
            below[each[level]].add(each[level + 1])
    return len(set.intersection(*(below[name] for name in names))) > 1


def _repeated(folders: Sequence[tuple[str, ...]], depth: int, split_level: int | None) -> set[int]:
    """Return the levels that say the split once more, as in ``seg_train/seg_train/forest``."""
    if split_level is None:
        return set()
    return {
        level
        for level in range(depth)
        if level != split_level
        and all(split_named(names[level]) == split_named(names[split_level]) for names in folders)
    }


def _shared(folders: Sequence[tuple[str, ...]], level: int, split_level: int) -> bool:
    """Return whether a level has two names at least in the training split."""
    return len({names[level] for names in folders if split_named(names[split_level]) == "train"}) > 1


def _by_likelihood(levels: list[int], folders: Sequence[tuple[str, ...]]) -> list[int]:
    """Order the levels that may hold the labels, the likeliest first.

    The folders inside a class that come again in another one, or are many, are its sessions or patients. A
    few of different names are finer classes, and then the lower level is the likelier.
    """
    first = levels[0]
    for upper, lower in pairwise(levels):
        parents: dict[str, set[str]] = defaultdict(set)
        for names in folders:
            parents[names[lower]].add(names[upper])
        are_classes = (
            all(len(each) == 1 for each in parents.values())
            and len(parents) <= FEW_GROUPS
            and not any(character.isdigit() for name in parents for character in name)
        )
        if not are_classes:
            break
        first = lower
    return [first, *(level for level in levels if level != first)]


def _pattern(
    folders: Sequence[tuple[str, ...]],
    depth: int,
    label_level: int | None,
    split_level: int | None,
    affixes: Mapping[int, tuple[str, str]],
) -> str:
    """Return the pattern in which one level holds the labels and another, perhaps, the splits."""
    last = max(-1 if level is None else level for level in (label_level, split_level))
    if label_level is None:
        last = depth - 1
    before, behind = affixes.get(split_level, ("", "")) if split_level is not None else ("", "")
    parts = []
    for level in range(last + 1):
        names = {each[level] for each in folders}
        one = literal(next(iter(names))) if len(names) == 1 else "*"
        parts.append({split_level: f"{before}{{split}}{behind}", label_level: "{label}"}.get(level, one))
    return "/".join([*parts, "**"])


def _which(level: int, levels: Sequence[int], folders: Sequence[tuple[str, ...]]) -> str:
    count = len({names[level] for names in folders})
    if len(levels) == 1:
        return f"each of {count} folders is a class"
    place = "uppermost" if level == levels[0] else "lowest" if level == levels[-1] else "middle"
    return f"each of the {count} {place} folders is a class"


def _said(labels: str, split_level: int | None) -> str:
    return labels if split_level is None else f"folders name the splits, and {labels}"


def _unlabelled(folders: Sequence[tuple[str, ...]], level: int, split_level: int | None) -> tuple[str, ...]:
    """Return the patterns of folders that only say that what they hold has no label, as IMDb's ``unsup``."""
    names = sorted({each[level] for each in folders if each[level].casefold() in UNLABELLED})
    if not names or split_level is None:
        return ()
    return tuple(f"**/{name}/**" for name in names)
