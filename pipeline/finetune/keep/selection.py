"""What is kept of a training: the most thoroughly trained weights that validation does not speak against.

With some dozens of validation samples the lowest loss is a matter of luck: among the epochs of one schedule
it often takes one from the middle, whose rate was still high, or the head, and is then worse on new samples
(docs/adr/0019). So the end of the schedule has the benefit of the doubt, but never below the best head on
the frozen backbone.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.finetune.keep.candidates import Candidate
from pipeline.finetune.keep.judging import lead
from pipeline.finetune.keep.soup import Kitchen, mixtures
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared


def select(prepared: Prepared, plan: Plan, last: Candidate, best: Candidate) -> Candidate:
    """Return what is kept of a training.

    Args:
        prepared: The samples, and the head on the frozen backbone.
        plan: The plan of the training.
        last: The end of the training.
        best: The epoch with the lowest calibrated loss on validation.

    Returns:
        The first of these that is not worse than the head, and not clearly worse than another of them: the
        end, the end mixed with the frozen backbone, and the best epoch. The head if all are worse.
    """
    floor = prepared.floor
    if last.judged.loss <= floor.judged.loss and is_as_good(last, [best]):
        return last
    # Batch statistics that were trained fit no mixture.
    has_trained_statistics = not plan.freeze_batch_norm and any("running_mean" in name for name in last.state)
    mixed = [] if has_trained_statistics else mixtures(Kitchen(prepared, plan), last, floor)
    options = [last, *mixed, best]
    allowed = [option for option in options if option.judged.loss <= floor.judged.loss]
    return next((option for option in allowed if is_as_good(option, allowed)), floor)


def is_as_good(candidate: Candidate, others: Sequence[Candidate]) -> bool:
    """Say whether none of the others is clearly better: the 95 % interval of the difference includes 0."""
    return not any(
        lead(other.judged, candidate.judged).is_clear for other in others if other is not candidate
    )
