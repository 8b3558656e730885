"""The choice of the kind of input that data are of."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline.data.draft.look import Seen, Wishes, look_at
from pipeline.errors import DataError
from pipeline.modalities.modality import Modality, Proposal
from pipeline.modalities.registry import find_modality, list_modalities
from pipeline.reporting.printable import printable

log = logging.getLogger("graft")


def choose_kind(source: str, wishes: Wishes) -> tuple[Modality, Seen, Proposal]:
    """Return the kind of input that is surest that the data are its own, what it saw, and its proposal.

    Of equally sure kinds the first is taken. A kind that cannot be loaded, or fails while it looks, is named
    in the log and left out: the data may well be another's.

    Raises:
        DataError: No kind takes the data.
    """
    best: tuple[Modality, Seen, Proposal] | None = None
    looks = []
    for name in [wishes.modality] if wishes.modality else list_modalities():
        try:
            modality = find_modality(name)
        except Exception as error:  # somebody else's code may raise anything
            log.warning("init: the modality `%s` is not asked: %s", name, error)
            continue
        seen = look_at(source, wishes, modality)
        proposal = _proposal(modality, seen, wishes)
        looks.append((modality, seen))
        if proposal is not None and (best is None or proposal.confidence > best[2].confidence):
            best = modality, seen, proposal
    if best is None:
        raise DataError(_explain_no_kind(source, looks))
    return best


def _proposal(modality: Modality, seen: Seen, wishes: Wishes) -> Proposal | None:
    """Return what a kind makes of the data; what the user names is taken as it is."""
    wanted = wishes.text if modality.samples_are_cells else wishes.path
    other = wishes.path if modality.samples_are_cells else wishes.text
    if seen.look.is_table and wanted:
        look = seen.look
        table = look.table(text=wanted) if modality.samples_are_cells else look.table(path=wanted)
        return Proposal(1.0, table)
    try:
        proposal = modality.propose(seen.look)
    except Exception as error:  # somebody else's code may raise anything
        log.warning("init: the modality `%s` is not asked: %s", modality.name, error)
        return None
    if proposal is None and wishes.modality == modality.name and not seen.look.is_table:
        return Proposal(0.0)
    return None if other and not wanted and wishes.modality != modality.name else proposal


def _explain_no_kind(source: str, looks: Sequence[tuple[Modality, Seen]]) -> str:
    """Return the message for data that no kind takes."""
    names = sorted({name for modality, _ in looks for name in modality.columns})
    seen = looks[0][1].look if looks else None
    if seen is None or not seen.is_table:
        return (
            f"{source}: holds no labelled examples of a kind that Graft knows "
            f"({', '.join(list_modalities())}). "
            "Say which it is: --modality NAME"
        )
    return (
        f"{source}: no column looks like the files' paths or the texts (its columns: "
        f"{', '.join(map(printable, seen.columns))}; known are {', '.join(names)}). "
        "Name it: --text COLUMN or --path COLUMN"
    )
