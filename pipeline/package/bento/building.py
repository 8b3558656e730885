"""The build of a Bento by BentoML, from the files of ``serving`` and a ``bentofile.yaml`` of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from pipeline.package.bento.carried import (
    BENTOFILE,
    REQUIREMENTS,
    carried_files,
    find_bentofile,
    serving_folder,
)
from pipeline.package.bento.content import README, SERVICE_FILE, Content
from pipeline.package.bento.store import are_same_files, place_of

SERVICE = "service:service"


def build_bento(content: Content, model_tag: str) -> str:
    """Build a Bento, unless the store holds it already, and return its tag.

    Args:
        content: What the Bento holds.
        model_tag: Tag of its bundle in the store of models.
    """
    import bentoml

    tag = content.bento_tag()
    if holds_bento(content, tag, model_tag) and (place_of("bentos", tag) / "bento.yaml").is_file():
        return tag
    shutil.rmtree(place_of("bentos", tag), ignore_errors=True)
    name, version = tag.split(":")
    files = {**content.files(model_tag), REQUIREMENTS: content.requirements()}
    with tempfile.TemporaryDirectory(prefix="graft-bento-") as context:
        bentofile = _write_context(Path(context), model_tag, files)
        return str(
            bentoml.bentos.build_bentofile(str(bentofile), name=name, version=version, build_ctx=context).tag
        )


def holds_bento(content: Content, tag: str, model_tag: str) -> bool:
    """Return whether the store of Bentos holds the files of one, byte by byte.

    Args:
        content: What the Bento holds.
        tag: Tag of the Bento.
        model_tag: Tag of its bundle in the store of models.
    """
    place, files = place_of("bentos", tag), content.files(model_tag)
    written = {place / ("" if name == README else "src") / name: text for name, text in files.items()}
    return are_same_files(serving_folder(), place / "src" / "serving", carried_files()) and all(
        path.is_file() and path.read_text(encoding="utf-8") == text for path, text in written.items()
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
