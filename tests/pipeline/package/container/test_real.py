"""The image of a run as it is built for users, started as a container is, and asked over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.budget.contents import Contents, read_contents
from pipeline.files.layout import RunFolder
from pipeline.package.container.processes import inner_processes
from pipeline.package.container.running import Limits, running, unpacked
from pipeline.package.container.unpacking import Unpacked
from pipeline.package.container.writing import write_image
from pipeline.recipe.reading import load_recipe
from serving.model.predictor import load_predictor
from tests.containers import limit_mb, why_no_real_image, why_not

pytestmark = pytest.mark.slow
MOST_MB = 180


@pytest.fixture(scope="module")
def layout(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of the tiny run's image, of Debian's real packages and the real wheels."""
    reason = why_no_real_image()
    if reason:
        pytest.skip(reason)
    output = tmp_path_factory.mktemp("image") / "oci"
    return Path(write_image(load_recipe(tiny_run / "recipe.yaml"), RunFolder(tiny_run), output).place)


@pytest.fixture(scope="module")
def contents(layout: Path) -> Contents:
    return read_contents(layout)


@pytest.fixture(scope="module")
def image(layout: Path) -> Iterator[Unpacked]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with unpacked(layout) as image:
        yield image


def test_image_is_small_and_holds_no_tool(contents: Contents) -> None:
    assert contents.size_mb < MOST_MB
    assert contents.programs == {"python3", "python3.11"}
    names = {package.name for package in contents.packages}
    assert {"libc6", "onnxruntime", "numpy", "tokenizers"} <= names
    assert names.isdisjoint({"torch", "pip", "setuptools", "bentoml", "huggingface-hub"})
    assert contents.release == "12"


def test_container_predicts_what_the_bundle_predicts_without_any_right(
    image: Unpacked, tiny_run: Path, pictures: Path
) -> None:
    """Read-only root, another user, no right, no network, 256 MiB and one CPU."""
    picture = min(pictures.rglob("*.png")).read_bytes()
    strict = Limits(cpus=1, memory_mb=limit_mb(256), has_network=False)
    with running(image, strict) as service:
        reply = service.request("POST", "/predict", picture)
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in inner_processes(service.pid)]
        refused = service.request("POST", "/predict", b"no picture").status
    assert reply.status == 200
    expected = load_predictor(tiny_run / "bundle").predict(picture).to_json()
    assert json.loads(reply.body)["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
    assert refused == 400
    for status in statuses:
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == ["65532"] * 4
        assert (fields["CapEff"], fields["CapPrm"]) == ("0" * 16, "0" * 16)
        assert fields["NoNewPrivs"] == "1"


def test_container_can_write_nothing_but_its_temporary_folder(image: Unpacked) -> None:
    code = "open('/tmp/a', 'w').close(); open('/models/a', 'w')"
    outcome = try_inside(image, code)
    assert "Read-only file system: '/models/a'" in outcome
    assert "Read-only file system: '/etc/a'" in try_inside(image, "open('/etc/a', 'w')")


def test_health_check_says_whether_the_service_answers(image: Unpacked) -> None:
    command = "from serving.server.process.health import is_alive; raise SystemExit(str(is_alive({})))"
    with running(image, Limits()) as service:
        assert try_inside(image, command.format(service.port)).endswith("True")
        port = service.port
    assert try_inside(image, command.format(port)).endswith("False")


def test_start_ends_with_one_message_where_nobody_could_call(image: Unpacked) -> None:
    from pipeline.errors import GraftError

    with pytest.raises(GraftError, match="there are no API keys"), running(image, Limits(), {}):
        pass


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_layout(layout: Path) -> None:
    command = ["skopeo", "inspect", "--config", f"oci:{layout}"]
    config = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert config["config"]["Entrypoint"] == ["/usr/bin/python3.11", "-m", "serving"]


def test_every_library_finds_those_that_it_is_linked_to(image: Unpacked) -> None:
    """Those of Python's modules too, whose own symbols are in the interpreter that loads them."""
    code = (
        "import ctypes, pathlib, sys\n"
        "for path in sorted(pathlib.Path('/usr').rglob('*.so*')):\n"
        "    try: path.is_file() and ctypes.CDLL(str(path))\n"
        "    except OSError as error: print(error, file=sys.stderr)\n"
        "print('end', file=sys.stderr)"
    )
    assert try_inside(image, code) == "end"


def try_inside(image: Unpacked, code: str) -> str:
    """Run some Python in the image, isolated as the service is, and return what it says at its end."""
    from pipeline.package.container.isolation import Isolation, isolate

    command = isolate(image.root, ["/usr/bin/python3.11", "-c", code], Isolation(image.user))
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()
