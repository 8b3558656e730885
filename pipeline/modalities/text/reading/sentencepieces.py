"""A fast tokenizer from a sentencepiece model, whose ids are proven to be sentencepiece's own.

The conversion of transformers gives some kinds other ids than they were pretrained with (Llama without the
space before the first word, RemBERT without its special tokens), so that its normalisation and its special
tokens are replaced.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Regex, Tokenizer, normalizers, processors

from pipeline.errors import GraftError
from pipeline.machine.extras import require
from pipeline.modalities.text.reading.agreement import first_difference

SPACE = "\u2581"
REMEDY = (
    "Save its tokenizer as tokenizer.json, with the version of transformers that it was made with: "
    "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)


@dataclass(frozen=True)
class Kind:
    """How a class of tokenizers uses sentencepiece.

    Attributes:
        first: Names of the special tokens before a text, as attributes of the tokenizer.
        last: Names of those after it.
        offset: What is added to the ids of sentencepiece; 0 by default.
        cleans: Whether spaces and quotes are made uniform beforehand; False by default.
        accents: Whether accents stay, by default; True by default.
        lower: Whether capitals become small, by default; False by default.
    """

    first: tuple[str, ...]
    last: tuple[str, ...]
    offset: int = 0
    cleans: bool = False
    accents: bool = True
    lower: bool = False


_BERT = (("cls_token",), ("sep_token",))
_LLAMA = Kind(("bos_token",), ())
KINDS: Final[Mapping[str, Kind]] = {
    "XLMRobertaTokenizer": Kind(("bos_token",), ("eos_token",), offset=1),
    "CamembertTokenizer": Kind(("bos_token",), ("eos_token",), offset=4),
    "DebertaV2Tokenizer": Kind(*_BERT),
    "BigBirdTokenizer": Kind(*_BERT),
    "RemBertTokenizer": Kind(*_BERT),
    "FNetTokenizer": Kind(*_BERT, cleans=True),
    "AlbertTokenizer": Kind(*_BERT, cleans=True, accents=False, lower=True),
    "XLNetTokenizer": Kind((), ("sep_token", "cls_token"), cleans=True, accents=False),
    "T5Tokenizer": Kind((), ("eos_token",)),
    "LlamaTokenizer": _LLAMA,
    "GemmaTokenizer": _LLAMA,
}
"""Classes of tokenizers, by their names in transformers, whose ids are known."""


def exact_tokenizer(
    tokenizer: Any,  # noqa: ANN401 - transformers is untyped here
    name: str,
    path: Path,
    stated: Mapping[str, Any],
) -> Tokenizer:
    """Return the fast tokenizer of a sentencepiece model.

    Args:
        tokenizer: transformers' conversion, of which the vocabulary and the added tokens are taken.
        name: Name of the tokenizer's class in transformers.
        path: The sentencepiece model.
        stated: The folder's ``tokenizer_config.json``.

    Raises:
        GraftError: sentencepiece is not installed, the class is not known, or there is a text that would
            get other ids than from sentencepiece.
    """
    require("sentencepiece")
    from sentencepiece import SentencePieceProcessor
    from transformers.convert_slow_tokenizer import import_protobuf

    kind = KINDS.get(name)
    if kind is None:
        raise GraftError(
            f"backbone: {path} is the only tokenizer there, and how a {name} uses it is not known. {REMEDY}"
        )
    proto = import_protobuf().ModelProto.FromString(path.read_bytes())
    cleaning = _Cleaning(
        cleans=kind.cleans and stated.get("remove_space", True) is not False,
        accents=stated.get("keep_accents", kind.accents) is not False or not kind.cleans,
        lower=stated.get("do_lower_case", kind.lower) is True,
    )
    fast = Tokenizer.from_str(_bare(tokenizer.backend_tokenizer.to_str()))
    fast.normalizer = normalizers.Sequence([*cleaning.steps(), *_steps_of(proto.normalizer_spec)])
    fast.post_processor = _frame(tokenizer, kind, stated)

    pieces, unknown = SentencePieceProcessor(model_file=str(path)), tokenizer.unk_token_id

    def expected(text: str) -> list[int]:
        ids = pieces.encode(cleaning.clean(text))
        return [unknown if number == pieces.unk_id() else number + kind.offset for number in ids]

    differing = first_difference(expected, lambda text: fast.encode(text, add_special_tokens=False).ids)
    if differing is not None:
        raise GraftError(
            f"backbone: no fast tokenizer could be made of {path} that gives the ids of sentencepiece for "
            f"every text: it does not for {differing[:40]!r}. {REMEDY}"
        )
    return fast


@dataclass(frozen=True)
class _Cleaning:
    """What is done to a text before sentencepiece sees it, in Python and in the library `tokenizers`."""

    cleans: bool
    accents: bool
    lower: bool

    def clean(self, text: str) -> str:
        """Return a text as transformers' Python tokenizers hand it to sentencepiece."""
        if self.cleans:
            text = " ".join(text.strip().split()).replace("``", '"').replace("''", '"')
        if not self.accents:
            decomposed = unicodedata.normalize("NFKD", text)
            text = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
        return text.lower() if self.lower else text

    def steps(self) -> list[normalizers.Normalizer]:
        """Return the same as normalisers."""
        steps: list[normalizers.Normalizer] = []
        if self.cleans:
            steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
            steps += [normalizers.Replace(quote, '"') for quote in ("``", "''")]
        if not self.accents:
            steps += [normalizers.NFKD(), normalizers.StripAccents()]
        return [*steps, normalizers.Lowercase()] if self.lower else steps


def _steps_of(spec: Any) -> list[normalizers.Normalizer]:  # noqa: ANN401 - a protobuf message
    """Return the normalisation that a sentencepiece model states, as normalisers."""
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(pattern), "") for pattern in ("^ +", " +$")]
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    steps.append(normalizers.Replace(" ", SPACE))
    return [*steps, normalizers.Prepend(SPACE)] if spec.add_dummy_prefix else steps


def _frame(tokenizer: Any, kind: Kind, stated: Mapping[str, Any]) -> processors.PostProcessor:  # noqa: ANN401
    """Return what puts the special tokens of a kind around a text."""
    first, last = list(kind.first), list(kind.last)
    if kind is _LLAMA:
        first = [] if stated.get("add_bos_token") is False else first
        last = ["eos_token"] if stated.get("add_eos_token") is True else last
    tokens = {
        name: (str(getattr(tokenizer, name)), getattr(tokenizer, f"{name}_id")) for name in first + last
    }
    return processors.TemplateProcessing(
        single=_template([tokens[name][0] for name in first], [tokens[name][0] for name in last]),
        special_tokens=sorted(set(tokens.values())),
    )


def _template(first: Sequence[str], last: Sequence[str]) -> list[str]:
    """Return a template of the library `tokenizers` with a text between special tokens."""
    return [*(f"{token}:0" for token in first), "$A:0", *(f"{token}:0" for token in last)]


def _bare(text: str) -> str:
    """Return the JSON of a tokenizer without what comes before its model, and after it.

    Unigram models know pieces that their author defined from their scores; as added tokens these would break
    a text apart, and get spaces of their own.
    """
    steps = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
    document = json.loads(text) | dict.fromkeys(steps)
    if document["model"]["type"] == "Unigram":
        pieces = {piece for piece, _ in document["model"]["vocab"]}
        document["added_tokens"] = [
            token for token in document["added_tokens"] if token["special"] or token["content"] not in pieces
        ]
    return json.dumps(document)
