"""The image of a run, of packages that are written here."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.container import writing
from pipeline.package.container.handing import hand_over
from pipeline.package.container.unpacking import unpack
from pipeline.package.container.writing import write_image
from pipeline.recipe.reading import load_recipe
from serving.model.errors import BundleError
from tests.pipeline.package.container.packages import pin_of, write_deb, write_wheel

pytestmark = pytest.mark.slow
Write = Callable[[Path], Path]


@pytest.fixture
def write(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the image of the tiny run to a folder, and returns its layout."""
    licence = b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nLicense: MIT\n"
    deb = write_deb(tmp_path, "tool", {"./usr/lib/tool": b"x", "./usr/share/doc/tool/copyright": licence})
    wheel = write_wheel(tmp_path, "lib", {"lib/__init__.py": b""})
    monkeypatch.setattr(writing, "read_debian", lambda: (pin_of(deb, "tool"),))
    monkeypatch.setattr(writing, "read_python", lambda *_: (pin_of(wheel, "lib"),))
    monkeypatch.setattr(writing, "fetch_debian", lambda _: [deb])
    monkeypatch.setattr(writing, "fetch_python", lambda _: [wheel])
    recipe = load_recipe(tiny_run / "recipe.yaml")
    return lambda output: Path(write_image(recipe, RunFolder(tiny_run), output).place)


def read(layout: Path, digest: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())
    return content


def files_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_two_builds_in_two_folders_are_the_same_files(write: Write, tmp_path: Path) -> None:
    write(tmp_path / "first")
    write(tmp_path / "elsewhere" / "second")
    assert files_of(tmp_path / "first") == files_of(tmp_path / "elsewhere" / "second")


def test_image_is_three_layers_of_which_the_last_is_the_bundle(
    write: Write, tiny_run: Path, tmp_path: Path
) -> None:
    layout = write(tmp_path / "image")
    manifest = read(layout, json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"])
    assert len(manifest["layers"]) == 3
    config = read(layout, manifest["config"]["digest"])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Labels"]["org.opencontainers.image.title"] == "tiny"
    assert {"BENTOML_DO_NOT_TRACK=True", "ORT_DISABLE_TELEMETRY=1"} <= set(config["config"]["Env"])
    root = tmp_path / "root"
    root.mkdir()
    unpack(layout, root)
    assert files_of(root / "models") == files_of(tiny_run / "bundle")
    assert (root / "usr/local/lib/python3.11/dist-packages/serving/__main__.py").is_file()
    assert (root / "var/lib/dpkg/status.d/tool").read_text().startswith("Package: tool")
    assert not list(root.rglob("*.pyc"))


def test_bill_of_materials_is_valid_and_names_every_package(write: Write, tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    write(tmp_path / "image")
    text = (tmp_path / "image" / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"name"', '"nome"')) is not None
    components = {each["purl"]: each for each in json.loads(text)["components"]}
    assert set(components) == {"pkg:deb/debian/tool@1.0?arch=amd64&distro=debian-12", "pkg:pypi/lib@1.0"}
    assert (tmp_path / "image" / "licences.csv").read_text().splitlines()[1:] == [
        "deb,tool,1.0,MIT",
        "pypi,lib,1.0,MIT",
    ]


def test_disk_that_fills_up_leaves_the_old_image_whole(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "image"
    write(output)
    before = files_of(output)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "write_bill", fail)
    with pytest.raises(OSError, match="No space left"):
        write(output)
    assert files_of(output) == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_bundle_that_was_changed_gets_no_image(
    write: Write, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise BundleError("hash_mismatch", "changed")

    monkeypatch.setattr(writing, "open_bundle", refuse)
    with pytest.raises(BundleError):
        write(tmp_path / "image")
    assert not (tmp_path / "image").exists()


def test_changed_layer_is_not_unpacked(write: Write, tmp_path: Path) -> None:
    layout = write(tmp_path / "image")
    layer = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(layer.read_bytes())
    content[1000] ^= 1
    layer.write_bytes(content)
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(GraftError, match="was changed, so nothing of the image is run"):
        unpack(layout, root)


def test_engine_that_is_not_here_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = write(tmp_path / "image")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GraftError, match=r"podman: is not installed here\. The image is whole without it"):
        hand_over(layout, "podman")


@pytest.mark.parametrize("program", ["docker", "podman", "buildah"])
def test_engine_that_fails_half_way_leaves_the_image_whole(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    layout = write(tmp_path / "image")
    before = files_of(layout)
    engine = tmp_path / "bin" / program
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\necho 'copying blob 2 of 3' >&2\necho 'no space left' >&2\nexit 125\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:/usr/bin:/bin")
    with pytest.raises(GraftError, match=rf"{program} did not take the image: no space left"):
        hand_over(layout, program)
    assert files_of(layout) == before


def test_engine_is_given_the_name_of_the_bundle(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = write(tmp_path / "image")
    engine = tmp_path / "bin" / "podman"
    engine.parent.mkdir()
    engine.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho id-of-image\n')
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:/usr/bin:/bin")
    name = hand_over(layout, "podman")
    assert name.startswith("localhost/tiny:")
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"pull oci:{layout}",
        f"tag id-of-image {name.removeprefix('localhost/')}",
    ]


def test_docker_is_given_an_archive_that_it_reads_with_any_store_of_images(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With containerd's store it reads the layout, and else a list of the image's parts."""
    layout, archive, taken = write(tmp_path / "image"), tmp_path / "archive.tar", tmp_path / "taken"
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text(f'#!/bin/sh\n[ "$1 $2" = "load --input" ] && cp "$3" {archive}\n')
    engine.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{engine.parent}:/usr/bin:/bin")
        name = hand_over(layout, "docker")
    with tarfile.open(archive) as file:
        file.extractall(taken, filter="data")
    (parts,) = json.loads((taken / "manifest.json").read_bytes())
    assert parts["RepoTags"] == [name]
    config = json.loads((taken / parts["Config"]).read_bytes())
    layers = [hashlib.sha256((taken / layer).read_bytes()).hexdigest() for layer in parts["Layers"]]
    assert [f"sha256:{layer}" for layer in layers] == config["rootfs"]["diff_ids"]
    (taken / "manifest.json").unlink()
    assert files_of(taken) == files_of(layout)
    if shutil.which("skopeo"):
        command = ["skopeo", "inspect", "--config", f"docker-archive:{archive}:{name}"]
        assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["config"]["User"]


def test_image_holds_no_file_that_the_bundle_does_not_name(
    write: Write, tiny_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "bundle" / ".env").write_text("PASSWORD=1")
    recipe = load_recipe(run / "recipe.yaml")
    stray = Path(write_image(recipe, RunFolder(run), tmp_path / "stray").place)
    assert files_of(stray) == files_of(write(tmp_path / "image"))


def test_engine_that_says_nothing_leaves_no_traceback(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = write(tmp_path / "image")
    engine = tmp_path / "bin" / "podman"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:/usr/bin:/bin")
    with pytest.raises(GraftError, match="did not say what it calls it"):
        hand_over(layout, "podman")
    engine.write_bytes(b"\x7fELF, but no program")
    with pytest.raises(GraftError, match="podman cannot be started"):
        hand_over(layout, "podman")


def test_archive_that_does_not_fit_is_told(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    layout = write(tmp_path / "image")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(tarfile, "open", fail)
    with pytest.raises(GraftError, match=r"archive for docker cannot be written .No space.*TMPDIR"):
        hand_over(layout, "docker")
