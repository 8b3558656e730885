"""The model that serves requests, and how a new version of its bundle replaces it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from serving.model.errors import BundleError, ServingError
from serving.model.predictor import Predictor, load_predictor

log = logging.getLogger("graft")
# One entry per file: its path, modification time in nanoseconds, size in bytes and inode number.
State = tuple[tuple[str, int, int, int], ...]


class LiveModel:
    """The predictor that serves requests, and the bundle folder that it is loaded from.

    A request keeps the predictor that it started with, so that a swap fails no request. The old predictor is
    freed when its last request ends.

    Args:
        folder: Path of a bundle's folder, or of a link to one.
        artifact: Name of the published artifact to serve. By default it is the one that a benchmark
            recommends, or the bundle's first.
        fallback: Name of the artifact to serve instead when the first cannot be run on this machine. By
            default there is none, and such a bundle is refused.
        modality: Kind of input that a bundle must take, such as ``image`` or ``text``. By default it is the
            kind of the first bundle that is loaded.
        trusted_keys: A PEM file of the public keys and certificates, one of which must have signed every
            bundle that is loaded. It is read for each, and when it changes the bundle is checked again. By
            default unsigned bundles are loaded too.

    Attributes:
        refusal: Why the folder's current content is not served, or None when it is.
    """

    def __init__(
        self,
        folder: Path,
        *,
        artifact: str | None = None,
        fallback: str | None = None,
        modality: str | None = None,
        trusted_keys: Path | None = None,
    ) -> None:
        self.folder = folder
        self._load: Callable[[Path], Predictor] = lambda folder: load_predictor(
            folder, artifact=artifact, fallback=fallback, trusted_keys=trusted_keys
        )
        self._trusted_keys = trusted_keys
        self._modality = modality
        self._seen: State | None = None
        self._begun: tuple[State, Future[Predictor]] | None = None
        self._predictor: Predictor | None = None
        self.refusal: ServingError | None = None

    @property
    def predictor(self) -> Predictor:
        """The predictor that serves requests; raises as :meth:`require_ready` does."""
        return self.require_ready()

    def require_ready(self) -> Predictor:
        """Return the predictor that serves requests.

        Raises:
            ServingError: No bundle is loaded yet. It says why the folder's content was refused, and is
                ``loading`` until the first :meth:`refresh` ends.
        """
        if self._predictor is None:
            raise self.refusal or BundleError("loading", f"{self.folder}: is being loaded.")
        return self._predictor

    @property
    def is_ready(self) -> bool:
        """Whether a predictor is loaded."""
        return self._predictor is not None

    def refuse(self, reason: ServingError) -> None:
        """Never be ready, for a reason that no content of the folder can mend."""
        self.refusal = reason
        self._seen = self._look()

    def begin(self) -> None:
        """Begin to load the folder's content in a thread, for the first :meth:`refresh` to take over."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._begun = self._look(), thread.submit(self._load_resolved)
        thread.shutdown(wait=False)

    def refresh(self) -> bool | None:
        """Load the folder's content if it, or the file of trusted keys, changed since the last call.

        The current predictor serves requests meanwhile.

        Returns:
            True when the new content took over. False when it was refused (see :attr:`refusal`) and the
            previous predictor, if any, stays. None when nothing changed.
        """
        seen = self._look()
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            begun, self._begun = self._begun, None
            predictor = begun[1].result() if begun and begun[0] == seen else self._load_resolved()
            self._require_modality(predictor)
        except Exception as error:
            # A file may vanish meanwhile, or memory may not hold a second model: the current one must go on.
            text = f"{self.folder}: {error!r}"
            self.refusal = error if isinstance(error, ServingError) else BundleError("not_loaded", text)
            stays = f"; {self._predictor.version} stays" if self._predictor else ""
            log.error("%s is not served%s: %s", self.folder, stays, self.refusal.message)
            return False
        self._modality = predictor.manifest.input.modality
        self.refusal, self._predictor = None, predictor
        log.info("serving %s %s, %s", predictor.manifest.name, predictor.version, predictor.artifact.name)
        return True

    def _look(self) -> State:
        return _state_of(self.folder, [self._trusted_keys] if self._trusted_keys else [])

    def _load_resolved(self) -> Predictor:
        # Resolved first, so that a link that is redirected meanwhile does not mix two bundles' files.
        return self._load(self.folder.resolve())

    def _require_modality(self, predictor: Predictor) -> None:
        kind = predictor.kind
        if self._modality not in {None, kind.name}:
            text = f"The bundle takes {kind.name} input, but this service takes {self._modality}."
            remedy = f" Serve it with {kind.bento_service}." if kind.bento_service else ""
            raise BundleError("wrong_service", text + remedy)


def _state_of(folder: Path, others: Iterable[Path]) -> State:
    """Return what tells a bundle's content apart from a later one.

    It changes when any file does, and when a link to the folder is redirected. It is empty when the folder
    is missing or a file vanishes meanwhile.

    Args:
        folder: The bundle's folder, or a link to it.
        others: Other files that count as its content; they may be missing.
    """
    try:
        paths = [*sorted(folder.resolve().rglob("*")), *others]
        files = [(str(path), path.stat()) for path in paths if path.is_file()]
    except OSError:  # a file vanished meanwhile; the next call sees what remains
        return ()
    return tuple((path, status.st_mtime_ns, status.st_size, status.st_ino) for path, status in files)
