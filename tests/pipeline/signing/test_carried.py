"""The receipts that are signed with an image are those of the bundle that it really serves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.run.sign import check_signature
from pipeline.signing.keys import Signer, read_signer
from pipeline.signing.signing import sign_image
from serving.model.envelope import read_envelope
from serving.model.errors import BundleError
from tests.signing import bundle_at, make_key, make_layer, write_image

pytestmark = pytest.mark.slow  # all need a bundle


@pytest.fixture
def bundle(tiny_run: Path) -> Path:
    return tiny_run / "bundle"


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return read_signer(make_key(tmp_path).private)


def in_models(bundle: Path) -> bytes:
    return make_layer(bundle_at("models", bundle))


def evil(bundle: Path, place: str = "models") -> dict[str, bytes]:
    """A bundle whose model is another one."""
    return bundle_at(place, bundle) | {f"{place}/model.onnx": b"evil"}


def subjects_of(image: Path) -> list[str]:
    payload = read_envelope((image / "receipts.sig").read_bytes(), "receipts.sig").payload
    subjects = json.loads(payload)["subject"]
    return [each["digest"]["sha256"] for each in subjects if each["name"] == "oci-image"]


def test_what_upper_layers_add_and_take_away_counts(bundle: Path, tmp_path: Path, signer: Signer) -> None:
    """A bundle that is spoilt below and mended above is the one that is served."""
    more = {"models/more/file": b"more", "models/old": b"old"}
    gone = {"models/more/.wh..wh..opq": b"", "models/.wh.old": b"", "other": b""}
    layers = [make_layer(evil(bundle) | more), make_layer(gone), in_models(bundle)]
    image = write_image(tmp_path / "image", layers)
    assert sign_image(image, signer).receipts == 1
    assert check_signature(image, tmp_path / "key.pub").receipts == 1


@pytest.mark.parametrize(
    "names",
    [["models/model.onnx"], ["./models/model.onnx"], ["/models//model.onnx"], ["models/.wh.model.onnx"],
     ["models/.wh..wh..opq", "models/manifest.json"]],
    ids=" ".join,
)  # fmt: skip
def test_a_bundle_that_an_upper_layer_changes_is_not_signed(
    bundle: Path, tmp_path: Path, signer: Signer, names: list[str]
) -> None:
    manifest = (bundle / "manifest.json").read_bytes()
    upper = {name: manifest if name.endswith("manifest.json") else b"evil" for name in names}
    image = write_image(tmp_path / "image", [in_models(bundle), make_layer(upper)])
    with pytest.raises(BundleError, match=f"{image}: of the bundle in it, (model.onnx|.*receipt|reference)"):
        sign_image(image, signer)
    assert not list(image.glob("*.sig"))


def test_a_bundle_that_is_taken_away_is_not_carried(bundle: Path, tmp_path: Path, signer: Signer) -> None:
    image = write_image(tmp_path / "image", [in_models(bundle), make_layer({".wh.models": b""})])
    assert sign_image(image, signer).receipts == 0


def decoy_above(bundle: Path) -> list[bytes]:
    return [make_layer(evil(bundle)), make_layer(bundle_at("opt/decoy", bundle))]


def decoy_first(bundle: Path) -> list[bytes]:
    return [make_layer(bundle_at("decoy", bundle) | evil(bundle))]


def decoy_alone(bundle: Path) -> list[bytes]:
    return [make_layer(bundle_at("opt/decoy", bundle))]


def decoy_inside(bundle: Path) -> list[bytes]:
    return [make_layer(evil(bundle, "models/inside") | bundle_at("models", bundle))]


def linked_folder(bundle: Path) -> list[bytes]:
    return [make_layer(bundle_at("opt", bundle)), make_layer({}, {"models": "opt"})]


def linked_file(bundle: Path) -> list[bytes]:
    return [in_models(bundle), make_layer({"evil": b"evil"}, {"models/model.onnx": "/evil"})]


def linked_manifest(bundle: Path) -> list[bytes]:
    files = bundle_at("models", bundle)
    files["models/other.json"] = files.pop("models/manifest.json")
    return [make_layer(files, {"models/manifest.json": "other.json"})]


def over_a_link(bundle: Path) -> list[bytes]:
    """A file that some programs write to /models, and others to /x."""
    return [make_layer(bundle_at("models", bundle), {"x": "models"}), make_layer({"x/model.onnx": b"evil"})]


def over_a_link_to_the_root(bundle: Path) -> list[bytes]:
    return [in_models(bundle), make_layer({"a/x/models/.wh.model.onnx": b""}, {"a/x": ".."})]


def below_a_file(bundle: Path) -> list[bytes]:
    return [in_models(bundle), make_layer({"models/model.onnx/more": b"more"})]


def climbing(bundle: Path) -> list[bytes]:
    return [in_models(bundle), make_layer({"a/../models/model.onnx": b"evil"})]


UNCLEAR = [
    decoy_above, decoy_first, decoy_alone, decoy_inside, linked_folder, linked_file, linked_manifest,
    over_a_link, over_a_link_to_the_root, below_a_file, climbing,
]  # fmt: skip


@pytest.mark.parametrize("make", UNCLEAR, ids=lambda make: make.__name__)
def test_an_image_of_which_it_is_not_clear_what_it_serves_is_not_signed(
    bundle: Path, tmp_path: Path, signer: Signer, make: Callable[[Path], Sequence[bytes]]
) -> None:
    image = write_image(tmp_path / "image", make(bundle))
    with pytest.raises(GraftError):
        sign_image(image, signer)
    assert not list(image.glob("*.sig"))


def test_links_elsewhere_do_not_matter(bundle: Path, tmp_path: Path, signer: Signer) -> None:
    """Such as those of Debian, over which other layers bring programs."""
    layers = [
        make_layer({"usr/bin/a": b"a"}, {"bin": "usr/bin"}),
        in_models(bundle),
        make_layer({"bin/b": b"b"}),
    ]
    assert sign_image(write_image(tmp_path / "image", layers), signer).receipts == 1


def test_the_command_says_which_folder_is_served(bundle: Path, tmp_path: Path, signer: Signer) -> None:
    layers, command = [make_layer(bundle_at("srv/cells", bundle))], ["python", "-m", "serving", "/srv/cells/"]
    assert sign_image(write_image(tmp_path / "image", layers, command=command), signer).receipts == 1


def test_only_manifests_that_carry_the_bundle_are_named(bundle: Path, tmp_path: Path, signer: Signer) -> None:
    one, other, none = (
        in_models(bundle),
        make_layer({"a": b"", **bundle_at("models", bundle)}),
        make_layer({}),
    )
    both = write_image(tmp_path / "both", [one], [other])
    assert sign_image(both, signer).receipts == 1
    assert len(subjects_of(both)) == 2
    for name, beside in (("none", [none]), ("document", [b'{"_type": "about the other"}'])):
        image = write_image(tmp_path / name, [one], beside)
        assert sign_image(image, signer).receipts == 1
        alone = write_image(tmp_path / f"{name}-alone", [one])
        index = json.loads((alone / "index.json").read_bytes())
        assert subjects_of(image) == [index["manifests"][0]["digest"].removeprefix("sha256:")]


def test_platforms_with_different_bundles_are_not_signed(
    bundle: Path, tmp_path: Path, signer: Signer
) -> None:
    one, changed = in_models(bundle), make_layer(bundle_at("models", bundle) | {"models/more": b"more"})
    for name, first, second in (("one", one, changed), ("two", changed, one)):
        image = write_image(tmp_path / name, [first], [second])
        with pytest.raises(GraftError, match="carry different bundles"):
            sign_image(image, signer)


@pytest.mark.parametrize("how", ["zstd", "cut off", "damaged", "nothing", "document above"])
def test_a_layer_that_cannot_be_read_is_refused_with_what_helps(
    bundle: Path, tmp_path: Path, signer: Signer, how: str
) -> None:
    """Though it may hold the bundle that is served."""
    layers = [in_models(bundle)]
    if how == "zstd":  # whatever the archive is, its first bytes tell
        layers.append(b"\x28\xb5\x2f\xfd" + layers[0])
    elif how == "cut off":
        layers.append(make_layer(bundle_at("models", bundle), compression="gz")[:-2000])
    elif how == "damaged":  # where the second file begins
        layer = make_layer({"a": b"a", "b": b"b"})
        layers.append(layer[:1024] + b"x" * 512 + layer[1536:])
    else:
        layers.append(b"" if how == "nothing" else b"{}")
    image = write_image(tmp_path / "image", layers)
    with pytest.raises(GraftError, match=r"cannot be read as a layer .* skopeo copy"):
        sign_image(image, signer)
    assert not list(image.glob("*.sig"))


def test_a_bundle_in_an_image_of_docker_is_found(bundle: Path, tmp_path: Path, signer: Signer) -> None:
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    good = write_image(tmp_path / "good", [in_models(bundle)], manifest_type=kind)
    assert sign_image(good, signer).receipts == 1
    bad = write_image(tmp_path / "bad", [make_layer(evil(bundle))], manifest_type=kind)
    with pytest.raises(BundleError):
        sign_image(bad, signer)
