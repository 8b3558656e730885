"""How large the image of a run is by layers, and how quick; ``images.py`` builds others beside it.

    python benchmarks/container.py RUN

Prints, in one run: the layers of the image, without and with compression, and whether two builds have one
digest; and its cold start and memory with one CPU, with and without the limits that operators set. Sizes are
in MB of 10^6 bytes.
"""

from __future__ import annotations

import gzip
import os
import statistics
import sys
import tempfile
from pathlib import Path

from pipeline.budget.contents import read_contents
from pipeline.budget.trial import _sum_memory
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.package.container.layout import open_layout
from pipeline.package.container.processes import inner_processes
from pipeline.package.container.running import Limits, running, unpacked
from pipeline.package.container.writing import write_image
from pipeline.recipe.reading import load_recipe

STARTS = 5
LIMITS = {
    "one CPU": Limits(cpus=1),
    "one CPU, 256 MiB, no network": Limits(cpus=1, memory_mb=256, has_network=False),
}


def main() -> None:
    run = RunFolder(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as folder:
        layouts = [Path(folder, name, "image") for name in ("first", "second")]
        for each in layouts:
            write_image(load_recipe(run.recipe), run, each)
        digests = {(each / "layout" / "index.json").read_bytes() for each in layouts}
        layout = layouts[0] / "layout"
        print_layers(layout, len(digests))
        sample = next(sample for sample in read_samples(run) if sample.split == "test").read()
        print_starts(layout, sample)


def print_layers(layout: Path, digests: int) -> None:
    for name, layer in zip(("system", "dependencies", "bundle"), open_layout(layout).layers, strict=True):
        size, packed = layer.stat().st_size / 1e6, len(gzip.compress(layer.read_bytes(), 6)) / 1e6
        print(f"{name:<12} {size:7.1f} MB, {packed:6.1f} MB compressed")
    contents = read_contents(layout)
    print(f"without the model {contents.size_mb:.1f} MB of files, {len(contents.packages)} packages")
    print(f"two builds in two folders gave {digests} digest(s)", flush=True)


def print_starts(layout: Path, sample: bytes) -> None:
    with unpacked(layout) as image:
        for name, limits in LIMITS.items():
            starts, memory = [], []
            for _ in range(STARTS):
                with running(image, limits) as service:
                    assert service.request("POST", "/predict", sample).status == 200
                    starts.append(service.ready_s)
                    memory.append(_sum_memory(inner_processes(service.pid)) / 1e6)
            told = f"{statistics.median(starts):.2f} s [{min(starts):.2f}, {max(starts):.2f}]"
            print(
                f"{name}: ready after {told}, {statistics.median(memory):.0f} MB resident after one answer",
                flush=True,
            )
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
