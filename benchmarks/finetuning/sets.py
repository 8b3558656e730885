"""The data sets that nobody tuned Graft's defaults for: all of them are shipped by packages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from finetuning import pictures, texts
from finetuning.packages import Packages


@dataclass(frozen=True)
class LabelledSet:
    """A data set.

    Attributes:
        modality: The kind of input, ``image`` or ``text``.
        write: Function that writes it into an empty folder.
    """

    modality: str
    write: Callable[[Packages, Path], None]

    def build(self, packages: Packages, folder: Path) -> Path:
        """Write the data set unless it is there, and return its folder or table for ``graft init``."""
        if not folder.exists():
            partial_folder = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial_folder, ignore_errors=True)
            partial_folder.mkdir(parents=True)
            self.write(packages, partial_folder)
            partial_folder.rename(folder)
        return folder if self.modality == "image" else folder / "texts.csv"


SIX = "actions apps devices mimetypes"
SETS = {
    "cells-200": LabelledSet("image", partial(pictures.cells, count=200)),
    "cells-800": LabelledSet("image", partial(pictures.cells, count=800)),
    "crystals-400": LabelledSet("image", partial(pictures.cells, count=400, column=2)),
    "faces-200": LabelledSet("image", pictures.faces),
    "digits-600": LabelledSet("image", partial(pictures.digits, count=600)),
    "mnist-1500": LabelledSet("image", partial(pictures.mnist, count=1500)),
    "icons-mate": LabelledSet(
        "image",
        partial(
            pictures.icons, theme="mate/48x48", package="mate-icon-theme", contexts=f"{SIX} emotes status"
        ),
    ),
    "icons-oxygen": LabelledSet(
        "image",
        partial(
            pictures.icons,
            theme="oxygen/base/128x128",
            package="oxygen-icon-theme",
            contexts=f"{SIX} places status",
        ),
    ),
    "climates-900": LabelledSet("image", pictures.climates),
    "tweets-300": LabelledSet("text", partial(texts.tweets, count=300)),
    "tweets-1500": LabelledSet("text", partial(texts.tweets, count=1500)),
    "tweets-5000": LabelledSet("text", partial(texts.tweets, count=5000)),
    "films-1000": LabelledSet(
        "text", partial(texts.rated, name="movieReviewSnippets", count=1000, classes=2)
    ),
    "editorials-900": LabelledSet(
        "text", partial(texts.rated, name="nytEditorialSnippets", count=900, classes=3)
    ),
    "products-600": LabelledSet(
        "text", partial(texts.rated, name="amazonReviewSnippets", count=600, classes=2)
    ),
    "books-140": LabelledSet(
        "text", partial(texts.corpus, name="book-excerpts", count=140, text="Text", label="Category")
    ),
    "speakers-1200": LabelledSet("text", partial(texts.speakers, count=1200)),
    "candidates-800": LabelledSet(
        "text", partial(texts.corpus, name="election-tweets-2016", count=800, text="Content", label="Author")
    ),
    "agencies-800": LabelledSet(
        "text", partial(texts.corpus, name="reuters-r8-train", count=800, text="Text", label="Category")
    ),
    "newsgroups-1000": LabelledSet(
        "text", partial(texts.corpus, name="20newsgroups-train", count=1000, text="Text", label="Category")
    ),
    "opinions-1000": LabelledSet(
        "text", partial(texts.corpus, name="slo-opinion-corpus", count=1000, text="Content", label="Category")
    ),
}
