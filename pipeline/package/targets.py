"""The targets of ``graft package``, each of which turns a proven bundle into what another system takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.layout import RunFolder
from pipeline.package.packaged import Packaged
from pipeline.recipe.sections import Recipe

Work = Callable[[Recipe, RunFolder, Path], Packaged]


@dataclass(frozen=True)
class Packager:
    """One thing that a bundle can become.

    Attributes:
        name: Name of the target, and of the folder below ``package/`` in the run's that it is written to.
        work: Import path of the function that writes it, as ``module:function``. It is called with the
            recipe, the run's folder and the folder to write, which is replaced in one step when it is whole.
    """

    name: str
    work: str

    def write(self, recipe: Recipe, run: RunFolder, output: Path) -> Packaged:
        """Import the work and do it.

        Args:
            recipe: The run's recipe.
            run: The run's folder, whose bundle is proven.
            output: The folder to write.

        Raises:
            BundleError: The bundle has changed, or has no passed receipt.
            GraftError: What is asked for cannot be written.
        """
        module, _, function = self.work.partition(":")
        work: Work = getattr(importlib.import_module(module), function)
        return work(recipe, run, output)


TARGETS = {
    packager.name: packager
    for packager in (
        Packager("cpu", "pipeline.package.bento.flavours:package_cpu"),
        Packager("cuda", "pipeline.package.bento.flavours:package_cuda"),
        Packager("tensorrt", "pipeline.package.bento.flavours:package_tensorrt"),
        Packager("oci", "pipeline.package.container.writing:write_image"),
        Packager("triton", "pipeline.package.triton.repository:write_repository"),
        Packager("kubernetes", "pipeline.package.kubernetes.manifests:write_kubernetes"),
        Packager("kserve", "pipeline.package.kubernetes.manifests:write_kserve"),
    )
}
