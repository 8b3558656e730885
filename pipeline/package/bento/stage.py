"""The stage ``package``: it puts the bundle into BentoML's model store, and builds a Bento around it."""

from __future__ import annotations

import filecmp
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import yaml

from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.package.bento.carried import (
    BENTOFILE,
    REQUIREMENTS,
    carried_files,
    find_bentofile,
    find_requirements,
    serving_folder,
)
from pipeline.package.bento.describing import (
    ACCELERATED,
    list_labels,
    list_metadata,
    write_readme,
    write_service,
)
from pipeline.recipe.sections import Recipe
from serving.model.bundle import Bundle, open_bundle
from serving.model.envelope import SIGNATURE_FILE
from serving.model.inputs.registry import find_kind

log = logging.getLogger("graft")
SERVICE, SERVICE_FILE, README = "service:service", "service.py", "README.md"


def package(_: Recipe, run: RunFolder) -> None:
    """Store the bundle as a BentoML model, build the Bento from ``bentofile.yaml``, and write both tags.

    Both are named after the run and versioned by content, so that packaging the same bundle again changes
    nothing. Where BentoML has no service for the bundle's kind of input, both tags are null.

    Args:
        run: The run's folder.

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
    """Return whether BentoML has a service for the bundle's kind of input."""
    return find_kind(bundle.manifest.input.modality).bento_service is not None


def _version(bundle: Bundle) -> str:
    """Return the version of a bundle's content.

    It is the version of the model, followed by a hash over the files and the settings if there is more than
    the fp32 file. The environment that made them is no part of it: the same run gives the same tags wherever
    it gives the same weights.
    """
    parts = [f"{artifact.name} {artifact.sha256}" for artifact in bundle.manifest.artifacts[1:]]
    parts += [bundle.defaults.model_dump_json()] if bundle.defaults else []
    more = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6] if parts else ""
    return bundle.manifest.version + more


def is_packaged(run: RunFolder) -> bool:
    """Return whether both stores of BentoML still hold what the run's stage put there."""
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
    shutil.rmtree(place, ignore_errors=True)  # it is of another bundle, or was left by a killed process
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
    """Return the texts of the files that are written for this Bento alone, by their path in it."""
    return {SERVICE_FILE: write_service(bundle), README: write_readme(bundle, tag, model_tag)}


def _place(store: str, tag: str) -> Path:
    """Return the folder where BentoML keeps a model or a Bento."""
    home = os.environ.get("BENTOML_HOME") or Path.home() / "bentoml"
    return Path(home, store, *tag.split(":"))


def _holds_model(folder: Path, place: Path) -> bool:
    return _same_files(folder, place, [path for path in folder.rglob("*") if path.is_file()])


def _holds_service(place: Path, files: Mapping[str, str]) -> bool:
    written = {place / ("" if name == README else "src") / name: text for name, text in files.items()}
    return _same_files(serving_folder(), place / "src" / "serving", carried_files()) and all(
        path.is_file() and path.read_text(encoding="utf-8") == text for path, text in written.items()
    )


def _same_files(source: Path, stored: Path, paths: list[Path]) -> bool:
    """Return whether each file of a source folder is in the store, byte by byte.

    Args:
        source: The source folder.
        stored: Its copy in the store.
        paths: The files in the source folder.
    """
    files = [path.relative_to(source) for path in paths]
    return all(
        (stored / file).is_file() and filecmp.cmp(source / file, stored / file, shallow=False)
        for file in files
    )


def _write_context(context: Path, model_tag: str, files: Mapping[str, str]) -> Path:
    """Write what a Bento is built from: ``serving``, its own files, and a ``bentofile.yaml`` of its own."""
    shutil.copytree(serving_folder(), context / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in files.items():
        (context / name).write_text(text, encoding="utf-8")
    document = yaml.safe_load(find_bentofile().read_bytes())
    document |= {"service": SERVICE, "models": [model_tag], "args": {"model": model_tag}}
    document["include"] = [*document["include"], SERVICE_FILE]
    del document["description"]  # BentoML would write it where the README belongs
    path = context / BENTOFILE
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def _requirements(bundle: Bundle) -> str:
    """Return what the service needs: the tested set, and what its artifacts and its signature add."""
    lines = find_requirements().read_text(encoding="utf-8").splitlines()
    runtimes = {artifact.runtime for artifact in bundle.manifest.artifacts}
    if "openvino-cpu" in runtimes:
        lines.append(f"openvino=={metadata.version('openvino')}")
    if runtimes & ACCELERATED:
        # The two packages of onnxruntime own one module, so that only one of them may be installed.
        lines = [line.replace("onnxruntime==", "onnxruntime-gpu[cuda,cudnn]==") for line in lines]
    if "onnxruntime-tensorrt" in runtimes:
        lines += [f"{name}=={metadata.version(name)}" for name in ("tensorrt-cu13", "nvidia-ml-py")]
    if (bundle.folder / SIGNATURE_FILE).is_file():  # which GRAFT_TRUSTED_KEYS can ask for
        lines.append(f"cryptography=={metadata.version('cryptography')}")
    return "\n".join(lines) + "\n"


def _hash_context(requirements: str) -> str:
    files = [find_bentofile(), *carried_files()]
    return hashlib.sha256(
        b"\0".join([requirements.encode(), *(path.read_bytes() for path in files)])
    ).hexdigest()
