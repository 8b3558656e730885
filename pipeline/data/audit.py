"""The audit of every example before anything trains on it: it must be readable, unique, and of one label."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from pipeline.data.labelled import Labelled
from pipeline.data.soft import merged
from pipeline.errors import DataError
from pipeline.files.samples import Split
from pipeline.modalities.content import Content, Facts, Review
from pipeline.recipe.data import Data
from pipeline.reporting.printable import listing, printable
from pipeline.reporting.progress import track
from serving.model.errors import InputRefusedError
from serving.model.runtimes.machine import cpu_limit

LISTED = 10
MOST_OF_A_LINE = 500
# Examples that one thread judges before it reports, and how many such batches wait for each thread: enough
# to keep all busy, and few enough that a million texts do not stand in line.
BATCH, WAITING = 32, 4
# Of equal examples in splits that the data name, the one in the first of these is kept: what measures is
# worth more than what trains.
KEPT_FIRST: tuple[Split | None, ...] = ("test", "validation", "calibration", "train", None)


@dataclass(frozen=True, slots=True)
class Audited:
    """A usable example.

    Attributes:
        example: The example.
        digest: SHA-256 of its bytes, of 32 bytes.
        identity: Hash, of 32 bytes, that it shares with every example that is the same to a person.
        facts: What a review of all examples needs to know of it; None where its kind has no review.
    """

    example: Labelled
    digest: bytes
    identity: bytes
    facts: Facts | None = None

    @property
    def sha256(self) -> str:
        """SHA-256, in hexadecimal, of its bytes."""
        return self.digest.hex()


@dataclass(frozen=True)
class Findings:
    """The examples that the audit kept, and those that it left out.

    Attributes:
        kept: The examples that can be trained on, in the order in which they were given.
        found: Number of examples of each label that came in.
        unreadable: Examples that serving would refuse: the reason, by the example's source.
        repeats: Copies of examples that are kept: the kept example's source, by the copy's source.
        left_train: Number of copies that the data had in the training split, and whose kept example they have
            in another.
        conflicts: Groups of equal examples under different labels: in each, the label by the source.
    """

    kept: list[Audited]
    found: Mapping[str, int]
    unreadable: dict[str, str]
    repeats: dict[str, str]
    left_train: int
    conflicts: list[dict[str, str]]


def audit(examples: Sequence[Labelled], data: Data, content: Content) -> Findings:
    """Check every example and keep what can be trained on.

    Args:
        examples: The examples that intake found.
        data: The recipe's section ``data``, which says what to do with unreadable and conflicting examples.
        content: The judge of an example's bytes.

    Raises:
        DataError: An example is unreadable, or equal ones have different labels, and the recipe says
            ``refuse``; or it says ``skip``, and nothing of a label would be left.
    """
    readable: list[Audited] = []
    unreadable: dict[str, str] = {}
    outcomes = _judge(examples, content)
    for example, outcome in zip(
        examples, track(outcomes, total=len(examples), what="audit", unit="examples"), strict=True
    ):
        if isinstance(outcome, str):
            unreadable[example.source] = outcome
        else:
            readable.append(outcome)
    if unreadable and data.on_unreadable == "refuse":
        lines = [f"{source}: {reason}" for source, reason in unreadable.items()]
        raise DataError(
            _listing(f"{len(lines)} example(s) cannot be read", lines, "data.on_unreadable: skip")
        )
    found = Counter(example.label for example in examples)
    findings = _without_copies(readable, found, unreadable, data)
    _refuse_lost_labels(examples, findings)
    return findings


def review(kept: Sequence[Audited], splits: Sequence[Split], content: Content) -> Review:
    """Judge together what the audit kept.

    Args:
        kept: The examples that the audit kept.
        splits: The split of each. How deep values are brought to what the model gets is judged on the
            training split alone.
        content: The judge of the examples.

    Raises:
        DataError: No model should be trained on them; the message names the remedy.
    """
    facts = {
        item.example.source: item.facts if split == "train" else replace(item.facts, low=None, high=None)
        for item, split in zip(kept, splits, strict=True)
        if item.facts is not None
    }
    return content.review(facts)


def _judge(examples: Sequence[Labelled], content: Content) -> Iterator[Audited | str]:
    """Judge examples on all CPUs, and yield each with its hashes, or the reason why it cannot be used."""
    judge = partial(_judge_batch, content=content)
    batches = (examples[start : start + BATCH] for start in range(0, len(examples), BATCH))
    with ThreadPoolExecutor(cpu_limit()) as pool:
        for outcomes in _in_order(pool, judge, batches, WAITING * cpu_limit()):
            yield from outcomes


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Sequence[Labelled]], list[Audited | str]],
    batches: Iterator[Sequence[Labelled]],
    waiting: int,
) -> Iterator[list[Audited | str]]:
    """Yield results in the order of the batches, of which only a few are handed to the pool at a time."""
    pending: deque[Future[list[Audited | str]]] = deque(
        pool.submit(work, batch) for batch in islice(batches, waiting)
    )
    while pending:
        yield pending.popleft().result()
        pending.extend(pool.submit(work, batch) for batch in islice(batches, 1))


def _judge_batch(examples: Sequence[Labelled], content: Content) -> list[Audited | str]:
    return [_judge_one(example, content) for example in examples]


def _judge_one(example: Labelled, content: Content) -> Audited | str:
    """Return the example with its hashes, or the reason why it cannot be used."""
    try:
        data = example.read()
        judgement = content.judge(data)
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return error.strerror or str(error)
    except InputRefusedError as refusal:
        return refusal.message
    return Audited(example, hashlib.sha256(data).digest(), judgement.identity, judgement.facts)


def _without_copies(
    readable: list[Audited], found: Mapping[str, int], unreadable: dict[str, str], data: Data
) -> Findings:
    """Keep one of each group of equal examples, and none of a group whose labels differ."""
    groups: dict[bytes, list[Audited]] = defaultdict(list)
    for item in readable:
        groups[item.identity].append(item)
    conflicts = [
        {item.example.source: item.example.label for item in group}
        for group in groups.values()
        if not _agree(group)
    ]
    if conflicts and data.on_conflict == "refuse":
        lines = [
            " = ".join(f"{source} ({label})" for source, label in [*group.items()][:LISTED])
            for group in conflicts
        ]
        raise DataError(
            _listing(
                f"{len(lines)} content(s) appear under different labels", lines, "data.on_conflict: skip"
            )
        )
    chosen = {identity: _choose(group) for identity, group in groups.items() if _agree(group)}
    copies = [
        (item.example, chosen[item.identity].example)
        for item in readable
        if item.identity in chosen and item is not chosen[item.identity]
    ]
    return Findings(
        kept=[_merged(item, groups[item.identity]) for item in readable if chosen.get(item.identity) is item],
        found=found,
        unreadable=unreadable,
        repeats={copy.source: original.source for copy, original in copies},
        left_train=sum(
            copy.split == "train" and original.split not in ("train", None) for copy, original in copies
        ),
        conflicts=conflicts,
    )


def _agree(group: list[Audited]) -> bool:
    return len({item.example.label for item in group}) == 1


def _choose(group: list[Audited]) -> Audited:
    """Return the one of equal examples that is kept: of the first split, and of its examples the first."""
    return min(group, key=lambda item: KEPT_FIRST.index(item.example.split))


def _merged(item: Audited, group: list[Audited]) -> Audited:
    """Return the one of equal examples that is kept, with what all of them say of its probabilities."""
    example = merged([each.example for each in group], item.example)
    return item if example is item.example else replace(item, example=example)


def _refuse_lost_labels(examples: Sequence[Labelled], findings: Findings) -> None:
    """Refuse data of which nothing of a label would be left."""
    left = {item.example.label for item in findings.kept}
    lost = [label for label in findings.found if label not in left]
    if not lost:
        return
    unreadable = Counter(example.label for example in examples if example.source in findings.unreadable)
    lines = [
        f"{label}: {unreadable[label]} of {findings.found[label]} cannot be read, "
        f"{findings.found[label] - unreadable[label]} have another label too"
        for label in lost
    ]
    raise DataError(
        _listing(f"{len(lost)} label(s) would have no example left", lines, "data.labels.leave_out: [LABEL]")
    )


def _listing(what: str, lines: list[str], remedy: str) -> str:
    return (
        f"{what}:\n{listing(printable(line, MOST_OF_A_LINE) for line in lines)}\n"
        f"Mend or remove them, or set `{remedy}` in the recipe to leave them out and count them in the"
        " report."
    )
