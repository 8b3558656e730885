"""Run families of backbones through load, a step of training, trial, export and comparison.

    python benchmarks/backbones.py pictures|texts [--only NAME ...] [--write]

Each is a small or cut network with random weights. With --write the rows go into the page of docs/ of that
kind, where they take the place of earlier ones of the same families.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.families.row import Row  # noqa: E402
from benchmarks.families.table import read_rows, write_table  # noqa: E402

Run = Callable[[Path], Row]


def pictures() -> tuple[Mapping[str, Run], Mapping[str, tuple[str, str]]]:
    """Return how each family of pictures is run, by its name in the table, and its module and parameters."""
    from benchmarks.families.pictures import FAMILIES
    from benchmarks.families.run import row_of

    runs = {each.key: (lambda folder, each=each: row_of(each, folder)) for each in FAMILIES}
    return runs, {each.key: (each.module, f"{each.parameters / 1e6:.1f} M") for each in FAMILIES}


def texts() -> tuple[Mapping[str, Run], Mapping[str, tuple[str, str]]]:
    """Return how each family of texts is run, by its name in the table; nothing else is said of them."""
    from benchmarks.families.text_rows import row_of
    from benchmarks.families.texts import families

    runs = {
        name: (lambda folder, name=name, write=write: row_of(name, write, folder))
        for name, write in families().items()
    }
    return runs, {}


KINDS = {"pictures": pictures, "texts": texts}


def run(runs: Mapping[str, Run], names: Iterable[str]) -> Iterable[Row]:
    """Yield the rows of some families, each run in a folder of its own that is removed after it."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            yield runs[name](Path(folder))


def main() -> int:
    """Run what the command line names; the exit code is 1 where any family fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of families; all by default")
    parser.add_argument("--write", action="store_true", help="write the table of docs/")
    options = parser.parse_args()
    runs, notes = KINDS[options.kind]()
    unknown = sorted(set(options.only or ()) - set(runs))
    if unknown:
        parser.error(f"no family {unknown[0]}; there are {', '.join(runs)}")
    path = ROOT / "docs" / f"backbones-{options.kind}.md"
    failed = False
    for row in run(runs, options.only or runs):
        print(f"{row.family}: {row.outcome} in {row.seconds:.1f} s. {row.reason}", flush=True)
        failed |= row.outcome == "fails"
        if options.write:
            known = {each.family: each for each in read_rows(path)} | {row.family: row}
            write_table(path, options.kind, [known[name] for name in runs if name in known], notes)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
