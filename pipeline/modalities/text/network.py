"""A transformer encoder with pooling and a linear head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.layers import depths_by_structure, norm_names, rate_groups
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.text.reading.architectures import Architecture
from pipeline.modalities.training import ParameterGroup

Pooling = Literal["mean", "cls", "last"]
HEAD_DROPOUT = 0.1
# Number of tokens of the text that shows the order of the layers: some encoders shorten it by four.
ORDER_TOKENS = 16


class TextClassifier(nn.Module):
    """A network from token ids and their mask to logits of shape (batch, classes).

    Ids and mask are int64 of shape (batch, tokens), padded on the right.

    Args:
        encoder: A transformers model whose output has a ``last_hidden_state``.
        pooling: The way in which the vectors of a text's tokens become one.
        classes: Number of outputs of the head.
        features: Number of features of the encoder's vectors; by default as many as one run shows, which
            need not be the ``hidden_size`` that the configuration notes.
    """

    half_precision_part = "encoder"

    def __init__(
        self, encoder: nn.Module, pooling: Pooling, classes: int, features: int | None = None
    ) -> None:
        super().__init__()
        self.encoder = _without_pooler(encoder)
        self.pooling = pooling
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.head = nn.Linear(features or width_of(self.encoder), classes)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Encode, pool and classify texts: logits, float32 of shape (batch, classes)."""
        return self.head(self.dropout(self.embed(input_ids, attention_mask)))  # type: ignore[no-any-return]

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the pooled vectors, float32 of shape (batch, features), which padding does not change."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pool(states, attention_mask, self.pooling)

    def set_head(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Replace the head.

        Args:
            weight: The head's matrix, float32 of shape (classes, features).
            bias: The head's bias, float32 of shape (classes,).
        """
        with torch.random.fork_rng(devices=[]):  # the new head's first weights, which do not stay
            self.head = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def saved(self) -> nn.Module:
        """Return the whole network: ``encoder.*`` under the encoder's own names, and ``head.*``."""
        return self

    def head_name(self) -> str:
        """Return the name of the head's module."""
        return "head"

    def depths(self, names: Sequence[str]) -> dict[str, int]:
        """Return the layer of each parameter, as :meth:`Layered.depths` describes it."""
        return depths_by_structure(self, names, self.head_name(), self._run_once)

    def _run_once(self) -> None:
        """Run the encoder on one short text."""
        _run_on_short_text(self.encoder, self.head.weight.device)

    def parameter_groups(
        self, learning_rate: float, layer_decay: float, weight_decay: float
    ) -> list[ParameterGroup]:
        """Return a group for each layer, as :meth:`Classifier.parameter_groups` describes it."""
        parameters = list(self.named_parameters())
        depths = self.depths([name for name, _ in parameters])
        return rate_groups(parameters, depths, (learning_rate, layer_decay, weight_decay), self.undecayed())

    def undecayed(self) -> set[str]:
        """Return the names of the parameters that are matrices and yet get no weight decay."""
        return norm_names(self)

    def set_dropout(self, share: float) -> None:
        """Set the dropout before the head, as :meth:`Omitting.set_dropout` describes it."""
        self.dropout.p = share

    def set_drop_path(self, rate: float) -> None:
        """Set the share of runs in which a layer is left out, of encoders that have such a thing.

        Raises:
            GraftError: The encoder has none.
        """
        parts = [
            part for part in self.encoder.modules() if isinstance(getattr(part, "layerdrop", None), float)
        ]
        if not parts:
            raise GraftError(
                f"finetune.drop_path: {type(self.encoder).__name__} has no stochastic depth to set."
                " Leave it out."
            )
        for part in parts:
            part.layerdrop = rate  # type: ignore[assignment]

    def prepare(self) -> None:
        """Do nothing: matrices have one layout."""


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool the vectors of each text's tokens into one.

    Args:
        states: Vectors of the tokens, of shape (batch, tokens, features).
        mask: 1 for a token and 0 for padding, which is left out: int64 of shape (batch, tokens).
        pooling: The mean of the vectors, the first (``cls``) or the last.

    Returns:
        One vector a text, of shape (batch, features).
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, states.shape[-1])
        return states.gather(1, last)[:, 0]
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def width_of(encoder: nn.Module) -> int:
    """Return the number of features of an encoder's token vectors, as one run on a short text shows."""
    mode = encoder.training
    encoder.eval()
    try:
        # Some encoders draw by chance even in evaluation mode (Reformer's buckets).
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return int(_run_on_short_text(encoder, torch.device("cpu")).last_hidden_state.shape[-1])
    finally:
        encoder.train(mode)


def _run_on_short_text(encoder: nn.Module, device: torch.device) -> Any:  # noqa: ANN401 - transformers' output
    """Run an encoder on a text of the same token a few times, and return its output."""
    ids = torch.ones(1, ORDER_TOKENS, dtype=torch.int64, device=device)
    return encoder(input_ids=ids, attention_mask=torch.ones_like(ids))


def build_encoder(config: Mapping[str, Any], architecture: Architecture | None = None) -> nn.Module:
    """Build the encoder of a configuration, with random weights.

    Args:
        config: transformers' configuration, as JSON.
        architecture: The class of the model, and the part of it that encodes; None, the default, for the
            whole model that ``AutoModel`` takes for the configuration.

    Raises:
        GraftError: The installed transformers does not know the configuration.
    """
    from transformers import AutoConfig, AutoModel

    options = {key: _decode(value) for key, value in config.items()}
    try:
        model_config = AutoConfig.for_model(options.pop("model_type"), **options)
        if architecture is None:
            return cast("nn.Module", AutoModel.from_config(model_config))
        model = architecture.load_class()._from_config(model_config)  # noqa: SLF001 - what from_config calls
        return architecture.part_of(model)
    except (KeyError, ValueError) as error:
        raise GraftError(
            f"checkpoint: transformers cannot build its encoder ({reason_of(error)}). "
            "Install the version that trained it."
        ) from error


def _decode(value: Any) -> Any:  # noqa: ANN401 - JSON of any form
    """Return a configuration's value with the numbers that JSON lacks, such as infinity.

    transformers writes them as ``{"__float__": "Infinity"}``.
    """
    if isinstance(value, Mapping):
        if set(value) == {"__float__"}:
            return float(value["__float__"])
        return {key: _decode(inner) for key, inner in value.items()}
    return [_decode(inner) for inner in value] if isinstance(value, list) else value


class _NoPooler(nn.Module):
    """The place of a pooler, which some encoders call without asking whether there is one."""

    def forward(self, states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """Return the vectors of the tokens as they are."""
        return states


def _without_pooler(encoder: nn.Module) -> nn.Module:
    """Remove BERT's own pooler, which belongs to its pretraining and would be neither used nor trained."""
    if isinstance(getattr(encoder, "pooler", None), nn.Module):
        encoder.pooler = _NoPooler()
    return encoder
