"""The work of ``graft package --image``: an OCI layout, and beside it its bill of materials."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.package.bento.content import version_of
from pipeline.package.bento.flavours import choose_content
from pipeline.package.container.bill import write_bill
from pipeline.package.container.config import MEDIA_TYPE as CONFIG_TYPE
from pipeline.package.container.config import write_config
from pipeline.package.container.dependencies import read_dependencies
from pipeline.package.container.entries import read_files
from pipeline.package.container.fetching import fetch_debian, fetch_python
from pipeline.package.container.layers import Blob, write_blob, write_layer
from pipeline.package.container.layout import INDEX, LAYOUT, NAME, TAG
from pipeline.package.container.locks import GRPC, SIGNING, read_debian, read_python
from pipeline.package.container.naming import name_image
from pipeline.package.container.system import read_system
from pipeline.package.files import bundle_files
from pipeline.package.packaged import Packaged
from pipeline.recipe.sections import Recipe
from serving.model.bundle import open_bundle
from serving.model.envelope import SIGNATURE_FILE

MODELS = "models"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def write_image(recipe: Recipe, run: RunFolder, output: Path) -> Packaged:
    """Write the image of a run's bundle, for machines with x86-64 CPUs.

    The same bundle and the same release of Graft give the same digest, on every machine.

    Args:
        recipe: The run's recipe, which says whether the service answers over gRPC.
        run: The run's folder, whose bundle is proven.
        output: The folder to write: ``layout/``, an OCI layout, and beside it the bill of materials as
            CycloneDX and the list of licences.

    Raises:
        BundleError: The bundle has changed, or has no passed receipt.
        GraftError: The bundle has no artifact that ONNX Runtime runs on a CPU, or what the image is made of
            cannot be downloaded.
        OSError: It cannot be written; what was there before stays.
    """
    content = choose_content(open_bundle(run.bundle), "oci")
    bundled, debian = bundle_files(content.bundle), read_debian()
    extras = [SIGNING] if (run.bundle / SIGNATURE_FILE).is_file() else []
    extras += [GRPC] if recipe.deploy.grpc_port else []
    python = read_python(*extras)
    packages, wheels = fetch_debian(debian), fetch_python(python)
    tag = name_image(content.bundle.manifest.name, version_of(content.bundle))
    with atomic.folder(output) as partial:
        layout = partial / LAYOUT
        layers = [
            write_layer(layout, read_system(packages)),
            write_layer(layout, read_dependencies(wheels)),
            write_layer(layout, read_files(run.bundle, bundled, MODELS)),
        ]
        config = write_config(content.bundle, content.served or content.bundle.artifact(), layers)
        manifest = _write_manifest(layout, write_blob(layout, CONFIG_TYPE, config), layers)
        _write_index(layout, manifest, tag)
        write_bill(
            partial,
            manifest.digest,
            [*zip(debian, packages, strict=True)],
            [*zip(python, wheels, strict=True)],
        )
    steps = [f"skopeo copy oci:{output / LAYOUT} docker-daemon:{tag}", f"podman pull oci:{output / LAYOUT}"]
    return Packaged("oci image", str(output / LAYOUT), (manifest.digest, *steps))


def _write_manifest(layout: Path, config: Blob, layers: list[Blob]) -> Blob:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.describe(),
        "layers": [layer.describe() for layer in layers],
    }
    return write_blob(layout, MANIFEST_TYPE, json.dumps(document, indent=1, sort_keys=True).encode())


def _write_index(layout: Path, manifest: Blob, name: str) -> None:
    """Write the two files that make a folder an OCI layout (OCI image specification, ``image-layout.md``)."""
    annotations = {
        TAG: name.partition(":")[2],
        NAME: f"docker.io/library/{name}",
    }
    described = {**manifest.describe(), "annotations": annotations}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [described]}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True))
