"""Small encoders with random weights and tokenizers of their own, and small texts for them.

The encoders are folders in the hub's layout.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

KINDS = ("bert", "distilbert", "roberta", "modernbert", "gpt2")
WORDS = (
    "a",
    "the",
    "day",
    "sun",
    "rain",
    "we",
    "saw",
    "it",
    "was",
    "is",
    "very",
    "so",
    "good",
    "bad",
    "great",
    "awful",
    "table",
)


def make_encoder(folder: Path, kind: str = "bert", seed: int = 0) -> Path:
    """Write config.json, model.safetensors and tokenizer files of a kind of encoder."""
    import torch
    from transformers import AutoModel

    tokenizer = _byte_tokenizer() if kind in {"roberta", "gpt2", "modernbert"} else _word_tokenizer()
    special = {
        "roberta": {"bos": "<s>", "eos": "</s>", "pad": "<pad>"},
        "modernbert": {"cls": "<s>", "sep": "</s>", "pad": "<pad>"},
    }
    names = {
        "bert": {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]"},
        "gpt2": {"bos": "</s>", "eos": "</s>"},
    }
    names["distilbert"] = names["bert"]
    _wrap(tokenizer, (special | names)[kind]).save_pretrained(folder)
    torch.manual_seed(seed)
    AutoModel.from_config(_config(kind, tokenizer.get_vocab_size())).save_pretrained(folder)
    return folder


def make_texts(path: Path, count: int = 160) -> Path:
    """A table of texts of 2 to 24 words, whose label is whether they hold `good` or `bad`."""
    rng = np.random.default_rng(0)
    others = [word for word in WORDS if word not in {"good", "bad"}]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for index in range(count):
            word = ("good", "bad")[index % 2]
            words = [*rng.choice(others, int(rng.integers(2, 24))), word]
            rng.shuffle(words)
            writer.writerow([" ".join(words), word])
    return path


def text_recipe(texts: Path, encoder: Path, **changes: object) -> dict[str, object]:
    """A recipe for them."""
    document: dict[str, object] = {
        "name": "tiny-text",
        "modality": "text",
        "data": {"source": str(texts)},
        "backbone": {"name": "tiny", "weights": str(encoder)},
        "text": {"max_tokens": 20, "max_characters": 400},
        "finetune": {"mode": "lp-ft", "epochs": 3, "batch_size": 16, "learning_rate": 5e-3, "device": "cpu"},
        "transfer": {"scratch_seconds": 0},
        "evaluate": {"bootstrap": 100, "ship_negative_transfer": True, "ship_guessing": True},
    }
    return document | changes


def _config(kind: str, vocabulary: int):
    from transformers import BertConfig, DistilBertConfig, GPT2Config, ModernBertConfig, RobertaConfig

    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "vocab_size": vocabulary,
    }
    if kind == "bert":
        return BertConfig(**small, max_position_embeddings=64)
    if kind == "distilbert":
        return DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64
        )
    if kind == "roberta":
        return RobertaConfig(
            **small, max_position_embeddings=66, pad_token_id=1, bos_token_id=0, eos_token_id=2
        )
    if kind == "modernbert":
        ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
        return ModernBertConfig(
            **small, global_attn_every_n_layers=2, local_attention=8, max_position_embeddings=64, **ids
        )
    return GPT2Config(
        vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=2, eos_token_id=2
    )


def _word_tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *WORDS,
        *letters[1:],
        *(f"##{letter}" for letter in letters),
    ]
    tokenizer = Tokenizer(
        models.WordPiece({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _byte_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _wrap(tokenizer, names: dict[str, str]):
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    first, last = names.get("cls") or names.get("bos"), names.get("sep") or names.get("eos")
    if first == "<s>":
        ends = [(first, tokenizer.token_to_id(first)), (last, tokenizer.token_to_id(last))]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}", special_tokens=ends
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in names.items()}
    )
