"""Which class of transformers an encoder is of, and the part of it that encodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.text.reading.library import explain, quiet


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
    mapping = AutoModel._model_mapping  # noqa: SLF001 - transformers has no public name for it
    encoders = AutoModelForTextEncoding._model_mapping  # noqa: SLF001
    if pair and type(config) in encoders:
        mapping = encoders
    if type(config) not in mapping:
        raise GraftError(
            f"backbone.weights: transformers has no encoder for the kind `{config.model_type}` of {folder}. "
            "Choose another."
        )
    found = mapping[type(config)]
    classes = found if isinstance(found, (list, tuple)) else [found]
    named = [each for each in classes if each.__name__ in (config.architectures or [])]
    return Architecture((named or classes)[0].__name__, encoder_only=pair)
