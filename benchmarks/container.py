"""How large and how quick the image of a run is, beside what tutorials build.

    python benchmarks/container.py RUN

Prints, in one run: the layers of our image, without and with compression; what `pip install` leaves of a
plain FastAPI service on ONNX Runtime, over the same Debian and Python; what a Bento with torch and
torchvision would hold, by the sizes of the packages as they are installed here; and the cold start and memory
of our image with one CPU, with and without the limits that operators set. Sizes are of files, in MB of 10^6
bytes.
"""

from __future__ import annotations

import gzip
import os
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from pipeline.budget.contents import read_contents
from pipeline.budget.trial import _sum_memory
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.package.container.layout import open_layout
from pipeline.package.container.processes import inner_processes
from pipeline.package.container.running import Limits, running, unpacked
from pipeline.package.container.writing import write_image
from pipeline.recipe.reading import load_recipe

FASTAPI = ("fastapi", "uvicorn[standard]", "onnxruntime", "numpy", "pillow", "python-multipart")
BENTO = ("bentoml", "torch", "torchvision", "pillow")
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
        system = print_ours(layout, len(digests))
        print_fastapi(Path(folder, "fastapi"), system)
        print_bento(system)
        sample = next(sample for sample in read_samples(run) if sample.split == "test").read()
        print_starts(layout, sample)


def print_ours(layout: Path, digests: int) -> float:
    """Print our layers, and return the size of the lowest in MB."""
    sizes = []
    for name, layer in zip(("system", "dependencies", "bundle"), open_layout(layout).layers, strict=True):
        packed = len(gzip.compress(layer.read_bytes(), 6)) / 1e6
        sizes.append(layer.stat().st_size / 1e6)
        print(f"ours: {name:<12} {sizes[-1]:7.1f} MB, {packed:6.1f} MB compressed")
    contents = read_contents(layout)
    print(f"ours: without the model {contents.size_mb:.1f} MB of files, {len(contents.packages)} packages")
    print(f"ours: two builds in two folders gave {digests} digest(s)", flush=True)
    return sizes[0]


def print_fastapi(folder: Path, system: float) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *FASTAPI]
    if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode:
        print("FastAPI: pip cannot install it here")
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    print(
        f"FastAPI with ONNX Runtime: {size + system:,.1f} MB, of which {size:,.1f} installed by pip",
        flush=True,
    )


def print_bento(system: float) -> None:
    names = closure(BENTO)
    size = sum(size_of(name) for name in names) / 1e6
    print(
        f"Bento with torch: {size + system:,.1f} MB, of which {size:,.1f} in {len(names)} packages",
        flush=True,
    )


def closure(names: tuple[str, ...]) -> set[str]:
    """The packages that some need here, by what those that are installed say."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name in found:
            continue
        found.add(name)
        required = map(Requirement, needs)
        waiting += [
            each.name.lower() for each in required if not each.marker or each.marker.evaluate({"extra": ""})
        ]
    return found


def size_of(name: str) -> int:
    files = metadata.files(name) or []
    places = (Path(str(file.locate())) for file in files)
    return sum(place.stat().st_size for place in places if place.is_file())


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
