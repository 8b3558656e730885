"""The soup: an average of the weights of several epochs, kept where validation finds it better."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.finetune.keep.candidates import Candidate, State, better, copy_state
from pipeline.finetune.keep.judging import judge
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.steps.batches import shuffled
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.training import Classifier

log = logging.getLogger("graft")
# Shares of the head on the frozen backbone that the result is mixed with (WiSE-FT, arXiv:2109.01903).
FROZEN_SHARES = (0.25, 0.5, 0.75)
# Number of batches that batch statistics are measured on anew.
STATISTICS_BATCHES = 50


class Kitchen:
    """A classifier that weights are put into to be judged.

    Args:
        prepared: The samples, and the classifier, which is copied.
        plan: The plan of the training.
    """

    def __init__(self, prepared: Prepared, plan: Plan) -> None:
        self.prepared = prepared
        self.plan = plan
        self.classifier = copy.deepcopy(prepared.classifier)
        self.classifier.saved().to(plan.device)
        self.classifier.prepare()

    def judge(self, name: str, epoch: int, state: State) -> Candidate:
        """Return averaged weights as a candidate, with batch statistics of their own.

        Args:
            name: What people call it.
            epoch: The epoch that it is counted as.
            state: The averaged weights, by the names that the checkpoint has.
        """
        prepared, module = self.prepared, self.classifier.saved()
        module.load_state_dict(state)
        if measure_statistics(self.classifier, prepared, self.plan):
            state = copy_state(module)
        examples = prepared.validation.examples
        unit, processes = prepared.unit, prepared.processes
        logits = compute_logits(self.classifier, examples, self.plan.device, name, unit, processes)
        return Candidate(
            name, epoch, state, logits, judge(prepared.task, logits, prepared.validation.targets)
        )


def cook(prepared: Prepared, plan: Plan, epochs: Sequence[Candidate]) -> Candidate:
    """Return the best of: the head on the frozen backbone, the best epoch, and what averaging makes of them.

    The epochs are added one after the other, the best first, and each stays only if validation improves
    (a greedy soup, arXiv:2203.05482). The result is then mixed with the head on the frozen backbone, head
    with head and backbone with backbone (arXiv:2109.01903).

    Args:
        prepared: The samples, and the head on the frozen backbone.
        plan: The plan of the training.
        epochs: The best epochs; none where nothing trained.
    """
    if not epochs:
        return prepared.floor
    kitchen = Kitchen(prepared, plan)
    soup = _add_epochs(kitchen, sorted(epochs, key=lambda epoch: epoch.judged.loss))
    best = reduce(better, (soup, *mixtures(kitchen, soup, prepared.floor)), prepared.floor)
    gain = (
        better(prepared.floor, min(epochs, key=lambda epoch: epoch.judged.loss)).judged.loss
        - best.judged.loss
    )
    log.info("soup: %s; validation loss %.3f, %.3f lower than without", best.name, best.judged.loss, gain)
    return best


def _add_epochs(kitchen: Kitchen, ranked: Sequence[Candidate]) -> Candidate:
    """Return the greedy average of some epochs, of which the best comes first."""
    soup, members = ranked[0], [ranked[0]]
    for epoch in ranked[1:]:
        together = [*members, epoch]
        name = f"the average of epochs {_listed(together)}"
        share = 1 / len(together)
        tried = kitchen.judge(name, ranked[0].epoch, mix(soup.state, epoch.state, share))
        if tried.judged.loss < soup.judged.loss:
            soup, members = tried, together
    return soup


def _listed(epochs: Sequence[Candidate]) -> str:
    """Return the numbers of two epochs or more as a sentence has them, such as ``3, 5 and 6``."""
    *most, last = sorted(epoch.epoch for epoch in epochs)
    return f"{', '.join(map(str, most))} and {last}"


def mixtures(kitchen: Kitchen, trained: Candidate, floor: Candidate) -> Iterator[Candidate]:
    """Yield mixtures of trained weights with the head on the frozen backbone, the most trained one first.

    Args:
        kitchen: Judges them.
        trained: The trained weights.
        floor: The head on the frozen backbone.
    """
    for share in FROZEN_SHARES:
        name = f"{trained.name}, mixed with {100 * share:.0f} % of the frozen backbone"
        yield kitchen.judge(name, trained.epoch, mix(trained.state, floor.state, share))


def mix(first: State, second: State, share: float) -> dict[str, torch.Tensor]:
    """Return the weighted average of two states; what is no floating-point number is the first's.

    Args:
        first: The tensors of a network.
        second: Tensors of the same names and shapes.
        share: The second's weight, in [0, 1].
    """
    return {
        name: torch.lerp(value, second[name].to(value.dtype), share) if value.is_floating_point() else value
        for name, value in first.items()
    }


@torch.no_grad()
def measure_statistics(classifier: Classifier, prepared: Prepared, plan: Plan) -> bool:
    """Measure those statistics of batch norms anew that training changed, without random changes of samples.

    The average of two networks has other activations than either, so that averaged statistics are not its
    own. Norms of other kinds, which cannot average over batches, keep the averaged ones.

    Args:
        classifier: The classifier with averaged weights, on the plan's device.
        prepared: The training samples, and the untouched statistics.
        plan: The plan of the training.

    Returns:
        Whether there were any; without them nothing is done.
    """
    train, module, untouched = prepared.train, classifier.saved().eval(), prepared.floor.state
    norms = [
        part
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm)
        and part.running_mean is not None
        and not torch.equal(part.running_mean.cpu(), untouched[f"{name}.running_mean"])
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    order = shuffled(len(train), plan.batch_size, torch.Generator().manual_seed(plan.seed))
    for indices in order[:STATISTICS_BATCHES] if norms else []:
        classifier(**train.examples.batch(indices, plan.device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
    return bool(norms)
