"""Which class of transformers an encoder is of, and the part of it that encodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.text.reading.library import explain, quiet

RECURRENT = re.compile(r"Mamba\w*(Mixer|Layer)|BambaMixer|RwkvSelfAttention|RecurrentGemmaRecurrentBlock")
"""Names of classes of layers with a loop over the tokens."""


@dataclass(frozen=True)
class Architecture:
    """The class that weights are loaded into.

    Attributes:
        name: Name of the class in transformers, such as ``T5EncoderModel``.
        encoder_only: Whether only the encoder of the model is kept, of a pair of encoder and decoder.
    """

    name: str
    encoder_only: bool

    def load_class(self) -> Any:  # noqa: ANN401 - transformers is untyped here
        """Return the class.

        Raises:
            GraftError: The installed transformers has no model of that name.
        """
        import transformers

        found = getattr(transformers, self.name, None)
        if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
            raise GraftError(
                f"checkpoint: the installed transformers has no {self.name}. Install the version that "
                "trained it."
            )
        return found

    def part_of(self, model: Any) -> nn.Module:  # noqa: ANN401 - as above
        """Return the part of a model that encodes."""
        return cast("nn.Module", model.get_encoder() if self.encoder_only else model)


def read_config(folder: Path) -> Any:  # noqa: ANN401 - as above
    """Read transformers' configuration of a folder.

    Raises:
        GraftError: There is none, the installed transformers does not know its kind, or its weights are
            quantised.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        raise GraftError(
            f"backbone.weights: {folder} holds an adapter, and not an encoder. Merge it into its base model "
            "first: peft's `merge_and_unload()`, then `save_pretrained(FOLDER)`."
        )
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises many unrelated types
        raise explain(folder, error) from error
    if getattr(config, "quantization_config", None):
        raise GraftError(
            f"backbone.weights: the weights of {folder} are quantised, and cannot be trained. Give the "
            "encoder that they were made from."
        )
    return config


def architecture_of(config: Any, folder: Path) -> Architecture:  # noqa: ANN401 - as above
    """Return the class for a configuration: the encoder alone of a pair of encoder and decoder.

    Args:
        config: transformers' configuration.
        folder: The folder that it was read from, for the error.

    Raises:
        GraftError: The kind has no class that encodes texts.
    """
    from transformers import AutoModel, AutoModelForTextEncoding

    pair = getattr(config, "is_encoder_decoder", False) is True
    named = config.architectures or []
    mapping = AutoModel._model_mapping  # noqa: SLF001 - transformers has no public name for it
    encoders = AutoModelForTextEncoding._model_mapping  # noqa: SLF001
    if type(config) in encoders and (pair or encoders[type(config)].__name__ in named):
        mapping = encoders
    if type(config) not in mapping:
        raise GraftError(
            f"backbone.weights: transformers has no encoder for the kind `{config.model_type}` of {folder}. "
            "Choose another."
        )
    found = mapping[type(config)]
    classes = found if isinstance(found, (list, tuple)) else [found]
    chosen = next((each for each in classes if each.__name__ in named), classes[0]).__name__
    return Architecture(chosen, encoder_only=pair or chosen.endswith("EncoderModel"))


def refuse_recurrence(encoder: nn.Module, name: str) -> None:
    """Refuse an encoder that reads a text token by token.

    Its loop over the tokens would be written out at export, for one length alone, which takes minutes.

    Args:
        encoder: The encoder.
        name: Its name in the recipe, for the error.

    Raises:
        GraftError: One of its layers is of a class that has such a loop.
    """
    kinds = (type(module).__name__ for module in encoder.modules())
    recurrent = next((kind for kind in kinds if RECURRENT.search(kind)), None)
    if recurrent is not None:
        raise GraftError(
            f"backbone.name: {name} cannot be used: its layers read token by token ({recurrent}), which "
            "exported to ONNX is fixed at one length. Choose another."
        )
