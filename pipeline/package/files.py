"""The files of a bundle that travel: those that it names, and no other that lies in its folder."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import GraftError
from serving.model.bundle import Bundle
from serving.model.envelope import RECEIPTS_FILE, SIGNATURE_FILE
from serving.model.manifest import DEFAULTS_FILE, MANIFEST_FILE
from serving.model.signature import list_signed_files


def bundle_files(bundle: Bundle) -> list[Path]:
    """Return the paths of a bundle's files, in order.

    They are the manifest, what it refers to, the recommended settings and the signatures. Whatever else lies
    in the folder, such as an editor's copy or a file of passwords, stays where it is.

    Args:
        bundle: The bundle.

    Raises:
        GraftError: A signature covers another file as well, without which it would not hold.
        SignatureError: ``invalid_signature``: its file is none.
    """
    manifest = bundle.manifest
    refs = [*manifest.input.files(), manifest.reference]
    for artifact in manifest.artifacts:
        refs += [*artifact.files(), *([artifact.receipt] if artifact.receipt else [])]
    known = (MANIFEST_FILE, DEFAULTS_FILE, SIGNATURE_FILE, RECEIPTS_FILE)
    names = {ref.file for ref in refs} | {name for name in known if (bundle.folder / name).is_file()}
    signature = bundle.folder / SIGNATURE_FILE
    signed = list_signed_files(signature) if signature.is_file() else ()
    others = sorted({*signed} - names)
    if others:
        raise GraftError(
            f"{bundle.folder / others[0]}: is signed, but no part of the bundle, and does not travel. "
            "Remove it, and sign the rest again: graft sign"
        )
    return [bundle.folder / name for name in sorted(names)]
