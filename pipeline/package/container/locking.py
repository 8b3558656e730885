"""Write the locks anew: ``python -m pipeline.package.container.locking``, when a package has a new version.

It reads the indices of Debian's mirror and asks pip what it would install. Nothing of it runs when an image
is written.
"""

from __future__ import annotations

import json
import lzma
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.package.container.fetching import MIRROR, PLATFORM
from pipeline.package.container.locks import DEBIAN, GRPC, PYTHON, SIGNING, name_lock
from pipeline.package.container.versions import DebianVersion

# What Python and the wheels need to run: no shell, no tool, nothing that installs. The licence of gcc-12-base
# covers libgcc-s1.
PACKAGES = (
    "base-files",
    "ca-certificates",
    "gcc-12-base",
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "media-types",
    "netbase",
    "python3.11-minimal",
    "tzdata",
    "zlib1g",
)
INDICES = (
    ("debian", "bookworm"),
    ("debian", "bookworm-updates"),
    ("debian-security", "bookworm-security"),
)
NOT_SERVED = frozenset({"bentoml"})  # the image is served without BentoML
ALONE = frozenset({"tokenizers"})  # which needs huggingface_hub only to download
ROOT = Path(__file__).parents[3]
HEADER = "# Made by: python -m pipeline.package.container.locking\n"


def lock_debian() -> str:
    """Return the lock of Debian's packages, each in the newest version of the release and its security."""
    newest: dict[str, dict[str, str]] = {}
    for archive, suite in INDICES:
        url = f"{MIRROR}/{archive}/dists/{suite}/main/binary-amd64/Packages.xz"
        with urllib.request.urlopen(url) as answer:  # noqa: S310 - of a constant
            text = lzma.decompress(answer.read()).decode()
        for fields in _stanzas(text):
            name, version = fields.get("Package", ""), fields.get("Version", "")
            known = newest.get(name)
            if name in PACKAGES and (
                known is None or DebianVersion(known["Version"]) < DebianVersion(version)
            ):
                newest[name] = {**fields, "Filename": f"{archive}/{fields['Filename']}"}
    lines = [
        " ".join(newest[name][key] for key in ("Package", "Version", "SHA256", "Filename"))
        for name in PACKAGES
    ]
    return HEADER + "\n".join(lines) + "\n"


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    for stanza in text.split("\n\n"):
        yield dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))


def lock_python() -> str:
    """Return the lock of Python's packages: what the service needs, with all that it needs in turn."""
    lines = (ROOT / "serving" / "requirements.txt").read_text().splitlines()
    named = {line.partition("==")[0]: line for line in lines if line and not line.startswith("#")}
    usual = [line for name, line in named.items() if name not in NOT_SERVED | ALONE]
    pins = {**_resolve(usual), **_resolve([named[name] for name in sorted(ALONE)], "--no-deps")}
    return _to_lock(pins)


def lock_extra(name: str) -> str:
    """Return the lock of what a service may need besides. Of cffi only the compiled part is run.

    Args:
        name: :data:`SIGNING` or :data:`GRPC`.
    """
    lines = (ROOT / "serving" / f"requirements-{name}.txt").read_text().splitlines()
    further = ["cffi"] if name == SIGNING else []
    return _to_lock(_resolve([line for line in lines if not line.startswith("#")] + further, "--no-deps"))


def _to_lock(pins: Mapping[str, tuple[str, str]]) -> str:
    locked = [f"{name}=={version} --hash=sha256:{sha256}" for name, (version, sha256) in sorted(pins.items())]
    return HEADER + "\n".join(locked) + "\n"


def _resolve(requirements: list[str], *options: str) -> dict[str, tuple[str, str]]:
    """Return the version and the hash of the wheel of each package that pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "--target", folder, *PLATFORM, *options]
        command += ["-c", str(ROOT / "constraints.txt"), *requirements]
        subprocess.run(command, check=True)
        installs = json.loads(report.read_bytes())["install"]
    return {
        re.sub(r"[-_.]+", "-", each["metadata"]["name"]).lower(): (
            each["metadata"]["version"],
            each["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for each in installs
    }


if __name__ == "__main__":
    extras = {name_lock(name): lock_extra(name) for name in (SIGNING, GRPC)}
    for file, text in {DEBIAN: lock_debian(), PYTHON: lock_python(), **extras}.items():
        (Path(__file__).parent / file).write_text(text)
