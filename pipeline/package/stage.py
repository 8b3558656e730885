"""The stage ``package``: the proven bundle into BentoML's model store, and a Bento around it."""

from __future__ import annotations

import filecmp
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path

import yaml

import serving
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.package.describing import list_labels, list_metadata, write_readme, write_service
from pipeline.recipe.sections import Recipe
from serving.model.bundle import Bundle, open_bundle
from serving.model.inputs.registry import find_kind

log = logging.getLogger("graft")
BENTOFILE = "bentofile.yaml"
REQUIREMENTS = "serving/requirements.txt"
SERVICE, SERVICE_FILE, README = "service:service", "service.py", "README.md"
CARRIED = frozenset({".py", ".html", ".jinja"})


def package(_: Recipe, run: RunFolder) -> None:
    """Store the bundle as a BentoML model, build the Bento from ``bentofile.yaml``, and write both tags.

    Both are named after the run and versioned by content, so that packaging the same bundle again changes
    nothing. Where BentoML has no service for the bundle's kind of input, both tags are null.

    Raises:
        BundleError: The bundle has changed, or has no passed receipt.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    bundle = open_bundle(run.bundle)
    if not _has_service(bundle):
        atomic.write_json(run.bento, {"model": None, "bento": None})
        log.info(
            "package: no Bento, because BentoML has no service for %s input; it is served by: graft serve %s",
            bundle.manifest.input.modality,
            run.root,
        )
        return
    model_tag = _store_model(bundle, f"{bundle.manifest.name}:{_version(bundle)}")
    bento_tag = _build_bento(bundle, model_tag)
    atomic.write_json(run.bento, {"model": model_tag, "bento": bento_tag})
    log.info("package: bentoml serve %s", bento_tag)


def _has_service(bundle: Bundle) -> bool:
    return find_kind(bundle.manifest.input.modality).bento_service is not None


def _version(bundle: Bundle) -> str:
    """Of what is in the bundle: the model's version; where there is more than fp32, or a benchmark's advice, a hash over that too."""
    parts = [f"{artifact.name} {artifact.sha256}" for artifact in bundle.manifest.artifacts]
    parts += [bundle.defaults.model_dump_json()] if bundle.defaults else []
    more = "" if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6]
    return bundle.manifest.version + more


def is_packaged(run: RunFolder) -> bool:
    """Whether both stores still hold what the stage put there: nothing, where BentoML has no service."""
    tags, bundle = json.loads(run.bento.read_bytes()), open_bundle(run.bundle)
    if not _has_service(bundle):
        return bool(tags == {"model": None, "bento": None})
    if tags["bento"] is None:  # the kind has got a service since
        return False
    files = _describe(bundle, tags["bento"], tags["model"])
    return _holds_model(run.bundle, _place("models", tags["model"])) and _holds_service(
        _place("bentos", tags["bento"]), files
    )


def _store_model(bundle: Bundle, tag: str) -> str:
    import bentoml

    place = _place("models", tag)
    if _holds_model(bundle.folder, place) and (place / "model.yaml").is_file():
        return tag
    shutil.rmtree(place, ignore_errors=True)  # another bundle's, or what a killed process left
    with bentoml.models.create(tag, labels=list_labels(bundle), metadata=list_metadata(bundle)) as model:
        shutil.copytree(bundle.folder, model.path, dirs_exist_ok=True)
    return str(model.tag)


def _build_bento(bundle: Bundle, model_tag: str) -> str:
    import bentoml

    name, requirements = bundle.manifest.name, _requirements(bundle)
    version = f"{_version(bundle)}-{_hash_context(requirements)[:8]}"
    tag = f"{name}:{version}"
    place, files = _place("bentos", tag), _describe(bundle, tag, model_tag)
    if _holds_service(place, files) and (place / "bento.yaml").is_file():
        return tag
    shutil.rmtree(place, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="graft-bento-") as context:
        bentofile = _write_context(Path(context), model_tag, {**files, REQUIREMENTS: requirements})
        return str(
            bentoml.bentos.build_bentofile(str(bentofile), name=name, version=version, build_ctx=context).tag
        )


def _describe(bundle: Bundle, tag: str, model_tag: str) -> dict[str, str]:
    """The files that are written for this Bento alone, by their path in it."""
    return {SERVICE_FILE: write_service(bundle), README: write_readme(bundle, tag, model_tag)}


def _place(store: str, tag: str) -> Path:
    """Where BentoML keeps a model or a Bento."""
    home = os.environ.get("BENTOML_HOME") or Path.home() / "bentoml"
    return Path(home, store, *tag.split(":"))


def _holds_model(folder: Path, place: Path) -> bool:
    return _same_files(folder, place, [path for path in folder.rglob("*") if path.is_file()])


def _holds_service(place: Path, files: Mapping[str, str]) -> bool:
    written = {place / ("" if name == README else "src") / name: text for name, text in files.items()}
    return _same_files(_serving_folder(), place / "src" / "serving", _carried_files()) and all(
        path.is_file() and path.read_text(encoding="utf-8") == text for path, text in written.items()
    )


def _carried_files() -> list[Path]:
    """The files of `serving` that a Bento carries, as ``bentofile.yaml`` includes them; requirements are written anew for each."""
    return sorted(path for path in _serving_folder().rglob("*") if path.suffix in CARRIED)


def _same_files(ours: Path, stored: Path, paths: list[Path]) -> bool:
    """Whether each of our files is in the store, byte by byte."""
    files = [path.relative_to(ours) for path in paths]
    return all(
        (stored / file).is_file() and filecmp.cmp(ours / file, stored / file, shallow=False) for file in files
    )


def _write_context(context: Path, model_tag: str, files: Mapping[str, str]) -> Path:
    """What the Bento is built from: the package ``serving``, the files of this Bento, and ``bentofile.yaml`` with the model in it."""
    shutil.copytree(_serving_folder(), context / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in files.items():
        (context / name).write_text(text, encoding="utf-8")
    document = yaml.safe_load(_bentofile().read_bytes())
    document |= {"service": SERVICE, "models": [model_tag], "args": {"model": model_tag}}
    document["include"] = [*document["include"], SERVICE_FILE]
    del document["description"]  # BentoML would write it where the README belongs
    path = context / BENTOFILE
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def _serving_folder() -> Path:
    return Path(serving.__file__).parent


def _bentofile() -> Path:
    """Beside the packages in a checkout, inside this one in a wheel."""
    checkout = _serving_folder().parent / BENTOFILE
    return checkout if checkout.is_file() else Path(str(resources.files("pipeline.package") / BENTOFILE))


def _requirements(bundle: Bundle) -> str:
    """What the service's process needs for the bundle's artifacts: the tested set, and what their runtimes add to it."""
    lines = (_serving_folder().parent / REQUIREMENTS).read_text(encoding="utf-8").splitlines()
    runtimes = {artifact.runtime for artifact in bundle.manifest.artifacts}
    if "openvino-cpu" in runtimes:
        lines.append(f"openvino=={metadata.version('openvino')}")
    if runtimes & {
        "onnxruntime-cuda",
        "onnxruntime-tensorrt",
    }:  # onnxruntime's two packages own one module: never both
        lines = [line.replace("onnxruntime==", "onnxruntime-gpu[cuda,cudnn]==") for line in lines]
    if "onnxruntime-tensorrt" in runtimes:
        lines += [f"{name}=={metadata.version(name)}" for name in ("tensorrt-cu13", "nvidia-ml-py")]
    return "\n".join(lines) + "\n"


def _hash_context(requirements: str) -> str:
    files = [_bentofile(), *_carried_files()]
    return hashlib.sha256(
        b"\0".join([requirements.encode(), *(path.read_bytes() for path in files)])
    ).hexdigest()
