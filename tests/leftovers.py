"""What tests leave behind: nothing, neither in the checkout nor in the stores of whoever runs them.

The session has a HOME of its own (:func:`live_apart`), and what it could change is looked at before the first
test and after the last (:func:`watched_places`, :func:`changes_since`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What checkers, the interpreter and `make` keep for themselves, wherever it lies.
IGNORED = {
    ".git", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".import_linter_cache", ".grimp_cache",
    ".hypothesis", "__pycache__",
}  # fmt: skip
# Variables that name a user's places; libraries fall back to folders below HOME.
PLACES = (
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HF_HOME", "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "TORCH_HOME", "MPLCONFIGDIR",
)  # fmt: skip
# Folders below HOME that Graft or a library of it would write to.
STORES = (
    "bentoml", "intel", ".bentoml", ".cache/graft", ".cache/huggingface", ".cache/matplotlib",
    ".cache/Microsoft", ".cache/torch", ".config/matplotlib", ".wn_data",
)  # fmt: skip
LISTED = (
    "",
    ".cache",
    ".config",
    ".local/share",
)  # of these only the names count: other programs write there

State = tuple[int, int] | None
Snapshot = dict[Path, State]


@dataclass(frozen=True)
class Watched:
    """The places that stay as they are.

    Attributes:
        trees: Folders of which every file's size and time of change count.
        lists: Folders of which only the names in them count.
    """

    trees: tuple[Path, ...]
    lists: tuple[Path, ...]

    def look(self) -> Snapshot:
        """The state of every file and the names of folders, now."""
        found: Snapshot = {}
        for tree in self.trees:
            found |= {Path(entry.path): _state(entry) for entry in _walk(tree)}
        for folder in self.lists:
            for entry in _entries(folder):
                found.setdefault(Path(entry.path), None)
        return found


def watched_places() -> Watched:
    """The checkout and the user's stores, as the environment names them."""
    home = Path.home()
    named = [os.environ.get(name) for name in ("BENTOML_HOME", "GRAFT_CACHE", *PLACES[4:])]
    stores = [home / store for store in STORES] + [Path(place) for place in named if place]
    return Watched((ROOT, *stores), tuple(home / folder for folder in LISTED))


def changes_since(before: Snapshot, after: Snapshot) -> list[str]:
    """One line a path that is new, gone or changed."""
    found = dict.fromkeys(after.keys() - before.keys(), "is new")
    found |= dict.fromkeys(before.keys() - after.keys(), "is gone")
    found |= {path: "was changed" for path in before.keys() & after.keys() if before[path] != after[path]}
    return [f"{path} {what}" for path, what in sorted(found.items())]


def live_apart(base: Path) -> None:
    """Give this process, and what it starts, a HOME and stores below a folder of the session's own."""
    for name in PLACES:
        os.environ.pop(name, None)
    places = {"HOME": "home", "GRAFT_CACHE": "common/cache", "BENTOML_HOME": "common/bentoml"}
    for name, place in places.items():
        (base / place).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(base / place)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    # Threads of OpenMP that wait for each other spin, which costs the other test process its core: passive,
    # the same fine-tuning takes half of the CPU time beside other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # There is a test process for each core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # ONNX Runtime, which some tests import directly, reports to its maker otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        yield entry


def _entries(folder: Path) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name not in IGNORED]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _state(entry: os.DirEntry[str]) -> State:
    """Size and time of change in ns; a folder has neither, since caches that do not count lie in it."""
    if entry.is_dir(follow_symlinks=False):
        return None
    status = entry.stat(follow_symlinks=False)
    return status.st_size, status.st_mtime_ns
