"""Look at every file before anything trains on it: readable, unique, and under one label."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pipeline.data.intake import LabelledFile
from pipeline.errors import DataError
from pipeline.progress import track
from pipeline.recipe import Data
from serving.errors import InputRefusedError
from serving.runtime import cpu_limit

LISTED = 10


@dataclass(frozen=True)
class AuditedFile:
    """A usable file and the SHA-256 of its content, in hex."""

    file: LabelledFile
    sha256: str


@dataclass(frozen=True)
class Audit:
    """What the audit kept, and what it left out: unreadable files with the reason, repeats, and label conflicts."""

    kept: list[AuditedFile]
    unreadable: dict[str, str]
    repeats: list[str]
    conflicts: list[str]


def audit_files(files: Sequence[LabelledFile], data: Data, check: Callable[[bytes], object]) -> Audit:
    """Check every file and keep what can be trained on.

    Args:
        files: What intake found.
        data: The recipe's section, for what to do with unreadable and conflicting files.
        check: Decodes one file's bytes as serving will, raising :class:`serving.errors.InputRefusedError`.

    Raises:
        DataError: A file is unreadable, or equal files have different labels, and the recipe says ``refuse``.
    """
    with ThreadPoolExecutor(cpu_limit()) as pool:
        looked = list(track(pool.map(partial(_look_at, check=check), files), total=len(files), what="audit", unit="files"))
    unreadable = {str(file.path): reason for file, (_, reason) in zip(files, looked, strict=True) if reason}
    if unreadable and data.on_unreadable == "refuse":
        lines = [f"{path}: {reason}" for path, reason in unreadable.items()]
        raise DataError(_listing(f"{len(lines)} file(s) cannot be read", lines, "data.on_unreadable: skip"))
    readable = [AuditedFile(file, sha256) for file, (sha256, reason) in zip(files, looked, strict=True) if not reason]
    return _without_copies(readable, unreadable, data)


def _look_at(file: LabelledFile, check: Callable[[bytes], object]) -> tuple[str, str]:
    """The content's hash, and why it cannot be used, if so."""
    try:
        content = file.path.read_bytes()
        check(content)
    except FileNotFoundError:
        return "", "does not exist"
    except OSError as error:
        return "", error.strerror or str(error)
    except InputRefusedError as refusal:
        return "", refusal.message
    return hashlib.sha256(content).hexdigest(), ""


def _without_copies(readable: list[AuditedFile], unreadable: dict[str, str], data: Data) -> Audit:
    groups: dict[str, list[AuditedFile]] = defaultdict(list)
    for item in readable:
        groups[item.sha256].append(item)
    conflicts = [group for group in groups.values() if len({item.file.label for item in group}) > 1]
    if conflicts and data.on_conflict == "refuse":
        lines = [" = ".join(f"{item.file.path} ({item.file.label})" for item in group) for group in conflicts]
        raise DataError(_listing(f"{len(lines)} content(s) appear under different labels", lines, "data.on_conflict: skip"))
    agreed = [group for group in groups.values() if len({item.file.label for item in group}) == 1]
    return Audit(
        kept=[group[0] for group in agreed],
        unreadable=unreadable,
        repeats=[str(item.file.path) for group in agreed for item in group[1:]],
        conflicts=[str(item.file.path) for group in conflicts for item in group],
    )


def _listing(what: str, lines: list[str], remedy: str) -> str:
    shown = "\n".join(f"  {line}" for line in lines[:LISTED])
    more = f"\n  … and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    return f"{what}:\n{shown}{more}\nMend or remove them, or set `{remedy}` in the recipe to leave them out and count them in the report."
