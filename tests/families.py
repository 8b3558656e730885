"""Small networks of many families with random weights, as their kinds build them, and samples for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.finetune.start.heads import LinearHead
from pipeline.finetune.start.prepared import Prepared, Split, floor_of
from pipeline.modalities.image import training as image
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.text import training as text
from pipeline.modalities.text.network import TextClassifier
from pipeline.modalities.training import Batch, Classifier
from pipeline.tasks.classification import CLASSIFICATION

CLASSES, SAMPLES, TOKENS, VOCABULARY, SIZE_PX = 3, 24, 12, 100, 32
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 66,
}
ENCODERS: dict[str, dict[str, object]] = {
    "bert": SMALL,
    "roberta": SMALL | {"pad_token_id": 1},
    "albert": SMALL | {"embedding_size": 16},
    "gpt2": {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 64,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    "electra": SMALL | {"embedding_size": 16},
    "deberta-v2": SMALL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "conv_kernel_size": 3},
    "modernbert": SMALL
    | {"local_attention": 8, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "ffn_dim": 64,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 16,
    },
    "xlm": {"emb_dim": 32, "n_layers": 3, "n_heads": 4, "max_position_embeddings": 64},
}


@dataclass(frozen=True)
class Stored:
    """Samples that are the network's inputs already, by the inputs' names."""

    feeds: Batch

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        return next(iter(self.feeds.values()))[index].numpy()

    def lengths(self) -> None:
        return None

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        return {name: value[indices].to(device) for name, value in self.feeds.items()}


def build_encoder(kind: str) -> TextClassifier:
    """A text classifier of a kind of encoder, built from its description."""
    config = {"vocab_size": VOCABULARY, **ENCODERS[kind], "model_type": kind, "pad_token_id": 0}
    network = {"config": config, "pooling": "last" if kind == "gpt2" else "mean"}
    return text.build_classifier(network, CLASSES)


def builder_of(family: str) -> Callable[[], Classifier]:
    """What builds a network of a family with random weights: an encoder, or else a network of timm."""
    if family in ENCODERS:
        return lambda: build_encoder(family)
    return lambda: image.build_classifier({"architecture": family, **HALF}, CLASSES)


def feeds_of(family: str, seed: int = 0) -> Batch:
    """Inputs of a network of a family that follow their targets, 0, 1, 2, 0, …, a little."""
    generator, targets = torch.Generator().manual_seed(seed), torch.arange(SAMPLES) % CLASSES
    if family in ENCODERS:
        ids = torch.randint(10, VOCABULARY, (SAMPLES, TOKENS), generator=generator)
        ids[:, ::2] = 3 + targets[:, None]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    pixels = torch.randint(0, 180, (SAMPLES, SIZE_PX, SIZE_PX, 3), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(SAMPLES), :, :, targets] += 75
    return {"image": pixels}


def prepared_of(family: str) -> Prepared:
    """What a training of a family's network starts from."""
    torch.manual_seed(0)
    classifier = builder_of(family)()
    classifier.saved().eval()
    examples, targets = Stored(feeds_of(family)), np.arange(SAMPLES, dtype=np.int64) % CLASSES
    with torch.inference_mode():
        features = classifier.embed(**examples.batch(np.arange(2), "cpu")).shape[1]
    weight = np.random.default_rng(0).normal(0, 0.02, (CLASSES, features)).astype(np.float32)
    head = LinearHead(weight, np.zeros(CLASSES, np.float32), penalty=0.4)
    classifier.set_head(head.weight, head.bias)
    logits = compute_logits(classifier, examples, "cpu", "start", "samples")
    return Prepared(
        classifier=classifier,
        train=Split(examples, targets),
        validation=Split(examples, targets),
        floor=floor_of(classifier, logits, targets, CLASSIFICATION),
        best_head=head,
        gentle_head=head,
        class_weights=None,
        task=CLASSIFICATION,
        unit="samples",
    )
