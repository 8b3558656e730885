"""The encoders of texts that can be used here: folders in the hub's layout, in packages and in the cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.files.shipped import find_shipped
from pipeline.modalities.caches import cached_folders
from pipeline.modalities.offers import Offer

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model")
WELL_KNOWN = (
    ("sentence-transformers/paraphrase-MiniLM-L3-v2", 17.4),
    ("sentence-transformers/all-MiniLM-L6-v2", 22.7),
    ("BAAI/bge-small-en-v1.5", 33.4),
    ("distilbert/distilbert-base-uncased", 66.4),
    ("sentence-transformers/all-mpnet-base-v2", 109.5),
)
"""Names of encoders of several sizes, and their published millions of parameters."""
LONGEST = 1_000_000  # tokenizers without a limit have a number of thirty digits


def list_offers(find: str | None) -> Iterator[Offer]:  # noqa: ARG001 - the protocol's
    """Yield the encoders whose weights are on this machine."""
    seen = set()
    for file in find_shipped():
        folder = file.path.parent
        if folder in seen or not is_encoder(folder):
            continue
        seen.add(folder)
        source = file.source.rpartition("/")[0]
        yield _describe(folder, source, _name_in(folder), f"package {file.package}", file.licence)
    for name, folder in cached_folders():
        if is_encoder(folder):
            yield _describe(folder, "hub", name, "cache of Hugging Face", _licence_in(folder))


def is_encoder(folder: Path) -> bool:
    """Say whether a folder has a network's configuration, its weights and a tokenizer."""
    return (
        (folder / "config.json").is_file()
        and any((folder / name).is_file() for name in WEIGHTS)
        and any((folder / name).is_file() for name in TOKENIZERS)
    )


def _describe(folder: Path, weights: str, name: str, place: str, licence: str | None) -> Offer:
    """Return what is known of an encoder without loading it."""
    return Offer(
        kind="text",
        place=place,
        is_here=True,
        name=name,
        weights=weights,
        parameters=_parameters_in(folder),
        takes=_length_in(folder),
        licence=licence,
    )


def _parameters_in(folder: Path) -> int | None:
    """Return the number of parameters of a file of safetensors, by its header; None for other files."""
    path = folder / WEIGHTS[0]
    if not path.is_file():
        return None
    from pipeline.modalities.headers import count_parameters

    return count_parameters(path)


def _length_in(folder: Path) -> str | None:
    """Return the longest text that a network takes, for people; None where nothing says it."""
    config, tokenizer = (_read(folder / name) for name in ("config.json", "tokenizer_config.json"))
    lengths = [
        value
        for value in (config.get("max_position_embeddings"), tokenizer.get("model_max_length"))
        if isinstance(value, int) and value < LONGEST
    ]
    return f"{min(lengths)} tokens" if lengths else None


def _name_in(folder: Path) -> str:
    """Return the name that a network's configuration has for it, or else its folder's."""
    name = _read(folder / "config.json").get("_name_or_path")
    return name if isinstance(name, str) and name and not Path(name).is_absolute() else folder.name


def _licence_in(folder: Path) -> str | None:
    """Return the licence that a model's card names on its first lines; None where it names none."""
    try:
        lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()[:60]
    except (OSError, UnicodeDecodeError):
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), None)


def _read(path: Path) -> dict[str, object]:
    """Read a JSON object; an empty one where there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
