"""ONNX Runtime, imported in this one place, so that it never reports to its maker."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

SWITCH = "ORT_DISABLE_TELEMETRY"


def load_onnxruntime(module: str = "onnxruntime") -> ModuleType:
    """Import ONNX Runtime with its telemetry switched off.

    By default it sends events to its maker, and keeps an identifier of the machine and a database under HOME.
    It reads the variable once, when it is imported: its function for the same purpose comes too late. A value
    that the user has set is left as it is.

    Args:
        module: Name of a module of the package. The default is the package itself.
    """
    os.environ.setdefault(SWITCH, "1")
    return importlib.import_module(module)
