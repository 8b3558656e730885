"""Seconds and memory of intake, audit and division: a table of a million rows, or 200,000 pictures.

    python benchmarks/intake.py rows 1000000
    python benchmarks/intake.py pictures 200000

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


def make_png(pixels: bytes) -> bytes:
    """A picture of 8 x 8 pixels."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def measure(kind: str, source: str, folder: str) -> None:
    """Do the stage, and print what it took as JSON."""
    from pipeline.data.stage import prepare_data
    from pipeline.files.layout import RunFolder
    from pipeline.recipe.reading import check_recipe

    backbone = {"name": "any", "weights": "hub"}
    document = {"name": "scale", "modality": kind, "data": {"source": source}, "backbone": backbone}
    start = time.perf_counter()
    prepare_data(check_recipe(document, "benchmark"), RunFolder(Path(folder)))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 1), "peak_mib": round(peak)}))


def main() -> int:
    """Make the data, and measure in another process."""
    if sys.argv[1] == "measure":
        measure(*sys.argv[2:])
        return 0
    kind, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = write_rows(folder, count) if kind == "rows" else write_pictures(folder, count)
        modality = "text" if kind == "rows" else "image"
        command = [sys.executable, __file__, "measure", modality, str(source), str(folder / "run")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"{count:,} {kind}: {done.stdout.strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
