"""A model repository of Triton, written from a run's proven bundle.

It holds three models: the network, whose file has the very bytes of the bundle's artifact; a decoder, which
is ``serving``'s own code in Triton's Python backend; and an ensemble of both, which clients call.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.package.packaged import Packaged
from pipeline.package.triton.carried import copy_code, list_requirements
from pipeline.package.triton.describing import (
    FILENAMES,
    Names,
    Served,
    as_bytes,
    count_instances,
    describe,
    list_lineage,
    read_limit,
)
from pipeline.recipe.deploy import Deploy
from pipeline.recipe.sections import Recipe
from serving.model.bundle import Bundle, open_bundle
from serving.model.files import check_file
from serving.model.inputs.kind import FileBody
from serving.model.inputs.registry import find_kind

VERSION = "1"


def write_repository(recipe: Recipe, run: RunFolder, output: Path) -> Packaged:
    """Write the model repository.

    Args:
        recipe: The recipe; ``deploy.artifact`` names the artifact, ``deploy.cpu`` the number of instances.
        run: The run's folder.
        output: The folder to write.

    Raises:
        BundleError: The bundle has changed, or does not publish the artifact.
        GraftError: Triton would run the artifact otherwise than it is proven.
        OSError: The folder cannot be written.
    """
    write_models(open_bundle(run.bundle), recipe.deploy, output)
    return Packaged(
        "triton",
        str(output),
        (
            f"tritonserver --model-repository {output}",
            f"The image needs {output / 'requirements.txt'}; README.md there says how, and how to ask it.",
            "No receipt covers Triton's own runtime: compare its answers with compare.py there.",
        ),
    )


def write_models(bundle: Bundle, deploy: Deploy, output: Path) -> None:
    """Write the models of a bundle, and what is said of them; see :func:`write_repository`."""
    served = describe(bundle, deploy.artifact)
    names = Names.of(bundle.manifest.name)
    with atomic.folder(output) as folder:
        texts = _write_texts(bundle, served, names, count_instances(deploy.cpu))
        for place, text in texts.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text, encoding="utf-8")
        _write_network(bundle, served, folder / names.model)
        _write_decoder(bundle, folder / names.decoder)
        (folder / names.ensemble / VERSION).mkdir()  # Triton wants one, though nothing is in it
        (folder / names.ensemble / VERSION / ".keep").touch()  # which neither git nor an object store forgets
        shutil.copy(_source("compare.py"), folder)


def _write_texts(bundle: Bundle, served: Served, names: Names, instances: int) -> dict[str, str]:
    """Return the texts of the repository by their places in it."""
    manifest = bundle.manifest
    kind = find_kind(manifest.input.modality)
    values: dict[str, object] = {
        "artifact": served.artifact,
        "backend": served.backend,
        "file_sha256": served.file.sha256,
        "filename": FILENAMES[served.backend],
        "inputs": served.inputs,
        "instances": instances,
        "is_file": isinstance(kind.body, FileBody),
        "labels": manifest.labels,
        "lineage": list_lineage(bundle, served.artifact),
        "max_batch": served.max_batch,
        "modality": kind.name,
        "name": manifest.name,
        "names": names,
        "noun": kind.noun,
        "on_gpu": served.on_gpu,
        "outputs": served.outputs,
        "plan": served.artifact.plan,
        "plural": kind.plural,
        "warm_up": served.warm_up_tensors,
    }
    description = {
        "name": names.ensemble,
        "input": kind.name,
        "output": served.outputs[0].name,
        "labels": manifest.labels,
        "limit": read_limit(bundle, served.artifact),
        **list_lineage(bundle, served.artifact),
    }
    return {
        "README.md": _render("README.md.jinja", values),
        "Dockerfile": _render("Dockerfile.jinja", values),
        "requirements.txt": "\n".join(list_requirements(kind)) + "\n",
        "graft.json": json.dumps(description, indent=2, ensure_ascii=False) + "\n",
        f"{names.ensemble}/config.pbtxt": _render("ensemble.pbtxt.jinja", values),
        f"{names.model}/config.pbtxt": _render("model.pbtxt.jinja", values),
        f"{names.model}/labels.txt": "".join(f"{label}\n" for label in manifest.labels),
        f"{names.decoder}/config.pbtxt": _render("decoder.pbtxt.jinja", values),
        f"{names.decoder}/{VERSION}/input.json": manifest.input.model_dump_json(indent=2),
    }


def _write_network(bundle: Bundle, served: Served, folder: Path) -> None:
    """Copy the model's file, check that the copy has the proven bytes, and write what warms it up."""
    place = folder / VERSION
    place.mkdir()
    copied = place / FILENAMES[served.backend]
    shutil.copyfile(bundle.path_of(served.file), copied)
    check_file(place, served.file.model_copy(update={"file": copied.name}))
    if served.artifact.tensors and served.backend == "onnxruntime":  # the ONNX file refers to it by its name
        shutil.copyfile(bundle.path_of(served.artifact.tensors), place / served.artifact.tensors.file)
        check_file(place, served.artifact.tensors)
    if served.artifact.receipt:
        shutil.copyfile(bundle.path_of(served.artifact.receipt), folder / "receipt.json")
    (folder / "warmup").mkdir()
    for name, array in served.warm_up.items():
        (folder / "warmup" / name).write_bytes(as_bytes(array))


def _write_decoder(bundle: Bundle, folder: Path) -> None:
    """Write the code of the decoder, the files that its input spec names, and what warms it up."""
    place, kind = folder / VERSION, find_kind(bundle.manifest.input.modality)
    shutil.copy(_source("decoder.py"), place / "model.py")
    for ref in bundle.manifest.input.files():
        (place / ref.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path_of(ref), place / ref.file)
    copy_code(place / "code" / "serving")
    body = kind.body
    example = body.example if isinstance(body, FileBody) else body.encode(body.examples[0], body.field)
    (folder / "warmup").mkdir()
    # A string in a file has its length in front, in 4 bytes.
    (folder / "warmup" / kind.name).write_bytes(len(example).to_bytes(4, "little") + example)


def _source(name: str) -> Path:
    return Path(str(resources.files("pipeline.package.triton") / name))


def _render(template: str, values: Mapping[str, object]) -> str:
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - neither Markdown nor a configuration is HTML
    )
    return environment.from_string(_source(template).read_text(encoding="utf-8")).render(values)
