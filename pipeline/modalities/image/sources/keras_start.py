"""The start of Keras on torch, and its networks by name."""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import GraftError
from pipeline.files.layout import cache_folder
from pipeline.machine.extras import require
from pipeline.modalities.image.names import KERAS
from pipeline.modalities.reasons import reason_of

KEY = "backbone.name"
# Arguments that say what a network is given and gives, and not which one it is.
SETTLED = frozenset(
    {
        "weights",
        "include_top",
        "include_preprocessing",
        "input_tensor",
        "input_shape",
        "pooling",
        "classes",
        "classifier_activation",
        "name",
    }
)


@dataclass(frozen=True)
class Application:
    """A network of ``keras.applications``.

    Attributes:
        name: Name of the function that creates it, such as ``MobileNetV2``.
        options: Further arguments of the function, such as ``alpha``.
    """

    name: str
    options: tuple[tuple[str, object], ...]

    def create(self, *, weights: str | None = None, classes: int | None = None) -> Any:  # noqa: ANN401
        """Return Keras's own network.

        Args:
            weights: ``imagenet`` for those that Keras itself offers; None, the default, for random ones.
            classes: Number of classes of a network with its head, made for its own size; None, the default,
                for one of any size that ends with the pooled features.

        Raises:
            GraftError: Keras does not create it.
            OSError: The weights cannot be had. Other types are raised, too.
        """
        keras = start_keras()
        # The names of its layers, which count, are then the same each time.
        keras.utils.clear_session()
        shape = {"input_shape": (None, None, 3)} if classes is None else {"classes": classes}
        try:
            return self.function()(
                weights=weights,
                include_top=classes is not None,
                pooling="avg",
                **shape,
                **dict(self.options),
            )
        except Exception as error:  # a network's function checks its arguments in its own way
            if weights is not None:
                raise
            raise GraftError(f"{KEY}: Keras does not create {self} ({reason_of(error)}).") from error

    def function(self) -> Callable[..., Any]:
        """Return the function that creates it."""
        function: Callable[..., Any] = getattr(start_keras().applications, self.name)
        return function

    def module(self) -> ModuleType:
        """Return the module of Keras's that defines it, and the preparation of its pixels."""
        return sys.modules[self.function().__module__]

    def __str__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.options)
        return f"{self.name}({options})" if options else self.name


def start_keras() -> ModuleType:
    """Import Keras on torch, and return it.

    Raises:
        GraftError: It is not installed, or it runs on something else already.
    """
    require("keras")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
        if not Path("~/.keras").expanduser().is_dir():  # which Keras would make and write to
            os.environ.setdefault("KERAS_HOME", str(cache_folder() / KERAS))
    import keras

    if keras.backend.backend() != "torch":
        raise GraftError(f"{KEY}: Keras runs on {keras.backend.backend()} in this process, not on torch.")
    keras.config.set_image_data_format("channels_last")
    return keras  # type: ignore[no-any-return]


def list_applications() -> list[str]:
    """Return the names of Keras's networks."""
    return [name for name, value in vars(start_keras().applications).items() if inspect.isfunction(value)]


def find_application(name: str) -> Application:
    """Return the network that a name stands for.

    Args:
        name: Name of the function, with arguments where they are needed: ``MobileNetV2(alpha=0.35)``.

    Raises:
        GraftError: There is no such network, or it has no such argument; the nearest names are listed.
    """
    parts = re.fullmatch(r"(\w+)(?:\((.*)\))?", name.strip())
    known = list_applications()
    if parts is None or parts[1] not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
        raise GraftError(
            f"{KEY}: keras.applications has no `{name}`. Near it: {', '.join(near) or 'nothing'}; "
            f"all: graft backbones --find {KERAS}:"
        )
    application = Application(parts[1], tuple(_read_options(parts[2] or "").items()))
    allowed = inspect.signature(application.function()).parameters.keys() - SETTLED
    for key, _ in application.options:
        if key not in allowed:
            raise GraftError(
                f"{KEY}: {KERAS}:{parts[1]} has no argument `{key}` that a recipe may give; "
                f"known here: {', '.join(sorted(allowed)) or 'none'}."
            )
    return application


def _read_options(text: str) -> dict[str, object]:
    """Read arguments as Python writes them, plain values by name, without running anything."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("not by name")
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (AssertionError, SyntaxError, ValueError) as error:
        raise GraftError(
            f"{KEY}: `{text}` must be arguments by name with plain values, such as alpha=0.35."
        ) from error
