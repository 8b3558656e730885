"""The sections of a recipe: frozen, unknown keys refused, each with its defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]
Format = Literal[
    "onnx-fp32",
    "onnx-fp16",
    "onnx-int8",
    "openvino-fp32",
    "openvino-bf16",
    "cuda-fp32",
    "cuda-fp16",
    "tensorrt-fp32",
    "tensorrt-fp16",
]
Metric = Literal["accuracy", "macro_f1", "macro_precision", "macro_recall", "auroc"]


class Section(BaseModel):
    """A part of the recipe: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(Section):
    """The numbers that make one class: ``from`` ≤ value < ``below``.

    Attributes:
        from_: Least value of the class; without it, the class has no lower end.
        below: The class ends before this value; without it, the class has no upper end.
    """

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
        encoding: Python's name of the text encoding.
        path: The column with each file's path, relative to the table.
        text: For texts: the column with the text itself.
        label: The column with the label.
        classes: For a numeric label: the range of values of each class, by its name.
    """

    separator: str = ","
    columns: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    path: str = "path"
    text: str = "text"
    label: str = "label"
    classes: dict[str, Range] | None = None


class Splits(Section):
    """Shares of the samples that never train.

    Attributes:
        validation: Share of the samples that selects the epoch and fits the temperature.
        test: Share of the samples that only measures: ``evaluate``, ``verify`` and ``benchmark`` read it.
        calibration: Share of the samples that ``onnx-int8`` is made with, and nothing else. Pictures need
            it; texts use the validation split where it is 0.
    """

    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.25, gt=0, lt=1)
    calibration: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _leave_training_data(self) -> Splits:
        if self.validation + self.test + self.calibration >= 1:
            raise ValueError(
                "validation, test and calibration together must leave something to train on (their sum must be below 1)"
            )
        return self


class Data(Section):
    """Where the labelled samples are.

    Attributes:
        source: A folder with one subfolder a class, a CSV file, or ``package:NAME/PATH`` for data that an
            installed package ships.
        table: How to read the CSV file.
        stratify_by: Further columns of the table whose mix every split keeps.
        splits: How the samples are divided.
        on_unreadable: ``refuse`` the data, or ``skip`` samples that serving would refuse and count them.
        on_conflict: ``refuse`` the data, or ``skip`` equal samples under different labels, all of them, and
            count them.
    """

    source: str
    table: Table = Table()
    stratify_by: tuple[str, ...] = ()
    splits: Splits = Splits()
    on_unreadable: Literal["refuse", "skip"] = "refuse"
    on_conflict: Literal["refuse", "skip"] = "refuse"


class ImageBackbone(Section):
    """The pretrained network.

    Attributes:
        name: timm's name of the architecture.
        weights: ``hub`` (timm's own, needs a network), a ``.safetensors`` or ``.pth`` file, or
            ``package:NAME/PATH``.
        mapping: ``names`` when the file has timm's tensor names; ``order`` when it has other names for the
            same tensors in the same order.
    """

    name: str
    weights: str = "hub"
    mapping: Literal["names", "order"] = "names"


class TextBackbone(Section):
    """The pretrained encoder: anything that transformers' ``AutoModel`` reads from safetensors.

    Attributes:
        name: The hub's name of the model, such as ``sentence-transformers/all-MiniLM-L6-v2``.
        weights: ``hub`` (needs a network or a filled cache), or a folder in the hub's layout: a path or
            ``package:NAME/PATH``.
        pooling: From token vectors to one: the ``mean``, the first (``cls``) or the ``last``; ``auto`` is
            what the model was pretrained with where its folder says so, ``last`` for causal models, and the
            mean for others.
    """

    name: str
    weights: str = "hub"
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"


class Image(Section):
    """How a picture becomes input; what is left out comes from timm's configuration of the backbone.

    Attributes:
        size: Side of the square input, in pixels.
        crop_pct: Share of the resized side that the crop keeps.
        crop_mode: ``center`` keeps the aspect ratio and cuts off what is outside the square; ``squash``
            resizes each side for itself.
        interpolation: Method of resizing.
    """

    size: int | None = Field(default=None, ge=16, le=2048)
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    crop_mode: Literal["center", "squash"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None


class Text(Section):
    """How a text becomes input.

    Attributes:
        max_tokens: Longer texts are cut at the end, and every answer to one says so. Special tokens count.
        max_characters: Longer texts are refused.
    """

    max_tokens: int = Field(default=128, ge=8, le=8192)
    max_characters: int = Field(default=20_000, ge=16, le=1_000_000)


class ImageAugment(Section):
    """Random changes of the training pictures; each is one that does not change the label.

    Attributes:
        horizontal_flip: Mirror half of the pictures, drawn by chance, left to right.
        vertical_flip: Mirror half of the pictures, drawn by chance, top to bottom.
        crop_scale: Least and largest share of the area that a random crop keeps; ``[1.0, 1.0]`` for no crop.
    """

    horizontal_flip: bool = True
    vertical_flip: bool = False
    crop_scale: tuple[float, float] = (0.7, 1.0)

    @model_validator(mode="after")
    def _scales_are_shares(self) -> ImageAugment:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError("crop_scale must be two shares of the area, 0 < low <= high <= 1")
        return self


class TextAugment(Section):
    """Random changes of the words of training texts (EDA, arXiv:1901.11196); off by default.

    Attributes:
        delete: Share of the words that are left out.
        swap: Share of the words that change places with another.
        synonym: Share of the words that WordNet's synonyms replace; needs the extra ``wordnet``.
    """

    delete: Fraction = 0.0
    swap: Fraction = 0.0
    synonym: Fraction = 0.0

    @property
    def changes(self) -> bool:
        """Whether anything may change."""
        return self.delete + self.swap + self.synonym > 0


class Finetune(Section):
    """How the backbone learns the task.

    Attributes:
        mode: ``features`` trains a linear head on the frozen backbone; ``full`` then trains everything from
            there.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Peak of the head's learning rate; the optimiser is AdamW, and the rate falls to 0 along
            a cosine.
        layer_decay: Factor of the learning rate from each layer to the one below it (arXiv:1801.06146); 1 for
            one rate.
        weight_decay: AdamW's weight decay; biases and normalisation have none.
        warmup: Share of the steps in which the learning rate rises.
        label_smoothing: Share of the target that is spread over all classes.
        class_weights: ``balanced`` weights each class inversely to its size; ``auto`` does so when the
            largest class has over 1.5 times the samples of the smallest.
        device: Where the network is trained; ``auto`` is CUDA where torch finds it.
        precision: Number format of training; ``auto`` follows a fixed rule (docs/adr/0001).
    """

    mode: Literal["features", "full"] = "full"
    epochs: int = Field(default=3, ge=1, le=1000)
    batch_size: int = Field(default=32, ge=2, le=4096)
    learning_rate: float = Field(default=1e-3, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: Fraction = 0.1
    label_smoothing: Fraction = 0.1
    class_weights: Literal["auto", "balanced", "none"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"


class ImageFinetune(Finetune):
    """How an image backbone learns.

    Attributes:
        batch_norm: ``train`` updates the batch statistics; ``frozen`` keeps the pretrained ones.
        augment: Random changes of the training pictures.
    """

    batch_norm: Literal["train", "frozen"] = "train"
    augment: ImageAugment = ImageAugment()


class TextFinetune(Finetune):
    """How a text encoder learns.

    Attributes:
        batching: ``buckets`` puts texts of similar length together, so that little is padded; ``random`` does
            not.
        augment: Random changes of the training texts.
    """

    epochs: int = Field(default=1, ge=1, le=1000)
    learning_rate: float = Field(default=1e-4, gt=0)
    layer_decay: float = Field(default=0.9, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: Fraction = 0.0
    class_weights: Literal["auto", "balanced", "none"] = "none"
    batching: Literal["buckets", "random"] = "buckets"
    augment: TextAugment = TextAugment()


class Evaluate(Section):
    """How the test split is judged.

    Attributes:
        bootstrap: Resamples behind the 95 % intervals.
        require: The least value of a metric; a run below it ends with exit code 3.
        ship_below_baseline: Go on even where a simple baseline on the same samples has the better macro F1.
    """

    bootstrap: int = Field(default=1000, ge=100, le=100_000)
    require: dict[Metric, float] = {}
    ship_below_baseline: bool = False


class LimitChanges(Section):
    """Another limit than that of the precision, for one format; its receipt then says that the recipe set it.

    Attributes:
        min_agreement: Least share of answers that are the checkpoint's.
        min_cosine: Least cosine of any sample's two probability vectors.
        max_mean_kl: Largest mean Kullback-Leibler divergence, in nats.
        max_metric_drop: Largest loss of accuracy or macro F1.
        min_speedup: Least speed, in times that of ``onnx-fp32`` on one thread; 0 publishes a format that is
            not faster.
    """

    min_agreement: float | None = Field(default=None, ge=0, le=1)
    min_cosine: float | None = Field(default=None, ge=0, le=1)
    max_mean_kl: float | None = Field(default=None, ge=0)
    max_metric_drop: float | None = Field(default=None, ge=0, le=1)
    min_speedup: float | None = Field(default=None, ge=0)


class Export(Section):
    """What is made for serving: each format is published only with a passed receipt, and when it is faster.

    Attributes:
        formats: Beside ``onnx-fp32``, which is always made: half precision (``onnx-fp16``), 8 bits
            (``onnx-int8``: static for convolutional networks, dynamic for transformers), the same file by
            OpenVINO (``openvino-fp32``, ``openvino-bf16``), and on NVIDIA GPUs by CUDA or TensorRT.
        limits: By format, what to publish it under instead of the limits of its precision.
    """

    formats: tuple[Format, ...] = ("onnx-fp32",)
    limits: dict[Format, LimitChanges] = {}

    @property
    def further(self) -> tuple[Format, ...]:
        """What is made beside ``onnx-fp32``, which every run has."""
        return tuple(name for name in dict.fromkeys(self.formats) if name != "onnx-fp32")

    @model_validator(mode="after")
    def _source_is_exact(self) -> Export:
        if "onnx-fp32" in self.limits:
            raise ValueError(
                "limits: onnx-fp32 is what everything else is made from, and keeps its own limits"
            )
        return self


class TextExport(Export):
    """What is made for serving; texts gain most from dynamic int8, which needs no calibration."""

    formats: tuple[Format, ...] = ("onnx-fp32", "onnx-int8")


class _Recipe(Section):
    """What the recipes of all kinds share.

    Attributes:
        name: Names the run's folder, the bundle and the Bento: lower-case letters, digits, ``.``, ``_`` and
            ``-``.
        seed: Fixes the splits, the order of the samples, augmentation and the bootstrap.
        data: Where the labelled samples are.
    """

    name: str = Field(pattern="^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", max_length=60)
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: Data


class ImageRecipe(_Recipe):
    """Every choice of a run on pictures.

    Attributes:
        modality: The kind of input.
        backbone: The pretrained network.
        image: How a picture becomes input.
        finetune: How the backbone learns the task.
        evaluate: How the test split is judged.
        export: What is made for serving.
    """

    modality: Literal["image"] = "image"
    backbone: ImageBackbone
    image: Image = Image()
    finetune: ImageFinetune = ImageFinetune()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()

    @model_validator(mode="after")
    def _calibrate_static_int8(self) -> ImageRecipe:
        if "onnx-int8" in self.export.formats and not self.data.splits.calibration:
            raise ValueError(
                "export.formats: onnx-int8 of pictures is calibrated on samples that neither train, select nor test; "
                "set them aside: data.splits.calibration: 0.05"
            )
        return self


class TextRecipe(_Recipe):
    """Every choice of a run on texts.

    Attributes:
        modality: The kind of input.
        backbone: The pretrained encoder.
        text: How a text becomes input.
        finetune: How the backbone learns the task.
        evaluate: How the test split is judged.
        export: What is made for serving.
    """

    modality: Literal["text"] = "text"
    backbone: TextBackbone
    text: Text = Text()
    finetune: TextFinetune = TextFinetune()
    evaluate: Evaluate = Evaluate()
    export: TextExport = TextExport()


Recipe = ImageRecipe | TextRecipe
