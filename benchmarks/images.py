"""How large the image of a run is beside those that tutorials build, all built in one run.

    BENTOML_DO_NOT_TRACK=True python benchmarks/images.py RUN

Needs root, buildah and mmdebstrap, a network, and 25 GB where temporary files are kept. Prints for each image
the size of its files, in MB of 10^6 bytes, and how long its build took: the image of ``graft package
--image`` with the model; the Bento of ``graft package --target cpu`` as ``bentoml containerize`` builds it,
and whether it answers what the bundle answers; a FastAPI service on ONNX Runtime from a Dockerfile; and a
Bento with torch and torchvision, as ``bentoml build`` and ``bentoml containerize`` make it. All but the first
stand on Docker Hub's ``python:3.11-slim``, or where no registry can be reached on Debian 12 with its own
Python and pip, put into that place; its size is printed too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

from pipeline.budget.contents import read_contents
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.package.container.writing import write_image
from pipeline.recipe.reading import load_recipe
from serving.model.predictor import load_predictor

BIN = Path(sys.executable).parent
BENTOML, GRAFT = str(BIN / "bentoml"), str(BIN / "graft")
SAMPLES = 64
START_S = 60
PORT = 31744
URL = f"http://127.0.0.1:{PORT}"
BASE = "docker.io/library/python:3.11-slim"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
STAND_IN = "python3,python3-venv,python3-pip,ca-certificates,passwd"
FASTAPI = ("fastapi", "uvicorn[standard]", "onnxruntime", "numpy", "pillow", "python-multipart")
CONTAINERFILE = f"""FROM {BASE}
RUN pip install --no-cache-dir {" ".join(f"'{name}'" for name in FASTAPI)}
"""
SERVICE = """import bentoml

image = bentoml.images.Image(python_version="3.11").python_packages("torch", "torchvision", "pillow")


@bentoml.service(image=image)
class Pictures:
    def __init__(self) -> None:
        from torchvision.models import resnet18

        self.network = resnet18().eval()

    @bentoml.api
    def count(self) -> int:
        return sum(each.numel() for each in self.network.parameters())
