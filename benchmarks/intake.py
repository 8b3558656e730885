"""Seconds and memory of intake, audit and division: a table of a million rows, 200,000 pictures, photographs.

    python benchmarks/intake.py rows 1000000
    python benchmarks/intake.py pictures 200000
    python benchmarks/intake.py photographs 500 [640x480]

The data are made in a temporary folder first. Each figure is from one process of its own, which does what
``graft data`` does; the peak of its memory is that of the kernel (``ru_maxrss``).
"""

from __future__ import annotations

import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

LABELS = 10


def write_rows(folder: Path, count: int) -> Path:
    """A CSV file of texts of about 100 characters with ten labels."""
    words = ("good", "bad", "room", "price", "never", "again", "quite", "lovely", "service", "slow", "warm")
    generator = random.Random(0)
    with (folder / "rows.csv").open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for row in range(count):
            file.write(f"{row} {' '.join(generator.choices(words, k=16))},label {row % LABELS}\n")
    return folder / "rows.csv"


def write_pictures(folder: Path, count: int) -> Path:
    """Small PNG files, each of other pixels, in ten folders."""
    for label in range(LABELS):
        (folder / "pictures" / f"label {label}").mkdir(parents=True)
    for index in range(count):
        pixels = b"".join(b"\0" + random.Random(index * 8 + row).randbytes(24) for row in range(8))
        path = folder / "pictures" / f"label {index % LABELS}" / f"{index}.png"
        path.write_bytes(make_png(pixels))
    return folder / "pictures"


def write_photographs(folder: Path, count: int, size: str) -> Path:
    """JPEG files of one size, of soft patches with some noise, in two folders."""
    import numpy as np
    from PIL import Image

    width, height = (int(side) for side in size.split("x"))
    for index in range(count):
        generator = np.random.default_rng(index)
        coarse = Image.fromarray(generator.integers(0, 256, (height // 16, width // 16, 3), np.uint8))
        soft = np.asarray(coarse.resize((width, height)), np.int16)
        pixels = np.clip(soft + generator.integers(-12, 13, soft.shape, np.int16), 0, 255).astype(np.uint8)
        path = folder / "photographs" / f"label {index % 2}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=85)
    return folder / "photographs"


def make_png(pixels: bytes) -> bytes:
    """A picture of 8 x 8 pixels."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def measure(kind: str, source: str, folder: str, decodes: str = "") -> None:
    """Do the stage, decode its samples if told so, and print what it took as JSON."""
    from pipeline.data.stage import prepare_data
    from pipeline.files.layout import RunFolder
    from pipeline.recipe.reading import check_recipe

    backbone = {"name": "any", "weights": "hub"}
    document = {"name": "scale", "modality": kind, "data": {"source": source}, "backbone": backbone}
    start, before = time.perf_counter(), time.process_time()
    prepare_data(check_recipe(document, "benchmark"), RunFolder(Path(folder)))
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime - before, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }
    print(json.dumps(figures | (measure_decoding(Path(folder), source) if decodes else {})))


def measure_decoding(folder: Path, source: str) -> dict[str, float]:
    """Decode the samples of a run as the default recipe's training does, on all CPUs."""
    from pipeline.files.layout import RunFolder
    from pipeline.files.samples import read_samples
    from pipeline.modalities.image.examples import decode_examples
    from pipeline.modalities.image.recipe import Image
    from serving.model.inputs.image.pixels import ImagePreprocessor
    from serving.model.inputs.image.spec import ImageInputSpec

    # Also of a checkout whose recipe does not name them yet.
    chosen = {key: value for key, value in Image().model_dump().items() if key in {"resizer", "reducing_gap"}}
    preprocessor = ImagePreprocessor(ImageInputSpec(height=224, width=224, rules=2, **chosen))
    run = RunFolder(folder)
    run.data_root.write_text(f"{source}\n")
    samples = list(read_samples(run))
    start, cpu = time.perf_counter(), time.process_time()
    decode_examples(samples, preprocessor, folder / "scratch")
    return {
        "decoding_seconds": round(time.perf_counter() - start, 2),
        "decoding_cpu_seconds": round(time.process_time() - cpu, 2),
    }


def main() -> int:
    """Make the data, and measure in another process."""
    if sys.argv[1] == "measure":
        measure(*sys.argv[2:])
        return 0
    kind, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if kind == "photographs":
            source = write_photographs(folder, count, sys.argv[3] if len(sys.argv) > 3 else "640x480")
        else:
            source = write_rows(folder, count) if kind == "rows" else write_pictures(folder, count)
        modality = "text" if kind == "rows" else "image"
        command = [sys.executable, __file__, "measure", modality, str(source), str(folder / "run")]
        command += ["decodes"] if kind == "photographs" else []
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(f"{count:,} {kind}: {done.stdout.strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
