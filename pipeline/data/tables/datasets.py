"""Data sets of Hugging Face: saved in a folder, or of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.tables.arrow import Column, plan_columns, rows_at_once
from pipeline.data.tables.rows import Row, Rows, check_names, shown
from pipeline.errors import DataError
from pipeline.files.sources import HUB
from pipeline.machine.extras import require

MOST_OF_A_REASON = 300


@dataclass(frozen=True)
class _DatasetRows:
    """The rows of one split; each pass reads them anew, one batch after the other."""

    dataset: Any
    columns: tuple[Column, ...]

    def __iter__(self) -> Iterator[Row]:
        import pyarrow as pa

        number = 0
        narrow = self.dataset.select_columns([column.name for column in self.columns])
        for table in narrow.with_format("arrow").iter(batch_size=rows_at_once(self.columns)):
            chunks = [table.column(column.name) for column in self.columns]
            cells = [
                column.convert(pa.concat_arrays(chunk.chunks) if chunk.num_chunks > 1 else chunk.chunk(0))
                for column, chunk in zip(self.columns, chunks, strict=True)
            ]
            for values in zip(*cells, strict=True):
                number += 1
                yield Row(number, values)


def is_saved_dataset(folder: Path) -> bool:
    """Return whether ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` has written a folder."""
    names = ("dataset_dict.json",), ("dataset_info.json", "state.json")
    return any(all((folder / name).is_file() for name in group) for group in names)


@dataclass(frozen=True)
class Part:
    """A split of a data set.

    Attributes:
        name: Name of the split; None where the data set has no splits.
        rows: The rows.
        dataset: The library's own object, whose pictures are not decoded.
    """

    name: str | None
    rows: Rows
    dataset: Any


def open_dataset(source: str | Path) -> tuple[Part, ...]:
    """Open a data set of Hugging Face.

    Args:
        source: A folder that ``save_to_disk`` has written, or ``hub:OWNER/NAME[/CONFIG][@REVISION]`` for a
            data set of the hub, which is downloaded unless it is in the cache. No code of the data set runs.

    Returns:
        The splits.

    Raises:
        GraftError: The package ``datasets`` is not installed.
        DataError: The data set cannot be read or reached.
    """
    require("datasets")
    is_hub = isinstance(source, str) and source.startswith(HUB)
    loaded = _load_from_hub(str(source)) if is_hub else _load_saved(Path(source))
    splits = loaded.items() if isinstance(loaded, dict) else [(None, loaded)]
    return tuple(Part(name, _open_split(split, str(source), name), split) for name, split in splits)


def _open_split(dataset: Any, source: str, name: str | None) -> Rows:  # noqa: ANN401
    where = source if name is None else f"{source} ({name})"
    schema = dataset.features.arrow_schema  # its metadata hold the names of the classes
    check_names(where, schema.names, "Rename the columns.")
    columns, nested = plan_columns(schema, where)
    rows = _DatasetRows(dataset, columns) if columns else ()
    return Rows(where, tuple(column.name for column in columns), rows, len(dataset), nested)


def _load_saved(folder: Path) -> Any:  # noqa: ANN401
    import datasets

    try:
        return datasets.load_from_disk(str(folder), keep_in_memory=False)
    except Exception as error:  # broken files raise errors of JSON, Arrow and the file system
        raise DataError(
            f"{folder}: cannot be read as a saved data set ({_reason(error)}). "
            "Write it anew with save_to_disk."
        ) from error


def _load_from_hub(source: str) -> Any:  # noqa: ANN401
    import datasets

    path, _, revision = source.removeprefix(HUB).partition("@")
    owner, _, rest = path.partition("/")
    short, _, config = rest.partition("/")
    name = f"{owner}/{short}" if short else owner
    if not owner or "/" in config or name.startswith("."):
        raise DataError(
            f"data.source: {shown(source)} is not hub:OWNER/NAME[/CONFIG][@REVISION]. Correct it."
        )
    try:
        return datasets.load_dataset(name, config or None, revision=revision or None)
    except Exception as error:  # the network, the hub and the readers of many formats raise many types
        raise DataError(
            f"{source}: the data set {shown(name)} cannot be reached on the Hugging Face hub, is not in the "
            f"cache, or cannot be read ({_reason(error)}). Check its name and the network; or download it "
            f"where there is one (hf download --repo-type dataset {name}), and name a folder as data.source."
        ) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {shown(' '.join(str(error).split()), MOST_OF_A_REASON)}"
