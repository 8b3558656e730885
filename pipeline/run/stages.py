"""The seven stages, in the order in which a run carries them out."""

from __future__ import annotations

from pipeline.data.definition import DATA
from pipeline.evaluate.definition import EVALUATE
from pipeline.export.definition import EXPORT
from pipeline.finetune.definition import FINETUNE
from pipeline.package.bento.definition import PACKAGE
from pipeline.recipe.stage import Stage
from pipeline.transfer.definition import TRANSFER
from pipeline.verify.definition import VERIFY

STAGES: tuple[Stage, ...] = (DATA, FINETUNE, TRANSFER, EVALUATE, EXPORT, VERIFY, PACKAGE)
