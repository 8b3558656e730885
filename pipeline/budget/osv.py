"""The documents of OSV as values, as far as they say which versions of a package are affected.

The format is that of https://ossf.github.io/osv-schema/. Keys that are not needed here are not read, and a
key that is null counts as absent.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the document holds
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


class Named(_Part):
    """The package that is affected.

    Attributes:
        ecosystem: Where it comes from, such as ``PyPI`` or ``Debian:12``.
        name: Its name there.
    """

    ecosystem: str = ""
    name: str = ""


class Event(_Part):
    """A version at which a range begins or ends; one of the attributes is not None.

    Attributes:
        introduced: The first version that is affected; ``0`` stands for the first of all.
        fixed: The first version that is not affected any more.
        last_affected: The last version that is affected.
        limit: The first version that the range says nothing about.
    """

    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class Range(_Part):
    """Some versions in a row, or several such rows.

    Attributes:
        type: What the versions are; those of ``GIT`` are commits.
        events: Where the rows begin and end, in any order.
    """

    type: str = ""
    events: tuple[Event, ...] = ()


class Affected(_Part):
    """The versions of one package that are affected.

    Attributes:
        package: The package.
        ranges: Versions by ranges.
        versions: Versions one by one.
    """

    package: Named = Named()
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()


class Document(_Part):
    """A vulnerability.

    Attributes:
        id: Its name.
        aliases: Other names of the same one.
        upstream: Names of those that it is derived from.
        modified: When the document was last changed, as RFC 3339 writes it.
        withdrawn: When it was withdrawn; empty if it was not.
        summary: What it is, in a line.
        details: What it is.
        affected: What it affects.
    """

    id: str
    aliases: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    modified: str = ""
    withdrawn: str = ""
    summary: str = ""
    details: str = ""
    affected: tuple[Affected, ...] = ()

    def identities(self) -> list[frozenset[str]]:
        """Return the names of each vulnerability that it is about, which other documents may have too.

        Debian's documents name it as ``upstream``, those of PyPI as ``aliases``. An advisory with several
        names of CVE is about as many vulnerabilities.
        """
        names = frozenset({self.id, *self.aliases, *self.upstream})
        of_cve = sorted(name for name in names if name.startswith("CVE-"))
        return [frozenset({name}) for name in of_cve] if len(of_cve) > 1 else [names]
