"""The model that answers now, and how a new version of its bundle takes over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from serving.model.bundle import SERVICES
from serving.model.errors import BundleError, ServingError
from serving.model.predictor import Predictor, load_predictor

log = logging.getLogger("graft")
Signature = tuple[tuple[str, int, int, int], ...]


class LiveModel:
    """A predictor, and the folder that it came from.

    A request keeps the predictor that it began with, so that a swap fails none; the old one is freed with its last request.

    Args:
        folder: A bundle's folder, or a link to one.
        artifact: A published artifact's name, or the default.
        fallback: The name of one to serve where that cannot be run.
        modality: Refuse bundles of another.

    Attributes:
        refusal: Why the folder's present content is not served; None when it is.
    """

    def __init__(self, folder: Path, *, artifact: str | None = None, fallback: str | None = None, modality: str | None = None) -> None:
        self.folder = folder
        self._load: Callable[[Path], Predictor] = lambda folder: load_predictor(folder, artifact=artifact, fallback=fallback)
        self._modality = modality
        self._seen: Signature | None = None
        self._predictor: Predictor | None = None
        self.refusal: ServingError | None = None

    @property
    def predictor(self) -> Predictor:
        """What answers; raises the refusal where nothing does yet."""
        if self._predictor is None:
            raise self.refusal or BundleError("loading", f"{self.folder}: is being loaded.")
        return self._predictor

    @property
    def is_ready(self) -> bool:
        """Whether there is a predictor."""
        return self._predictor is not None

    def refresh(self) -> bool | None:
        """Load what is in the folder if that changed since the last look, beside what answers now.

        Returns:
            True when it took over, False when it was refused (see :attr:`refusal`) and what was there stays, None when nothing changed.
        """
        seen = _signature(self.folder)
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            # Resolved, so that a link that moves on meanwhile does not mix two bundles.
            predictor = self._load(self.folder.resolve())
            self._require_modality(predictor)
        except Exception as error:  # a file that vanishes meanwhile, no memory for a second model: what answers must go on
            self.refusal = error if isinstance(error, ServingError) else BundleError("not_loaded", f"{self.folder}: {error!r}")
            stays = f"; {self._predictor.version} stays" if self._predictor else ""
            log.error("%s is not served%s: %s", self.folder, stays, self.refusal.message)
            return False
        self._modality = predictor.manifest.input.modality
        self.refusal, self._predictor = None, predictor
        log.info("serving %s %s, %s", predictor.manifest.name, predictor.version, predictor.artifact.name)
        return True

    def _require_modality(self, predictor: Predictor) -> None:
        found = predictor.manifest.input.modality
        if self._modality not in {None, found}:
            text = f"The bundle takes {found} input, but this service takes {self._modality}. Serve it with {SERVICES[found]}."
            raise BundleError("wrong_service", text)


def _signature(folder: Path) -> Signature:
    """Of every file of a bundle: it changes when one of them does, also when a link to the folder does."""
    try:
        files = [(str(path), path.stat()) for path in sorted(folder.resolve().rglob("*")) if path.is_file()]
    except OSError:  # a file that vanished meanwhile: the next look sees what remains
        return ()
    return tuple((path, status.st_mtime_ns, status.st_size, status.st_ino) for path, status in files)
