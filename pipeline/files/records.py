"""Records: JSON files of a run that have a version and are checked when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import GraftError
from pipeline.files import atomic


class Record(BaseModel):
    """A part of a record: frozen, and keys that it does not name are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionedRecord(Record):
    """A record that is a file of its own.

    Attributes:
        schema_version: The version of the file's form. A record that gets other keys, or another meaning of
            the same keys, names the next number instead.
    """

    schema_version: Literal[1] = 1


AnyRecord = TypeVar("AnyRecord", bound=VersionedRecord)
OTHER_VERSION = "was written by another version of Graft"


def write_record(path: Path, record: VersionedRecord) -> None:
    """Write a record as JSON in one step."""
    atomic.write_json(path, record.model_dump(mode="json"))


def read_record(path: Path, form: type[AnyRecord], remedy: str) -> AnyRecord:
    """Read a record back and check it.

    Args:
        path: The file.
        form: The class of the record.
        remedy: What makes the file anew, for people, such as a sentence that ends in a command.

    Raises:
        GraftError: The file cannot be read, is no JSON, has another version, or does not have the form.
    """
    try:
        record = form.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise GraftError(f"{path}: {_reason(error)}. {remedy}") from error
    if "schema_version" not in record.model_fields_set:
        raise GraftError(f"{path}: {OTHER_VERSION}. {remedy}")
    return record


def _reason(error: OSError | ValidationError) -> str:
    """Say in a few words what is wrong with a file."""
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    faults = {".".join(map(str, fault["loc"])): fault["msg"] for fault in error.errors(include_url=False)}
    if "schema_version" in faults:
        return OTHER_VERSION
    place, message = next(iter(faults.items()))
    return f"is damaged ({place}: {message})" if place else f"is damaged ({message})"
