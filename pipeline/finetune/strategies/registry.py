"""Registry of the strategies of training, by the recipe's ``finetune.mode``."""

from __future__ import annotations

from pipeline.errors import GraftError
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.gradual import Gradual
from pipeline.finetune.strategies.head_only import HeadOnly
from pipeline.finetune.strategies.lora import Lora
from pipeline.finetune.strategies.strategy import Strategy

STRATEGIES: dict[str, Strategy] = {
    "features": HeadOnly(),
    "full": Full(head_first=False),
    "lp-ft": Full(head_first=True),
    "gradual": Gradual(),
    "lora": Lora(),
}


def strategy_named(mode: str) -> Strategy:
    """Return the strategy of a mode.

    Args:
        mode: The recipe's ``finetune.mode``, other than ``auto``.

    Raises:
        GraftError: There is no strategy of that name.
    """
    if mode not in STRATEGIES:
        raise GraftError(f"finetune.mode: is {mode!r}; known are {', '.join(STRATEGIES)}.")
    return STRATEGIES[mode]