"""


def main() -> None:
    require("buildah", "mmdebstrap")
    run = RunFolder(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as name:
        folder = Path(name)
        use_storage(folder)
        try:
            build_ours(run, folder)
            with told("base of the others") as sizes:
                make_base(folder)
                sizes.append(size_of(BASE))
            with told("our Bento, by bentoml containerize") as sizes:
                packaged = run_command(GRAFT, "package", sys.argv[1], "--target", "cpu")
                containerize(packaged.split()[1], "bento:ours")
                sizes.append(size_of("bento:ours"))
            compare_answers(run, "bento:ours")
            build_others(folder)
        finally:
            run_command("buildah", "rm", "--all")  # else their mounts would keep the folder


def build_ours(run: RunFolder, folder: Path) -> None:
    with told("ours, with the model") as sizes:
        write_image(load_recipe(run.recipe), run, folder / "ours")
        contents = read_contents(folder / "ours" / "layout")
        sizes.append(contents.size_mb + contents.model_mb)
    print(f"ours: the model is {contents.model_mb:.1f} MB of it", flush=True)


def build_others(folder: Path) -> None:
    with told("FastAPI on ONNX Runtime") as sizes:
        place = folder / "fastapi"
        place.mkdir()
        (place / "Containerfile").write_text(CONTAINERFILE)
        run_command("buildah", "build", "--tag", "fastapi", "--file", "Containerfile", ".", folder=place)
        sizes.append(size_of("fastapi"))
    with told("Bento with torch, by bentoml containerize") as sizes:
        (folder / "bento").mkdir()
        (folder / "bento" / "service.py").write_text(SERVICE)
        built = run_command(BENTOML, "build", "--output", "tag", str(folder / "bento"))
        containerize(built.partition(":")[2].strip(), "bento:torch")
        sizes.append(size_of("bento:torch"))


def require(*programs: str) -> None:
    missing = " ".join(program for program in programs if shutil.which(program) is None)
    if missing:
        raise SystemExit(f"Not installed here: {missing}. On Debian: apt-get install {missing}")


def use_storage(folder: Path) -> None:
    """Keep the images and Bentos of this run in a folder, for every program that is started."""
    places = f'graphroot = "{folder}/storage"\nrunroot = "{folder}/running"\n'
    (folder / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{places}')
    os.environ |= {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "BENTOML_HOME": str(folder / "bentos"),
        "TMPDIR": str(folder),
    }


@contextmanager
def told(name: str) -> Iterator[list[float]]:
    """Print the size that the block leaves in a list, and how long it took."""
    sizes: list[float] = []
    began = time.monotonic()
    yield sizes
    print(f"{name}: {sizes[0]:,.0f} MB, in {time.monotonic() - began:.0f} s", flush=True)


def make_base(folder: Path) -> None:
    """Get the base from its registry, or put Debian with its own Python into its place."""
    if subprocess.run(["buildah", "pull", BASE], capture_output=True, check=False).returncode == 0:
        return
    print("base: no registry is reached, so Debian 12 stands in for it", flush=True)
    archive = folder / "base.tar"
    mirror = "http://deb.debian.org/debian"
    run_command("mmdebstrap", "--variant=apt", f"--include={STAND_IN}", "bookworm", str(archive), mirror)
    container = run_command("buildah", "from", "scratch").strip()
    run_command("buildah", "add", container, str(archive), "/")
    run_command("buildah", "copy", container, CERTIFICATES, CERTIFICATES)
    run_command("buildah", "run", container, "--", "ln", "-sf", "python3", "/usr/bin/python")
    run_command("buildah", "run", container, "--", "rm", "/usr/lib/python3.11/EXTERNALLY-MANAGED")
    for variable in ("SSL_CERT_FILE", "PIP_CERT"):  # a company's own authority may be among them
        run_command("buildah", "config", "--env", f"{variable}={CERTIFICATES}", container)
    run_command("buildah", "commit", "--rm", container, BASE)
    archive.unlink()


def size_of(image: str) -> float:
    """Return the size of an image's files in MB, as its container sees them."""
    container = run_command("buildah", "from", image).strip()
    root = run_command("buildah", "mount", container).strip()
    size = int(run_command("du", "--bytes", "--summarize", "--one-file-system", root).split()[0])
    run_command("buildah", "rm", container)
    return size / 1e6


def containerize(tag: str, image: str) -> None:
    run_command(BENTOML, "containerize", tag, "--backend", "buildah", "--image-tag", image)


def compare_answers(run: RunFolder, image: str) -> None:
    """Start a Bento's image, and print how many of some test pictures it answers as the bundle does."""
    samples = [sample.read() for sample in read_samples(run) if sample.split == "test"][:SAMPLES]
    container = run_command("buildah", "from", image).strip()
    settings = ("--env", "GRAFT_ALLOW_ANONYMOUS=1", "--env", f"PORT={PORT}")
    command = ["buildah", "run", *settings, container, "--", "/home/bentoml/bento/env/docker/entrypoint.sh"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            await_ready()
            answers = [post(sample) for sample in samples]
        finally:
            process.terminate()
    predictor = load_predictor(run.bundle)
    same = [
        answer["probabilities"] == predictor.predict(sample).to_json()["probabilities"]
        for answer, sample in zip(answers, samples, strict=True)
    ]
    print(f"our Bento: {sum(same)} of {len(samples)} answers are those of the bundle", flush=True)


def await_ready() -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError), urlopen(f"{URL}/readyz"):
            return
        time.sleep(0.2)
    raise SystemExit(f"The Bento was not ready within {START_S} s.")


def post(sample: bytes) -> dict[str, object]:
    with urlopen(Request(f"{URL}/predict", sample, {"Content-Type": "image/png"})) as reply:
        return dict(json.load(reply))


def run_command(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
