"""The tokenizer of a folder, in the format of the library `tokenizers`, which is what serving runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pipeline.errors import GraftError
from pipeline.machine.extras import require
from pipeline.modalities.text.reading.agreement import first_difference
from pipeline.modalities.text.reading.layout import Layout
from pipeline.modalities.text.reading.library import explain, quiet
from pipeline.modalities.text.reading.sentencepieces import REMEDY, exact_tokenizer

log = logging.getLogger("graft")
TOKENIZER_FILE = "tokenizer.json"
SENTENCEPIECE_FILES = (
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
    "sentencepiece.model",
)
NO_LIMIT = 1_000_000  # what is above it is transformers' way to say that there is none
LLAMA_KINDS = ("llama", "mistral", "gemma", "gemma2")
SHOWN = 5


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer.

    Attributes:
        document: The tokenizer as JSON, without padding and truncation of its own.
        pad_ids: Ids with which short texts may be padded, the best first.
        limit: Number of tokens that the folder notes as the most; None for no such note.
    """

    document: dict[str, Any]
    pad_ids: tuple[int, ...]
    limit: int | None

    def to_bytes(self) -> bytes:
        """Return the content of a file ``tokenizer.json``."""
        return json.dumps(self.document, ensure_ascii=False).encode()


def load_tokenizer(
    layout: Layout,
    config: Any,  # noqa: ANN401 - transformers is untyped here
) -> LoadedTokenizer:
    """Load a folder's tokenizer.

    Args:
        layout: Where the parts of the encoder are.
        config: transformers' configuration of the encoder.

    Raises:
        GraftError: There is none, or none that the library `tokenizers` can run with the same ids.
    """
    folder = layout.folder
    stated = _read(folder / "tokenizer_config.json")
    model = _sentencepiece_file(folder)
    options = {"tokenizer_type": "t5"} if model and config.model_type in {"umt5", "longt5"} else {}
    tokenizer = _load_fast(folder, options)
    if model is not None:
        fast = exact_tokenizer(tokenizer, _class_name(tokenizer, config, stated), model, stated)
    else:
        fast = _as_in_file(tokenizer.backend_tokenizer, folder / TOKENIZER_FILE)
    document = json.loads(fast.to_str())
    document["padding"] = document["truncation"] = None
    if not (folder / TOKENIZER_FILE).is_file():
        _require_words(fast, tokenizer.all_special_tokens, folder)
        if "do_lower_case" not in stated:
            _keep_capitals(document)
    notes = _read(layout.folder / "sentence_bert_config.json")
    if notes.get("do_lower_case") is True:
        _lower(document)
    limits = (notes.get("max_seq_length"), tokenizer.model_max_length)
    # Kinds with a configuration for each of their parts, and a few others, have no such key.
    configured = getattr(config, "pad_token_id", None)
    pad_ids = (tokenizer.pad_token_id, configured, tokenizer.eos_token_id, 0)
    return LoadedTokenizer(
        document=document,
        pad_ids=tuple(token for token in pad_ids if isinstance(token, int) and token >= 0),
        limit=next((limit for limit in limits if isinstance(limit, int) and 0 < limit < NO_LIMIT), None),
    )


def _load_fast(folder: Path, options: Mapping[str, str]) -> Any:  # noqa: ANN401 - as above
    """Load a folder's tokenizer by transformers; GraftError unless the library `tokenizers` can run it."""
    try:
        with quiet():
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # transformers raises many unrelated types
        raise explain(folder, error) from error
    if not getattr(tokenizer, "is_fast", False):
        raise GraftError(
            f"backbone: {folder} has no tokenizer that the `tokenizers` library can run, and serving needs "
            f"one: its {type(tokenizer).__name__} runs in Python alone. Choose one with a {TOKENIZER_FILE}."
        )
    return tokenizer


def drop_tokens_without_rows(loaded: LoadedTokenizer, rows: int, place: str | Path) -> LoadedTokenizer:
    """Return a tokenizer whose ids are all rows of an encoder's table of embeddings.

    A special token that was added later, and for which the table was not made larger, is left out: texts do
    not come with it.

    Args:
        loaded: The tokenizer.
        rows: Number of rows of the table.
        place: Where it was read from, for the errors.

    Raises:
        GraftError: An id that texts need has no row.
    """
    document = loaded.document
    vocabulary = Tokenizer.from_str(json.dumps(document)).get_vocab(with_added_tokens=False)
    largest = max(vocabulary.values(), default=-1) + 1
    if largest > rows:
        raise GraftError(
            f"backbone: the tokenizer of {place} has {largest} tokens, but the encoder only {rows}: it is "
            "another model's."
        )
    lacking = [token for token in document["added_tokens"] if token["id"] >= rows]
    frame = {str(number) for number in _ids_in(document.get("post_processor"))}
    needed = [token for token in lacking if not token["special"] or str(token["id"]) in frame]
    if needed:
        named = ", ".join(f"`{token['content']}`" for token in needed[:SHOWN])
        more = f" and {len(needed) - SHOWN} more" if len(needed) > SHOWN else ""
        raise GraftError(
            f"backbone: {named}{more} was added to the tokenizer of {place}, but the encoder has no row for "
            f"it ({rows} rows). Call model.resize_token_embeddings(len(tokenizer)) and train it again, or "
            "remove the token."
        )
    if lacking:
        named = ", ".join(f"`{token['content']}`" for token in lacking[:SHOWN])
        log.info(
            "backbone: the special token %s has no row in the encoder, and is read as plain text.", named
        )
    kept = [token for token in document["added_tokens"] if token["id"] < rows]
    return LoadedTokenizer(
        document={**document, "added_tokens": kept},
        pad_ids=tuple(token for token in loaded.pad_ids if token < rows),
        limit=loaded.limit,
    )


