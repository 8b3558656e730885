"""What every group of workers needs, whatever starts them."""

from __future__ import annotations

import atexit
import shutil

from serving.server.app.components import require_startable
from serving.server.observing.sharing import make_shared_folder
from serving.server.settings import Settings


def prepare_workers(settings: Settings) -> None:
    """Refuse settings that no worker could start with, and make the folder in which workers share metrics.

    Raises:
        SettingsError: The keys cannot be used, or traces cannot be sent.
    """
    require_startable(settings)
    open_shared_folder()


def open_shared_folder() -> None:
    """Make the folder in which workers share metrics, if that is possible. It goes when this process ends."""
    folder = make_shared_folder()
    if folder:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
