"""The data of a run, which may lie in another folder than when the run was made."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.places import read_place, write_root
from pipeline.files.sources import HUB, SOURCE_KEY, SourceMissingError, locate, root_of
from pipeline.recipe.data import Data
from pipeline.recipe.sections import Recipe


def with_data_root(recipe: Recipe, run: RunFolder, folder: Path) -> Recipe:
    """Return a recipe whose data are in another folder.

    A folder of samples becomes that folder. Of a table the files are looked for there, and so is the table
    itself if one of its name is there.

    Args:
        recipe: The recipe.
        run: Its run, which says what the data were where the recipe's place is not on this machine.
        folder: The folder that the names of samples count from now.

    Raises:
        GraftError: There is no such folder, or the recipe's data are in none.
    """
    data, place = recipe.data, folder.absolute()
    if data.source.startswith(HUB):
        raise GraftError(
            f"--data-root: the recipe's data are in no folder, since data.source is {data.source}."
        )
    if not place.is_dir():
        raise GraftError(f"--data-root: {folder} is no folder. Name the one that the data are in now.")
    if _is_folder(data, run, place):
        changes = {"source": str(place)}
    else:
        table = place / _name_of(data)
        changes = {"root": str(place)} | ({"source": str(table)} if table.is_file() else {})
    return recipe.model_copy(update={"data": data.model_copy(update=changes)})


def keep_root(recipe: Recipe, run: RunFolder) -> None:
    """Note in a run where its data are; a note stays where the recipe's place is not on this machine."""
    root = root_of(recipe.data.source, recipe.data.root)
    if root is not None:
        write_root(run, root)


def _is_folder(data: Data, run: RunFolder, place: Path) -> bool:
    """Return whether the data are a folder and not a table, which is here or at another place.

    Raises:
        GraftError: That cannot be told.
    """
    try:
        return locate(data.source, SOURCE_KEY).is_dir()
    except SourceMissingError:
        name, root = _name_of(data), read_place(run).root
    if data.root is not None or (place / name).is_file():
        return False
    if root is None and PurePosixPath(name).suffix:
        raise GraftError(
            f"--data-root: {place} holds no {name}. Put the table of data.source there, or correct "
            "data.source in the recipe."
        )
    return root is None or root.name == name


def _name_of(data: Data) -> str:
    return PurePosixPath(data.source).name
