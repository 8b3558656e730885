"""The recipe: every choice of a run, checked before any work starts."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import RecipeError

Fraction = Annotated[float, Field(ge=0, lt=1)]
Metric = Literal["accuracy", "macro_f1", "macro_precision", "macro_recall", "auroc"]


class Section(BaseModel):
    """A part of the recipe: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(Section):
    """The numbers that make one class: ``from`` ≤ value < ``below``."""

    from_: float | None = Field(default=None, alias="from")
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the value lies in the range."""
        return (self.from_ is None or value >= self.from_) and (self.below is None or value < self.below)


class Table(Section):
    """How to read a table of samples.

    Attributes:
        separator: One character, or ``whitespace``.
        columns: Names of the columns of a table without a header line.
        path: The column with each file's path, relative to the table.
        label: The column with the label.
        classes: For a numeric label: the range of values of each class.
    """

    separator: str = ","
    columns: tuple[str, ...] | None = None
    path: str = "path"
    label: str = "label"
    classes: dict[str, Range] | None = None


class Splits(Section):
    """Shares of the samples that never train: validation selects, test measures."""

    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.25, gt=0, lt=1)

    @model_validator(mode="after")
    def _leave_training_data(self) -> Splits:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together must leave something to train on (their sum must be below 1)")
        return self


class Data(Section):
    """Where the labelled samples are.

    Attributes:
        source: A folder with one subfolder a class, a CSV file, or ``package:NAME/PATH`` for data that an installed package ships.
        table: How to read the CSV file.
        stratify_by: Further columns of the table whose mix every split keeps.
        on_unreadable: ``refuse`` the data, or ``skip`` files that are not readable pictures and count them.
        on_conflict: The same for equal files under different labels.
    """

    source: str
    table: Table = Table()
    stratify_by: tuple[str, ...] = ()
    splits: Splits = Splits()
    on_unreadable: Literal["refuse", "skip"] = "refuse"
    on_conflict: Literal["refuse", "skip"] = "refuse"


class Backbone(Section):
    """The pretrained network.

    Attributes:
        name: timm's name of the architecture.
        weights: ``hub`` (timm's own, needs a network), a ``.safetensors`` or ``.pth`` file, or ``package:NAME/PATH``.
        mapping: ``names`` when the file has timm's tensor names; ``order`` when it has other names for the same tensors in the same order.
    """

    name: str
    weights: str = "hub"
    mapping: Literal["names", "order"] = "names"


class Image(Section):
    """How a picture becomes input; what is left out comes from timm's configuration of the backbone."""

    size: int | None = Field(default=None, ge=16, le=2048)
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    crop_mode: Literal["center", "squash"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None


class Augment(Section):
    """Random changes of the training pictures; each is one that does not change the label."""

    horizontal_flip: bool = True
    vertical_flip: bool = False
    crop_scale: tuple[float, float] = (0.7, 1.0)

    @model_validator(mode="after")
    def _scales_are_shares(self) -> Augment:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError("crop_scale must be two shares of the area, 0 < low <= high <= 1")
        return self


class Finetune(Section):
    """How the backbone learns the task.

    Attributes:
        mode: ``features`` trains a linear head on the frozen backbone; ``full`` then trains everything from there.
        class_weights: ``auto`` balances when the largest class has over 1.5 times the samples of the smallest.
        batch_norm: ``train`` updates the batch statistics; ``frozen`` keeps the pretrained ones.
    """

    mode: Literal["features", "full"] = "full"
    epochs: int = Field(default=3, ge=1, le=1000)
    batch_size: int = Field(default=32, ge=2, le=4096)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: Fraction = 0.1
    label_smoothing: Fraction = 0.1
    class_weights: Literal["auto", "balanced", "none"] = "auto"
    batch_norm: Literal["train", "frozen"] = "train"
    augment: Augment = Augment()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"


class Evaluate(Section):
    """How the test split is judged.

    Attributes:
        bootstrap: Resamples behind the 95 % intervals.
        require: The least value of a metric; a run below it ends with exit code 3.
    """

    bootstrap: int = Field(default=1000, ge=100, le=100_000)
    require: dict[Metric, float] = {}


class Recipe(Section):
    """Every choice of a run."""

    name: str = Field(pattern="^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", max_length=60)
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: Data
    backbone: Backbone
    image: Image = Image()
    finetune: Finetune = Finetune()
    evaluate: Evaluate = Evaluate()


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe. Relative paths in it count from its folder, and come back absolute.

    Raises:
        RecipeError: The file is missing or not YAML, or the recipe is wrong; everything that is wrong is listed at once.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe. Write one with: graft init FOLDER") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(document, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}.")
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in _explain(error))
        raise RecipeError(f"{path}: {error.error_count()} thing(s) to mend:\n{lines}") from error
    return _absolute(recipe, path.resolve().parent)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, with every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def section_json(section: BaseModel) -> str:
    """A section as canonical JSON, to be hashed."""
    return json.dumps(section.model_dump(mode="json", by_alias=True), sort_keys=True)


def hash_recipe(recipe: Recipe) -> str:
    """SHA-256, in hex, of the recipe without the places of its files, whose contents have hashes of their own."""
    data = recipe.data.model_copy(update={"source": ""})
    backbone = recipe.backbone.model_copy(update={"weights": ""})
    return hashlib.sha256(section_json(recipe.model_copy(update={"data": data, "backbone": backbone})).encode()).hexdigest()


def _absolute(recipe: Recipe, base: Path) -> Recipe:
    def resolve(value: str) -> str:
        return value if value == "hub" or value.startswith("package:") else str((base / Path(value).expanduser()).absolute())

    data = recipe.data.model_copy(update={"source": resolve(recipe.data.source)})
    backbone = recipe.backbone.model_copy(update={"weights": resolve(recipe.backbone.weights)})
    return recipe.model_copy(update={"data": data, "backbone": backbone})


def _explain(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            yield f"{place}: unknown key{_nearest(item['loc'])}"
        elif item["type"] == "missing":
            yield f"{place}: is required"
        else:
            yield f"{place or 'recipe'}: {item['msg'].removeprefix('Value error, ')} (found {_shown(item['input'])})"


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever the YAML held
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _nearest(location: tuple[int | str, ...]) -> str:
    names = _keys_at(location[:-1])
    close = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known here: {', '.join(names)}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the recipe knows at a place."""
    model: Any = Recipe
    for part in location:
        fields: Mapping[str, Any] = getattr(model, "model_fields", {})
        model = _model_of(fields[str(part)].annotation) if part in fields else Range
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_of(annotation: Any) -> Any:  # noqa: ANN401 - a type
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else Range
