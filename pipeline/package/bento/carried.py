"""The source files that a Bento carries: the package ``serving``, as ``bentofile.yaml`` includes it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import serving

BENTOFILE = "bentofile.yaml"
REQUIREMENTS = "serving/requirements.txt"
SUFFIXES = frozenset({".py", ".html", ".jinja"})


def serving_folder() -> Path:
    """Return the folder of the package ``serving``."""
    return Path(serving.__file__).parent


def carried_files() -> list[Path]:
    """List the files of ``serving`` that every Bento carries unchanged.

    The requirements are not among them, since they are written anew for each Bento.
    """
    return sorted(path for path in serving_folder().rglob("*") if path.suffix in SUFFIXES)


def find_requirements() -> Path:
    """Return the file with the tested set of packages, from which a Bento's requirements are written."""
    return serving_folder().parent / REQUIREMENTS


def find_bentofile() -> Path:
    """Return the ``bentofile.yaml``: beside the packages in a checkout, and inside this one in a wheel."""
    checkout = serving_folder().parent / BENTOFILE
    return checkout if checkout.is_file() else Path(str(resources.files("pipeline.package") / BENTOFILE))


def list_requirements() -> list[Path]:
    """List that file, and those beside it with what single runtimes add."""
    return sorted(find_requirements().parent.glob("requirements*.txt"))
