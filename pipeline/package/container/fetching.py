"""The files that an image is made of: downloaded once, kept in the cache, used only with the right hash."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.layout import cache_folder
from pipeline.package.container.locks import Pin
from pipeline.reporting.progress import track

log = logging.getLogger("graft")
MIRROR = "http://deb.debian.org"
MIRROR_VARIABLE = "GRAFT_DEBIAN_MIRROR"
TIMEOUT_S = 60
OTHER_FILE = "DO NOT MATCH THE HASHES"  # what pip says then
DIFFERS = "not the file that Graft was tested with"
PLATFORM = (
    "--only-binary=:all:",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_27_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--abi=abi3",
    "--abi=none",
)
"""What pip takes for Debian 12, whose glibc is 2.36, on x86-64 with its Python 3.11."""


def fetch_debian(pins: Sequence[Pin]) -> list[Path]:
    """Return the files of packages of Debian.

    Args:
        pins: The packages. The mirror is ``http://deb.debian.org``, or what ``GRAFT_DEBIAN_MIRROR`` says; a
            plain address is enough, since every file has to have the hash of the lock.

    Raises:
        GraftError: A file cannot be downloaded, or is another one.
    """
    mirror = os.environ.get(MIRROR_VARIABLE) or MIRROR
    folder = cache_folder() / "debian"
    missing = [pin for pin in pins if not _holds(folder / f"{pin.sha256}.deb", pin)]
    for pin in track(missing, total=len(missing), what="Debian", unit="packages"):
        data = _download(find_address(mirror, pin.path))
        found = hashlib.sha256(data).hexdigest()
        if found != pin.sha256:
            raise GraftError(
                f"{mirror}/{pin.path}: has the SHA-256 {found}, and not {pin.sha256}, so it is not used. "
                f"Name another mirror by {MIRROR_VARIABLE}, or look for a newer release of Graft."
            )
        atomic.write_bytes(folder / f"{pin.sha256}.deb", data)
    return [folder / f"{pin.sha256}.deb" for pin in pins]


def find_address(mirror: str, path: str) -> str:
    """Return the address of a package.

    Args:
        mirror: Address of the mirror, above its archives; or with ``{archive}`` where their name stands.
        path: Path of the package from there, whose first part is the name of its archive.
    """
    archive, _, rest = path.partition("/")
    if "{archive}" in mirror:
        return f"{mirror.replace('{archive}', archive).rstrip('/')}/{rest}"
    # As lists of APT name it, one archive of those that lie beside each other.
    return f"{mirror.rstrip('/').removesuffix('/debian')}/{path}"


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the user's own
            data: bytes = answer.read()
            return data
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
        raise GraftError(
            f"{url}: cannot be downloaded ({error}). Name another mirror by {MIRROR_VARIABLE}, as an address "
            "that begins with http:// or https://, such as "
            "https://snapshot.debian.org/archive/{archive}/DATE, which has what a mirror no longer has."
        ) from error


def fetch_python(pins: Sequence[Pin]) -> list[Path]:
    """Return the wheels of packages of Python, which pip downloads from the index that it is set up with.

    Args:
        pins: The packages.

    Raises:
        GraftError: pip is not there or cannot download one, or it is another one.
    """
    folder = cache_folder() / "wheels"
    missing = [pin for pin in pins if not _holds(_wheel(folder, pin), pin)]
    if missing:
        log.info("package: pip downloads %d wheels", len(missing))
        with tempfile.TemporaryDirectory(prefix="graft-wheels-") as downloads:
            _run_pip(missing, Path(downloads))
            by_hash = {_hash(path): path for path in Path(downloads).iterdir()}
            for pin in missing:
                atomic.write_bytes(_wheel(folder, pin), by_hash[pin.sha256].read_bytes())
    return [_wheel(folder, pin) for pin in pins]


def _run_pip(pins: Sequence[Pin], folder: Path) -> None:
    requirements = folder.with_suffix(".txt")
    requirements.write_text("".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in pins))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", *PLATFORM, "--dest", str(folder), "--requirement", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        requirements.unlink()
    if done.returncode:
        reason = _reason(done.stderr) or f"exit code {done.returncode}"
        raise GraftError(
            f"pip cannot download the image's packages: {reason}. {_remedy(reason)} It is called as: "
            f"{command[0]} -m pip"
        )


def _reason(stderr: str) -> str:
    """Return what pip says is wrong: the last line, or what it got instead of a file with the right hash."""
    lines = [line.strip() for line in stderr.strip().splitlines() if not line.startswith("WARNING")]
    for index, line in enumerate(lines):
        if OTHER_FILE in line:
            return " ".join([f"{DIFFERS}:", *" ".join(lines[index + 1 :]).split()])
    return lines[-1] if lines else ""


def _remedy(reason: str) -> str:
    """Return what helps against an error of pip, which says the same of many."""
    if "No module named pip" in reason:  # as in environments that uv makes
        return "Install it there: python -m ensurepip, or uv pip install pip."
    if "No matching distribution" in reason:
        return "Its index cannot be reached, or lacks it: name another by PIP_INDEX_URL or in pip's settings."
    if reason.startswith(DIFFERS):
        return "The index has another file of that name, which is not used: name another by PIP_INDEX_URL."
    return "Mend that, or set pip up otherwise."


def _wheel(folder: Path, pin: Pin) -> Path:
    return folder / f"{pin.sha256}.whl"


def _holds(path: Path, pin: Pin) -> bool:
    return path.is_file() and _hash(path) == pin.sha256


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