def _read(path: Path) -> Mapping[str, Any]:
    """Return the JSON object of a file that need not be there; transformers refuses a broken one."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _sentencepiece_file(folder: Path) -> Path | None:
    """Return the sentencepiece model of a folder without a fast tokenizer; GraftError for one of tiktoken."""
    if (folder / TOKENIZER_FILE).is_file():
        return None
    path = next((folder / name for name in SENTENCEPIECE_FILES if (folder / name).is_file()), None)
    ranks = path if path is not None and _is_tiktoken(path) else next(folder.glob("*.tiktoken"), None)
    if ranks is not None or (folder / "tekken.json").is_file():
        raise GraftError(
            f"backbone: the tokenizer of {folder} is {ranks.name if ranks else 'tekken.json'} alone, which "
            f"does not say how texts are split. {REMEDY}"
        )
    if path is not None:
        require("sentencepiece")
    return path


def _is_tiktoken(path: Path) -> bool:
    """Say whether a file is a list of tokens in base64 with their ranks."""
    with path.open("rb") as file:
        parts = file.readline(1000).split()
    return len(parts) == 2 and parts[1].isdigit()


def _class_name(tokenizer: Any, config: Any, stated: Mapping[str, Any]) -> str:  # noqa: ANN401 - as above
    """Return the name of a tokenizer's class, where transformers built a general one as well."""
    name = type(tokenizer).__name__
    if name != "TokenizersBackend":
        return name
    kind = "LlamaTokenizer" if config.model_type in LLAMA_KINDS else name
    return str(stated.get("tokenizer_class") or kind).removesuffix("Fast")


def _as_in_file(backend: Tokenizer, path: Path) -> Tokenizer:
    """Return a tokenizer as its file has it, where transformers made another of it.

    It rebuilds some classes from their vocabulary, with a normalisation of its own.
    """
    if not path.is_file():
        return backend
    own = Tokenizer.from_file(str(path))
    for tokenizer in (own, backend):
        tokenizer.no_padding()
        tokenizer.no_truncation()
    differing = first_difference(lambda text: own.encode(text).ids, lambda text: backend.encode(text).ids)
    if differing is None:
        return backend
    log.info("backbone: %s is used as it is; transformers reads %.40r in another way.", path.name, differing)
    return own


def _require_words(fast: Tokenizer, special: Sequence[str], folder: Path) -> None:
    """Refuse a tokenizer of special tokens alone, which transformers makes where there is no vocabulary."""
    if not fast.get_vocab(with_added_tokens=False).keys() - set(special):
        raise GraftError(
            f"backbone: {folder} has no vocabulary that transformers finds. Add its {TOKENIZER_FILE}, or the "
            "files of its vocabulary."
        )


def _keep_capitals(document: dict[str, Any]) -> None:
    """Let BERT's capitals stay where its vocabulary has some and nothing says that they are made small."""
    normalizer = document["normalizer"]
    if normalizer is None or normalizer.get("type") != "BertNormalizer" or not normalizer["lowercase"]:
        return
    special = {token["content"] for token in document["added_tokens"]}
    words = document["model"]["vocab"].keys() - special
    if any(word != word.lower() and not word.startswith("[") for word in words):
        normalizer["lowercase"] = False
        log.info("backbone: the vocabulary has capitals, so that texts keep theirs.")


def _lower(document: dict[str, Any]) -> None:
    """Make a tokenizer's capitals small first, as sentence-transformers' ``do_lower_case`` asks."""
    lower = {"type": "Lowercase"}
    normalizer = document.get("normalizer")
    document["normalizer"] = (
        lower if normalizer is None else {"type": "Sequence", "normalizers": [lower, normalizer]}
    )


def _ids_in(part: object) -> list[int]:
    """Return all numbers in a part of a tokenizer's JSON: the ids of the special tokens around a text."""
    if isinstance(part, Mapping):
        return [number for value in part.values() for number in _ids_in(value)]
    if isinstance(part, list):
        return [number for value in part for number in _ids_in(value)]
    return [part] if isinstance(part, int) and not isinstance(part, bool) else []
