"""The trial of a backbone in half precision, in which some cannot be run."""

from __future__ import annotations

import torch

from pipeline.machine.settings import Settings
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.training import Pretrained


def bf16_fault(pretrained: Pretrained, settings: Settings) -> str | None:
    """Return why a backbone cannot be run in bf16; None where it can, or where bf16 is not what was chosen.

    Some networks build masks and states in float32 whatever their inputs are, and fail in half precision.

    Args:
        pretrained: The backbone, on the CPU.
        settings: The precision, and the device.
    """
    if settings.precision != "bf16":
        return None
    preprocessor = pretrained.preprocessor
    feeds = preprocessor.collate([preprocessor.blank()])
    tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            pretrained.classifier.embed(**tensors)
    except Exception as error:  # each architecture fails in its own way
        return reason_of(error)
    return None
