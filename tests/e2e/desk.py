"""A reader's desk: a folder like a fresh clone, in which a page's blocks are carried out in their order."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.files.sources import locate
from pipeline.run.runner import done_stages, open_run
from tests.conftest import free_port, make_folder, make_picture
from tests.e2e.pages import SKIPPED, Block
from tests.leftovers import IGNORED, ROOT
from tests.pipeline.modalities.test_image_weights import make_hub_cache

SOLAR_CELLS = Path("models", "solar-cells")
SERVES = re.compile(
    r"^(?P<variables>(?:\w+=\S+ )*)(?P<command>(?:graft|bentoml) serve [^&|]*?)\s*&?\s*(?:#.*)?$"
)
# What a command becomes here, where it would install again what the suite runs in, or train for minutes.
SHORTER = {
    r"^make demo": "make -o .venv/.installed-demo demo",
    r"^graft init .*--output (\S+).*": (
        r"\g<0>; sed -i 's/epochs: null/epochs: 2/; s/scratch_seconds: 20/scratch_seconds: 1/' \1"
    ),
    r"(graft benchmark \S+)": r"\1 --seconds 2",
}
# A service is started in the background and waited for; the one before it is ended.
SERVE = """
serve() {
  end_service
  setsid "$@" >> service.log 2>&1 &
  echo $! > service.pid
  until curl -so /dev/null --fail "http://127.0.0.1:$PORT/readyz"; do
    kill -0 "$(cat service.pid)" || { cat service.log; exit 1; }
    sleep 0.1
  done
}
end_service() {
  [ -f service.pid ] || return 0
  kill "$(cat service.pid)" 2>/dev/null || true
  while kill -0 "$(cat service.pid)" 2>/dev/null; do sleep 0.1; done
  rm service.pid
}
"""


@dataclass(frozen=True)
class Desk:
    """A folder like a fresh clone.

    Attributes:
        folder: Where it lies.
        port: What stands for the page's port 3000.
        full: Whether the demo's run there is the recipe's own, of all pictures, and not a short one.
    """

    folder: Path
    port: int
    full: bool

    def carry_out(self, block: Block) -> str:
        """What a block prints; raises AssertionError where it does not end with 0."""
        if block.language == "python":
            (self.folder / "block.py").write_text(self._here(block.text))
            return self._run([sys.executable, "block.py"])
        lines = [self._line(line) for line in block.commands if not SKIPPED.match(line)]
        return self._run(["bash", "-euo", "pipefail", "-c", "\n".join([SERVE, *lines])])

    def clear(self) -> None:
        """End the service, if one is running."""
        self._run(["bash", "-c", SERVE + "end_service"])

    def _line(self, line: str) -> str:
        if served := SERVES.match(line):
            port = "" if "--port" in line else " --port 3000"
            line = f"{served['variables']}serve {served['command']}{port}"
        return self._here(line)

    def _here(self, text: str) -> str:
        for command, instead in SHORTER.items():
            text = re.sub(command, instead, text)
        return re.sub(r"\b3000\b", str(self.port), text)

    def _run(self, command: list[str]) -> str:
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        here = {
            "PATH": binaries,
            "PORT": str(self.port),
            "PYTHONPATH": str(self.folder),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_CACHE": str(self.folder.parent / "hub"),
        }
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=os.environ | here,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}"
        return done.stdout


def make_desk(base: Path) -> Desk:
    """Lay out a desk below a folder.

    Where the checkout has the demo's own run, made by this code, it is there as well, and the demo has
    nothing left to train. Else the demo trains on every 32nd picture, once.
    """
    folder = base / "graft"
    (folder / "models").mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name not in IGNORED | {"models", "examples"}:
            (folder / path.name).symlink_to(path)
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns(*IGNORED))
    shutil.copy(ROOT / "models" / "README.md", folder / "models")
    make_folder(folder / "pictures", per_label=12)
    for name in ("cell.png", "another.png"):
        (folder / name).write_bytes(make_picture("bars", len(name)))
    make_hub_cache(base / "hub", "tf_efficientnet_lite0")
    full = _lay_demo(folder)
    if not full:
        _shorten_solar_cells(folder / "examples" / "solar-cells")
    _shorten_tweets(folder / "examples" / "tweets")
    return Desk(folder, free_port(), full)


def _lay_demo(folder: Path) -> bool:
    """Copy the checkout's run of the demo, if it is there, whole and of this code."""
    made, recipe = ROOT / SOLAR_CELLS, folder / "examples" / "solar-cells" / "recipe.yaml"
    if not (made / "package" / "bento.json").is_file():
        return False
    shutil.copytree(made, folder / SOLAR_CELLS)
    if "verify" in done_stages(open_run(recipe, folder / SOLAR_CELLS)):
        return True
    shutil.rmtree(folder / SOLAR_CELLS)
    return False


def _shorten_solar_cells(example: Path) -> None:
    """The recipe on every 32nd picture, in one epoch, without the floors that only all of them reach."""
    recipe = yaml.safe_load((example / "recipe.yaml").read_text())
    table = locate(recipe["data"]["source"], "test")
    rows = [line.split() for line in table.read_text().splitlines()][::32]
    some = "\n".join(" ".join([str(table.parent / path), *others]) for path, *others in rows)
    (example / "some.csv").write_text(some + "\n")
    recipe["data"]["source"] = "some.csv"
    recipe["finetune"]["epochs"] = 1
    recipe["transfer"] = {"scratch_seconds": 1}
    recipe["evaluate"] = {"bootstrap": 100, "ship_guessing": True, "ship_negative_transfer": True}
    (example / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def _shorten_tweets(example: Path) -> None:
    """The recipe on some of the same tweets, in one epoch, and without int8, whose search takes a minute."""
    recipe = yaml.safe_load((example / "recipe.yaml").read_text())
    table = recipe["data"]["table"]
    source = locate(recipe["data"]["source"], "test")
    with source.open(encoding=table["encoding"], newline="") as file:
        header, *rows = csv.reader(file)
    with (example / "some.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows[::120]])
    recipe["data"] |= {"source": "some.csv", "table": table | {"encoding": "utf-8"}}
    recipe["finetune"] |= {"epochs": 1, "device": "cpu"}
    recipe["transfer"] = {"scratch_seconds": 1}
    recipe["evaluate"] = {"bootstrap": 100, "ship_negative_transfer": True}
    recipe["export"] = {"formats": ["onnx-fp32"]}
    (example / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def documents_in(printed: str) -> Iterator[dict[str, object]]:
    """The JSON objects in what was printed."""
    decoder, start = json.JSONDecoder(), 0
    while (start := printed.find("{", start)) >= 0:
        try:
            found, start = decoder.raw_decode(printed, start)
            yield found
        except ValueError:
            start += 1
