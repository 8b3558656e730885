"""What needs a GPU.

Where there is none it is skipped, with one reason. A machine that has one runs every test or fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import onnxruntime as ort
import pytest

from pipeline.artifacts.checkpoint import load_checkpoint
from pipeline.artifacts.limits import LIMITS
from pipeline.artifacts.onnx import to_onnx
from pipeline.export.classifier import ServedClassifier
from pipeline.export.half import to_half
from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples
from pipeline.measures.reference import read_reference
from pipeline.modalities.registry import modality_of
from pipeline.recipe.reading import load_recipe
from pipeline.verify.receipt import Claim, Evidence, build_receipt
from serving.model.bundle import open_bundle
from serving.model.errors import ProviderError
from serving.model.files import hash_file
from serving.model.inputs.registry import open_preprocessor
from serving.model.manifest import Artifact
from serving.model.receipt import Receipt
from serving.model.runtimes.libraries import explain_missing
from serving.model.runtimes.plan import load_tensorrt, read_machine
from serving.model.runtimes.session import Precision, Runtime
from serving.model.scorer import load_scorer

CUDA = "CUDAExecutionProvider"
FIGURES = (
    "samples",
    "agreeing",
    "max_abs_logits",
    "p99_abs_logits",
    "min_cosine",
    "mean_kl",
    "batch_difference",
    "confidence_error",
)
SAID = pytest.StashKey[list[str]]()
Measure = Callable[[Path, Runtime, Precision], Receipt]


def why_no_gpu() -> str | None:
    """Why nothing can be measured here; None where CUDA's libraries and the driver's load."""
    if CUDA not in ort.get_available_providers():
        return f"{CUDA} is not in this onnxruntime"
    ort.preload_dlls()
    return explain_missing(CUDA)


@pytest.fixture(scope="session", autouse=True)
def _gpu(request: pytest.FixtureRequest) -> None:
    reason = why_no_gpu()
    if reason:
        pytest.skip(f"needs a GPU: {reason}")
    try:
        _say(request, str(read_machine()))
    except ProviderError as error:  # without TensorRT, CUDA is measured all the same
        _say(request, error.message)


@pytest.fixture(scope="session")
def tensorrt(_gpu: None) -> None:
    """TensorRT's libraries: without them there is neither a builder nor a runtime."""
    if find_spec("tensorrt") is None:
        pytest.skip("needs TensorRT: pip install 'graft-ml[tensorrt]'")
    try:
        load_tensorrt()
    except ProviderError as error:
        pytest.skip(f"needs TensorRT: {error.message}")


@pytest.fixture(scope="session", params=["tiny_run", "text_run"])
def run(request: pytest.FixtureRequest, _gpu: None, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A copy of a finished run, on small pictures and on small texts; plans are built into its bundle."""
    return RunFolder(
        Path(shutil.copytree(request.getfixturevalue(request.param), tmp_path_factory.mktemp("gpu") / "run"))
    )


@pytest.fixture(scope="session")
def half(run: RunFolder) -> Path:
    """The run's model with weights of float16, as the export makes it."""
    classifier, card = load_checkpoint(run.checkpoint)
    preprocessor = open_preprocessor(card.input, run.checkpoint)
    content = to_onnx(
        ServedClassifier(to_half(classifier), read_reference(run.reference).temperature).eval(),
        preprocessor.collate([preprocessor.blank()] * 2),
        output_name="probabilities",
        metadata={},
        dynamic_axes=modality_of(load_recipe(run.recipe)).DYNAMIC_AXES,
    ).content
    path = run.root / "half.onnx"
    path.write_bytes(content)
    return path


@pytest.fixture
def measure(run: RunFolder, request: pytest.FixtureRequest) -> Measure:
    """Score the whole test split through a session, and say every figure, passed or not.

    The figures belong into docs/gpu-results.md.
    """

    def receipt_of(place: Path, runtime: Runtime, precision: Precision) -> Receipt:
        bundle = open_bundle(run.bundle)
        manifest = bundle.manifest
        artifact = Artifact.model_construct(
            name="measured",
            file=place.name,
            sha256=hash_file(place),
            runtime=runtime,
            precision=precision,
            max_batch_size=None,
            plan=None,
        )
        preprocessor = open_preprocessor(manifest.input, bundle.folder)
        scorer = load_scorer(place.parent, artifact, preprocessor)
        claim = Claim(manifest.input.modality, manifest.labels, manifest.reference.sha256, manifest.lineage)
        originals = {sample.sha256: sample for sample in read_samples(run)}
        evidence = Evidence(read_reference(run.reference), originals)
        receipt = build_receipt(scorer, claim, evidence, LIMITS[precision])
        _say(request, ", ".join(f"{name} {getattr(receipt.measured, name)}" for name in FIGURES))
        return receipt

    return receipt_of


def _say(request: pytest.FixtureRequest, line: str) -> None:
    request.config.stash.setdefault(SAID, []).append(f"{request.node.name or 'machine'}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Every figure at the end, whether its test passed or not."""
    if SAID in config.stash:
        terminalreporter.section("measured on this GPU")
        for line in config.stash[SAID]:
            terminalreporter.write_line(line)
