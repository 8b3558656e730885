"""The stage ``package``: it puts the bundle into BentoML's model store, and builds a Bento around it."""

from __future__ import annotations

import json
import logging

from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.package.bento.building import build_bento, holds_bento
from pipeline.package.bento.content import Content
from pipeline.package.bento.store import holds_model, open_stores, store_model
from pipeline.recipe.sections import Recipe
from serving.model.bundle import open_bundle

log = logging.getLogger("graft")


def package(_: Recipe, run: RunFolder) -> None:
    """Store the bundle as a BentoML model, build the Bento from ``bentofile.yaml``, and write both tags.

    Both are named after the run and versioned by content, so that packaging the same bundle again changes
    nothing. Where BentoML has no service for the bundle's kind of input, both tags are null.

    Args:
        run: The run's folder.

    Raises:
        BundleError: The bundle has changed, or has no passed receipt.
    """
    content = Content(open_bundle(run.bundle))
    bundle = content.bundle
    if not content.has_service():
        atomic.write_json(run.bento, {"model": None, "bento": None})
        log.info(
            "package: no Bento, because BentoML has no service for %s input; it is served by: graft serve %s",
            bundle.manifest.input.modality,
            run.root,
        )
        return
    with open_stores():
        model_tag = store_model(bundle, content.model_tag())
        bento_tag = build_bento(content, model_tag)
    atomic.write_json(run.bento, {"model": model_tag, "bento": bento_tag})
    log.info("package: bentoml serve %s", bento_tag)


def is_packaged(run: RunFolder) -> bool:
    """Return whether both stores of BentoML still hold what the run's stage put there."""
    tags, content = json.loads(run.bento.read_bytes()), Content(open_bundle(run.bundle))
    if not content.has_service():
        return bool(tags == {"model": None, "bento": None})
    if tags["bento"] is None:  # the kind has got a service since
        return False
    return holds_model(content.bundle, tags["model"]) and holds_bento(content, tags["bento"], tags["model"])
