"""Take an encoder that is larger than one ONNX file can be through every stage, and print memory and seconds.

    python benchmarks/large.py [--work FOLDER] [--vocabulary 640000] [--width 1024] [--mode features]

The encoder is a BERT of two layers with random weights, whose table of tokens alone has 2.4 GiB by default,
as that of a multilingual model. Each command is a process of its own; its memory is what the kernel counted.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import random
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
from finetuning.commands import graft, start

PORT = 23911
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
STAGES = ("data", "finetune", "transfer", "evaluate", "export", "verify", "package")


def make_encoder(folder: Path, vocabulary: int, width: int) -> None:
    """Write an encoder in the hub's layout, whose words are ``w0``, ``w1`` and so on."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = [*SPECIAL, *(f"w{index}" for index in range(vocabulary - len(SPECIAL)))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=2, num_attention_heads=8,
        intermediate_size=2 * width,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def make_recipe(folder: Path, encoder: Path, vocabulary: int, mode: str) -> Path:
    """Write texts that hold the word w1 or the word w2, and a recipe that tells them apart."""
    chance = random.Random(0)
    with (folder / "texts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for index in range(240):
            words = [f"w{chance.randrange(3, vocabulary - 4)}" for _ in range(8)] + [f"w{1 + index % 2}"] * 3
            chance.shuffle(words)
            writer.writerow([" ".join(words), ("one", "two")[index % 2]])
    document = {
        "name": "large",
        "modality": "text",
        "data": {"source": str(folder / "texts.csv")},
        "backbone": {"name": "large", "weights": str(encoder)},
        "finetune": {"mode": mode, "epochs": 1, "device": "cpu"},
        "evaluate": {"ship_guessing": True, "ship_negative_transfer": True},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(document))  # JSON is YAML
    return path


def serve_once(run: Path, log: Path) -> tuple[float, float]:
    """Start the service, ask it once, and return the seconds to its answer and its peak memory in GiB."""
    begin = time.perf_counter()
    process = start(["serve", run, "--port", PORT], log)
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/predict", data=b"w5 w1 w7", headers={"Content-Type": "text/plain"}
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30):
                    break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None:
                    sys.exit(f"the service ended: {log.read_text()[-2000:]}")
                time.sleep(0.05)
        seconds = time.perf_counter() - begin
        return seconds, sum(peak_of(each.pid) for each in psutil.Process(process.pid).children() or [process])
    finally:
        process.terminate()
        process.wait()


def peak_of(process: int) -> float:
    """Return the peak memory of a process in GiB, as the kernel counts it."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("models/.large"))
    parser.add_argument("--vocabulary", type=int, default=640_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--mode", default="features")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    encoder, log = options.work.resolve() / "encoder", options.work / "log.txt"
    if not (encoder / "config.json").is_file():
        # In a process of its own: the kernel counts a parent's memory as the peak of its children.
        making = multiprocessing.get_context("spawn").Process(
            target=make_encoder, args=(encoder, options.vocabulary, options.width)
        )
        making.start()
        making.join()
    recipe = make_recipe(options.work.resolve(), encoder, options.vocabulary, options.mode)
    size = sum(path.stat().st_size for path in encoder.glob("*.safetensors"))
    print(f"weights: {size / 2**30:.2f} GiB\n\n| command | seconds | peak memory |\n| --- | --- | --- |")
    run = options.work / "run"
    for stage in STAGES:
        arguments = [stage, recipe, "--run", run] if stage == STAGES[0] else [stage, run]
        finished = graft(arguments, log)
        if finished.code:
            sys.exit(f"graft {stage}:\n{finished.log[-3000:]}")
        print(f"| graft {stage} | {finished.seconds:.1f} | {finished.peak_mib / 1024:.2f} GiB |", flush=True)
    seconds, peak = serve_once(run, log)
    print(f"| graft serve, to the first answer | {seconds:.1f} | {peak:.2f} GiB |")


if __name__ == "__main__":
    main()
