"""Training pictures a second: Graft's loop beside a plain one with a DataLoader, augmented alike.

The plain loop is what a tutorial shows: fp32, NCHW, torch at its defaults, a DataLoader with as many workers
as there are CPUs, torchvision's random crops on pictures that are decoded already. Graft's is that of
``benchmarks/training.py``. Each round runs both, each in a process of its own, and gives one ratio.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BACKBONE = "tf_efficientnet_lite0"
BATCH = 32
PICTURES = 256
CROP_SCALE = (0.7, 1.0)
SIZE_PX = 224
CLASSES = 2


def train_plain() -> dict[str, float]:
    """Train two epochs by the plain loop, and return the pictures a second of the second."""
    import os

    import timm
    import torch
    from torchvision.transforms import v2
    from training import load_pixels

    pixels = torch.from_numpy(load_pixels(PICTURES)).permute(0, 3, 1, 2).contiguous()
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE_PX, scale=CROP_SCALE, ratio=(1, 1), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, index: int):
            return transform(pixels[index]), index % CLASSES

    torch.manual_seed(0)
    workers = len(os.sched_getaffinity(0))
    loader = torch.utils.data.DataLoader(
        Pictures(), BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )
    model = timm.create_model(BACKBONE, num_classes=CLASSES).train()
    optimizer = torch.optim.AdamW(model.parameters())
    for _epoch in range(2):
        begin, count = time.perf_counter(), 0
        for pictures, targets in loader:
            loss = torch.nn.functional.cross_entropy(model(pictures), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count += len(targets)
        seconds = time.perf_counter() - begin
    return {"per_s": count / seconds}


def print_ratio(rounds: int) -> None:
    """Run both in turns, and print the pictures a second of each and the ratio of the two.

    Args:
        rounds: Number of rounds.
    """
    from rounds import measure_apart, spread

    training = str(HERE.parent / "training.py")
    ours = ("--child", "full fine-tuning", "--index", 1, "--backbone", BACKBONE, "--batch", BATCH)
    results = [
        (measure_apart(str(HERE / "rate.py"))["per_s"], measure_apart(training, *ours)) for _ in range(rounds)
    ]
    print(f"{BACKBONE}, {SIZE_PX} px, batch {BATCH}, {PICTURES} pictures, {rounds} rounds: median [range]")
    print(f"  plain loop, DataLoader  pictures/s {spread([plain for plain, _ in results])}")
    print(f"  graft                   pictures/s {spread([graft['per_s'] for _, graft in results])}")
    print(
        f"  ratio                              {spread([graft['per_s'] / plain for plain, graft in results])}"
    )
    print(f"  graft trains in {results[0][1]['why']}")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    print(json.dumps(train_plain()))
