"""A written image, read again by whoever works with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.package.container.layers import write_blob
from pipeline.package.container.layout import open_layout, require_whole


def write(layout: Path, entries: int = 1, **notes: str) -> None:
    """Write a layout with the same image under so many entries."""
    layers = [write_blob(layout, "layer", content).describe() for content in (b"low", b"high")]
    parts = {"config": write_blob(layout, "config", b"{}").describe(), "layers": layers}
    manifest = write_blob(layout, "manifest", json.dumps(parts).encode())
    entry = {**manifest.describe(), "annotations": notes}
    (layout / "index.json").write_text(json.dumps({"manifests": [entry] * entries}))


def test_layers_are_in_their_order_and_the_digest_is_that_of_the_manifest(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{"io.containerd.image.name": "docker.io/library/cells:3", "org.opencontainers.image.ref.name": "3"},
    )
    image = open_layout(tmp_path)
    assert [layer.read_bytes() for layer in image.layers] == [b"low", b"high"]
    assert (image.config.read_bytes(), image.name, image.tag) == (b"{}", "cells:3", "3")
    assert (tmp_path / "blobs" / image.digest.replace(":", "/")).is_file()


def test_image_without_a_name_has_none(tmp_path: Path) -> None:
    write(tmp_path)
    assert (open_layout(tmp_path).name, open_layout(tmp_path).tag) == ("", "")


@pytest.mark.parametrize(
    "index", ["", "[]", "{}", '{"manifests": []}', '{"manifests": [3]}', '{"manifests": [{"digest": 3}]}']
)
def test_what_is_no_layout_is_refused_with_the_remedy(index: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(GraftError, match=r"is no OCI layout of one image .*graft package RUN --image"):
        open_layout(tmp_path)


def test_layout_of_two_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path, entries=2)
    with pytest.raises(GraftError, match="is no OCI layout of one image"):
        open_layout(tmp_path)


def test_changed_part_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    image = open_layout(tmp_path)
    image.layers[0].write_bytes(b"bow")
    require_whole(image.layers[1])
    with pytest.raises(GraftError, match="this part of the image was changed"):
        require_whole(image.layers[0])
    manifest = tmp_path / "blobs" / image.digest.replace(":", "/")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(GraftError, match="this part of the image was changed"):
        open_layout(tmp_path)
