"""The six stages, in the order in which a run carries them out."""

from __future__ import annotations

from pipeline.data.definition import DATA
from pipeline.evaluate.definition import EVALUATE
from pipeline.export.definition import EXPORT
from pipeline.finetune.definition import FINETUNE
from pipeline.package.definition import PACKAGE
from pipeline.recipe.stage import Stage
from pipeline.verify.definition import VERIFY

<<<<<<< HEAD
STAGES: tuple[Stage, ...] = (DATA, FINETUNE, EVALUATE, EXPORT, VERIFY, PACKAGE)
=======
from pipeline.files.layout import RunFolder
from pipeline.machine.versions import versions_of
from pipeline.recipe.reading import hash_recipe, section_json
from pipeline.recipe.sections import Recipe
from serving.model.files import hash_file

ROOT = Path(__file__).parent.parent.parent
Inputs = dict[str, Any]
RUNTIMES = (
    "onnxruntime-gpu",
    "onnxruntime",
    "openvino",
    "tensorrt-cu13",
    "nvidia-ml-py",
    "nvidia-cudnn-cu13",
)
TRAINING_PACKAGES = ("torch", "timm", "transformers", "tokenizers", "scikit-learn", "pillow")


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: The command's name.
        execute: Does the work; imports what is heavy inside.
        inputs: What the result depends on, besides the code: a JSON value.
        code: Files and folders, relative to the source tree, whose change makes the result outdated.
        outputs: The files that it leaves; a stage is done while they are as it left them.
        still_valid: What else must hold for a done stage to be skipped.
    """

    name: str
    execute: Callable[[Recipe, RunFolder], None]
    inputs: Callable[[Recipe, RunFolder], Inputs]
    code: tuple[str, ...]
    outputs: Callable[[RunFolder], list[Path]]
    still_valid: Callable[[RunFolder], bool] = lambda _: True

    def fingerprint(self, recipe: Recipe, run: RunFolder) -> str:
        """SHA-256, in hex, of everything that the result depends on."""
        document = {"stage": self.name, "code": hash_code(self.code), "inputs": self.inputs(recipe, run)}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def hash_code(places: tuple[str, ...]) -> str:
    """SHA-256, in hex, of the named source files."""
    digest = hashlib.sha256()
    for place in places:
        path = ROOT / place
        for file in (
            [path]
            if path.is_file()
            else sorted(p for p in path.rglob("*") if p.suffix in {".py", ".jinja", ".txt"})
        ):
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _data(recipe: Recipe, run: RunFolder) -> None:
    from pipeline.data.stage import prepare_data

    prepare_data(recipe, run)


def _data_inputs(recipe: Recipe, _: RunFolder) -> Inputs:
    """The recipe's section and every file's size and time of change: looking costs less than reading."""
    from pipeline.data.intake import read_labelled
    from pipeline.modalities.registry import find_modality

    states, modality = hashlib.sha256(), find_modality(recipe.modality)
    for example in read_labelled(recipe.data, cells=modality.samples_are_cells):
        content = _state(example.path) if example.text is None else (example.text,)
        states.update(
            json.dumps([example.source, example.label, example.strata, *content]).encode(
                errors="surrogatepass"
            )
        )
    return {
        "section": section_json(recipe.data),
        "input": modality.content(recipe).settings,
        "seed": recipe.seed,
        "files": states.hexdigest(),
        "versions": versions_of("pillow", "scikit-learn"),
    }


def _state(path: Path) -> tuple[int, ...]:
    """Size in bytes and time of change in nanoseconds; nothing of a file that cannot be found, which the audit will name."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns


def _finetune(recipe: Recipe, run: RunFolder) -> None:
    from pipeline.finetune.stage import finetune

    finetune(recipe, run)


def _finetune_inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    from pipeline.files.samples import digest, read_samples
    from pipeline.files.sources import hash_source

    trained_on = [sample for sample in read_samples(run) if sample.split in {"train", "validation"}]
    return {
        "sections": [section_json(s) for s in (recipe.backbone, *recipe.own_sections(), recipe.finetune)],
        "seed": recipe.seed,
        "samples": digest(trained_on),
        "weights": recipe.backbone.weights
        if recipe.backbone.weights == "hub"
        else hash_source(recipe.backbone.weights, "backbone.weights"),
        "versions": versions_of(*TRAINING_PACKAGES, "onnxruntime-gpu", "onnxruntime"),
    }


def _evaluate(recipe: Recipe, run: RunFolder) -> None:
    from pipeline.evaluate.stage import evaluate

    evaluate(recipe, run)


def _evaluate_inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    from pipeline.files.samples import digest, read_samples

    return {
        "section": section_json(recipe.evaluate),
        "seed": recipe.seed,
        "name": recipe.name,
        "samples": digest(read_samples(run)),
        "checkpoint": _hashes(sorted(run.checkpoint.iterdir())),
        "audit": hash_file(run.audit),
        "versions": versions_of(*TRAINING_PACKAGES),
    }


