"""A stage: one step of carrying out a recipe, and what its result depends on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.recipe.sections import Recipe

if TYPE_CHECKING:
    from pipeline.files.layout import RunFolder

Inputs = Mapping[str, object]
"""Whatever a stage's result depends on besides its code. It is only ever written as JSON and hashed.

A value that is :class:`Absent` stands for what cannot be looked at here.
"""


@dataclass(frozen=True)
class Absent:
    """A part of a stage's inputs that is not on this machine, such as the data of a run that was moved.

    Where the stage is done, its record says what the part was. Where it is not, it cannot be carried out.

    Attributes:
        what: What is missing: the key of the recipe, and the place.
        remedy: The sentence that tells how to mend it.
    """

    what: str
    remedy: str


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Each stage's room defines its own, in ``definition.py`` beside the work. Defining one imports nothing
    heavy, so that every command can ask whether a stage is done.

    Attributes:
        name: The stage's name, which is also its command's.
        work: Import path of the function that does the work, as ``module:function``. It is called with the
            recipe and the run's folder, and imported only then.
        inputs: Returns what the result depends on besides the code.
        outputs: Returns the files that the stage leaves. It is done only as long as they are unchanged.
        still_valid: Returns whether a stage that is done may be skipped, for what the hashes of its outputs
            do not show. The default is that it may.
        depends_on_kind: Whether the work handles the recipe's kind of input, by default True. The modules of
            that kind, which no import names, then count as the stage's code.
        check: Import path, in the form of ``work``, of a function that is called with the recipe before the
            first stage of a whole run, and raises what would end this stage at once; None, the default, for
            none.
        is_shared: Whether all processes that a launcher started do the work together, by default False: the
            first one does it, and the others wait.
    """

    name: str
    work: str
    inputs: Callable[[Recipe, RunFolder], Inputs]
    outputs: Callable[[RunFolder], list[Path]]
    still_valid: Callable[[RunFolder], bool] = lambda _: True
    depends_on_kind: bool = True
    check: str | None = None
    is_shared: bool = False

    @property
    def module(self) -> str:
        """Dotted name of the module that holds the work."""
        return self.work.partition(":")[0]

    def execute(self, recipe: Recipe, run: RunFolder) -> None:
        """Import the work and do it.

        Raises:
            GraftError: Whatever the work raises.
        """
        _import(self.work)(recipe, run)

    def check_early(self, recipe: Recipe) -> None:
        """Import the check, if there is one, and make it.

        Raises:
            GraftError: The stage would end with it.
        """
        if self.check is not None:
            _import(self.check)(recipe)


def _import(path: str) -> Callable[..., None]:
    """Return the function at an import path such as ``module:function``."""
    module, _, function = path.partition(":")
    found: Callable[..., None] = getattr(importlib.import_module(module), function)
    return found