def _export(recipe: Recipe, run: RunFolder) -> None:
    from pipeline.export.stage import export

    export(recipe, run)


def _export_inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    from pipeline.files.samples import digest, read_samples

    return {
        "recipe": hash_recipe(recipe),
        "export": section_json(recipe.export),
        "samples": digest(read_samples(run)),
        "checkpoint": _hashes([run.checkpoint / name for name in ("model.safetensors", "checkpoint.json")]),
        "reference": hash_file(run.reference),
        "versions": versions_of(*TRAINING_PACKAGES, "onnx", "onnxscript", "scipy", *RUNTIMES),
        "machine": _machine() if any(name.startswith("tensorrt") for name in recipe.export.formats) else "",
    }


def _machine() -> Inputs:
    """Where measurements hold: a run that was moved to another machine is verified there again."""
    from pipeline.machine.settings import cpu_name, gpu_names

    return {"cpu": cpu_name(), "gpus": gpu_names()}


def _is_bundle(run: RunFolder) -> bool:
    """Whether the manifest, which ``verify`` writes into, is still one of this model."""
    from serving.model.bundle import open_bundle
    from serving.model.errors import BundleError

    try:
        return open_bundle(run.bundle, require_receipts=False).manifest.artifacts[0].file == run.model.name
    except BundleError:
        return False


def _verify(recipe: Recipe, run: RunFolder) -> None:
    from pipeline.verify.stage import verify

    verify(recipe, run)


def _verify_inputs(recipe: Recipe, run: RunFolder) -> Inputs:
    return {
        "machine": _machine(),
        "export": section_json(recipe.export),
        "files": _hashes([run.model, run.reference, run.made, *sorted(run.candidates.glob("*.onnx"))]),
        "versions": versions_of(*RUNTIMES, "pillow", "tokenizers", "scikit-learn", "scipy"),
    }


def _package(recipe: Recipe, run: RunFolder) -> None:
    from pipeline.package.stage import package

    package(recipe, run)


def _package_inputs(_: Recipe, run: RunFolder) -> Inputs:
    return {"files": _hashes(sorted(path for path in run.bundle.rglob("*") if path.is_file()))}


def _is_packaged(run: RunFolder) -> bool:
    from pipeline.package.stage import is_packaged

    return is_packaged(run)


def _hashes(paths: list[Path]) -> dict[str, str]:
    return {path.name: hash_file(path) for path in paths}


BUNDLE_CODE = ("serving/model/bundle.py", "serving/model/manifest.py", "serving/model/runtimes")
DECODING_CODE = tuple(
    f"serving/model/inputs/{name}.py"
    for name in ("item", "image/spec", "image/pixels", "text/spec", "text/tokens")
)
INPUT_CODE = (*DECODING_CODE, "pipeline/modalities")
CHECKPOINT_CODE = tuple(f"pipeline/{name}.py" for name in ("artifacts/checkpoint", "modalities/inference"))
CONTENT_CODE = (
    "pipeline/modalities/content.py",
    *(
        f"pipeline/modalities/{name}/{file}.py"
        for name in ("image", "text")
        for file in ("content", "modality")
    ),
)
JUDGING_CODE = (
    "pipeline/files/samples.py",
    "pipeline/measures",
)
STAGES = (
    Stage(
        "data", _data, _data_inputs,
        code=("pipeline/data", "pipeline/files", *CONTENT_CODE, *DECODING_CODE),
        outputs=lambda run: [run.samples, run.contents, run.audit],
    ),
    Stage(
        "finetune", _finetune, _finetune_inputs,
        code=("pipeline/finetune", "pipeline/machine", "pipeline/artifacts", *INPUT_CODE),
        outputs=lambda run: sorted(run.checkpoint.iterdir()),
    ),
    Stage(
        "evaluate", _evaluate, _evaluate_inputs,
        code=("pipeline/evaluate", *JUDGING_CODE, *CHECKPOINT_CODE, *INPUT_CODE),
        outputs=lambda run: [run.metrics, run.report, run.calibration, run.reference],
    ),
    Stage(
        "export", _export, _export_inputs,
        code=("pipeline/export", "pipeline/artifacts", *BUNDLE_CODE, *JUDGING_CODE, *CHECKPOINT_CODE, *INPUT_CODE),
        outputs=lambda run: [run.model, *sorted(run.candidates.iterdir())],
        still_valid=_is_bundle,
    ),
    Stage(
        "verify", _verify, _verify_inputs,
        code=("pipeline/verify", "pipeline/export", "serving/model", *JUDGING_CODE, *INPUT_CODE),
        outputs=lambda run: [*sorted(path for path in run.bundle.rglob("*") if path.is_file()), run.artifacts, run.proof],
    ),
    Stage(
        "package", _package, _package_inputs,
        code=("pipeline/package", "serving", "bentofile.yaml"),
        outputs=lambda run: [run.bento],
        still_valid=_is_packaged,
    ),
)  # fmt: skip
>>>>>>> kinds
