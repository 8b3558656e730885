"""The work of ``graft benchmark``: it measures a run's published artifacts, and chooses how to serve them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pipeline.artifacts.publishing import discard_unreadable_defaults, publish_defaults
from pipeline.benchmark.cold import measure_cold_start
from pipeline.benchmark.measure import measure_settings
from pipeline.benchmark.plot import plot_pareto, points_of
from pipeline.benchmark.recommend import Former, recommend
from pipeline.benchmark.result import Result
from pipeline.benchmark.rows import ColdStart, Facts, Row, Setting, Timing, single_runs
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.files.samples import evenly, read_samples
from pipeline.machine.settings import cpu_name
from pipeline.reporting.progress import track
from serving.model.bundle import Bundle, open_bundle
from serving.model.errors import ServingError
from serving.model.inputs.registry import open_preprocessor
from serving.model.manifest import DEFAULTS_FILE, Artifact, Defaults
from serving.model.predictor import Predictor, load_predictor
from serving.model.receipt import read_receipt
from serving.model.runtimes.machine import cpu_limit

log = logging.getLogger("graft")
SAMPLES = 64
ORDER_SEED = 0  # of the order in which each round times the settings
Starts = Mapping[str, ColdStart | ServingError]
"""The cold start of each artifact, or the reason why it cannot be run here, by the artifact's name."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        threads: Thread counts within one run; by default one thread, and as many as there are CPUs.
        batches: Batch sizes.
        rounds: Number of times that each setting is timed. While the choice is not clear, those of the
            smallest batch are timed again, up to four times as often.
        seconds: About how long ``rounds`` may take, in seconds; starting each artifact comes on top.
    """

    threads: tuple[int, ...] | None = None
    batches: tuple[int, ...] = (1, 8)
    rounds: int = 8
    seconds: float = 30.0


@dataclass(frozen=True)
class Inputs:
    """Some samples of the test split.

    Attributes:
        data: The bytes of each sample.
        arrays: Each sample decoded to the model's input.
    """

    data: Sequence[bytes]
    arrays: Sequence[NDArray[Any]]


def benchmark(run: RunFolder, options: Options) -> Result:
    """Measure every published artifact, and write ``benchmark.json``, the plot, and the bundle's settings.

    Args:
        run: The run's folder. The settings are written to ``defaults.json`` in its bundle.
        options: How to measure.

    Raises:
        GraftError: No artifact can be run here.
        BundleError: The bundle must not be served.
    """
    discard_unreadable_defaults(run.bundle)
    bundle = open_bundle(run.bundle)
    inputs = _read_inputs(run, bundle)
    starts = _start_all(bundle, inputs.data[0])
    former = _read_former(bundle)

    def rows_of(timings: Mapping[Setting, Timing]) -> list[Row]:
        return [
            row
            for artifact in bundle.manifest.artifacts
            for row in _rows(bundle, artifact, starts[artifact.name], timings)
        ]

    def is_clear(timings: Mapping[Setting, Timing]) -> bool:
        return recommend(rows_of(timings), former).is_clear

    settings = _settings(bundle, starts, options)
    rows = rows_of(_time(bundle, settings, inputs, options, is_clear) if settings else {})
    recommended = recommend(rows, former)
    result = Result(
        run=run.root,
        measured_on=_device(bundle.artifact(recommended.artifact)),
        rounds=options.rounds,
        samples=len(inputs.arrays),
        rows=rows,
        recommended=recommended,
        plot=run.benchmark / "pareto.png",
        defaults=run.bundle / DEFAULTS_FILE,
    )
    defaults = Defaults(
        artifact=recommended.artifact, threads=recommended.threads, measured_on=result.measured_on
    )
    publish_defaults(bundle, defaults)
    _write(run, result)
    return result


def _read_former(bundle: Bundle) -> Former | None:
    """Return the settings that a benchmark of this bundle recommended before, if it was on this machine."""
    defaults = bundle.defaults
    if defaults is None or _device(bundle.artifact(defaults.artifact)) != defaults.measured_on:
        return None
    return Former(defaults.artifact, defaults.threads)


def _read_inputs(run: RunFolder, bundle: Bundle) -> Inputs:
    """Read at most 64 samples of the test split, evenly spread over it."""
    tested = [sample for sample in read_samples(run) if sample.split == "test"]
    data = [tested[index].read() for index in evenly(len(tested), SAMPLES)]
    preprocessor = open_preprocessor(bundle.manifest.input, bundle.folder)
    return Inputs(data, [preprocessor.decode(each).array for each in data])


def _start_all(bundle: Bundle, data: bytes) -> Starts:
    """Measure the cold start of each artifact."""
    starts: dict[str, ColdStart | ServingError] = {}
    artifacts = bundle.manifest.artifacts
    for artifact in track(artifacts, total=len(artifacts), what="cold starts", unit="artifacts"):
        try:
            starts[artifact.name] = measure_cold_start(bundle.folder, artifact.name, data)
        except ServingError as error:
            log.info("benchmark: %s cannot be run here: %s", artifact.name, error.message)
            starts[artifact.name] = error
    return starts


def _settings(bundle: Bundle, starts: Starts, options: Options) -> list[Setting]:
    """List every artifact that runs here with every thread count and batch size.

    On a GPU, which has threads of its own, only the lowest thread count is measured.
    """
    threads = options.threads or tuple(sorted({1, cpu_limit()}))
    return [
        Setting(artifact.name, count, batch_size)
        for artifact in bundle.manifest.artifacts
        if isinstance(starts[artifact.name], ColdStart)
        for count in (threads if _is_on_cpu(artifact) else (min(threads),))
        for batch_size in options.batches
    ]


def _time(
    bundle: Bundle,
    settings: Sequence[Setting],
    inputs: Inputs,
    options: Options,
    is_clear: Callable[[Mapping[Setting, Timing]], bool],
) -> dict[Setting, Timing]:
    """Time each setting; all batch sizes of an artifact with the same threads share one session."""
    pairs = dict.fromkeys((setting.artifact, setting.threads) for setting in settings)
    predictors: dict[tuple[str, int], Predictor] = {
        (artifact, threads): load_predictor(bundle.folder, artifact=artifact, threads=threads)
        for artifact, threads in pairs
    }
    scorers = {setting: predictors[setting.artifact, setting.threads] for setting in settings}
    log.info(
        "benchmark: %d settings in %d rounds, about %.0f s", len(settings), options.rounds, options.seconds
    )
    return measure_settings(
        scorers,
        inputs.arrays,
        rounds=options.rounds,
        seconds=options.seconds,
        seed=ORDER_SEED,
        is_clear=is_clear,
    )


def _rows(
    bundle: Bundle, artifact: Artifact, start: ColdStart | ServingError, timings: Mapping[Setting, Timing]
) -> list[Row]:
    facts = _facts(bundle, artifact)
    if isinstance(start, ServingError):
        return [Row(facts, unavailable=start.message)]
    return [
        Row(facts, start, timing) for setting, timing in timings.items() if setting.artifact == artifact.name
    ]


def _facts(bundle: Bundle, artifact: Artifact) -> Facts:
    assert artifact.receipt is not None, "a bundle that is open has receipts"
    metrics = read_receipt(bundle.path_of(artifact.receipt)).measured.metrics_artifact
    return Facts(
        artifact=artifact.name,
        runtime=artifact.runtime,
        precision=artifact.precision,
        max_batch_size=artifact.max_batch_size,
        file_mb=sum(bundle.path_of(ref).stat().st_size for ref in artifact.files()) / 1e6,
        accuracy=metrics["accuracy"],
        macro_f1=metrics["macro_f1"],
    )


def _is_on_cpu(artifact: Artifact) -> bool:
    return artifact.runtime.endswith("-cpu")


def _device(artifact: Artifact) -> str:
    """Name the hardware that an artifact was measured on."""
    cpu = f"{cpu_name()}, {cpu_limit()} usable CPUs"
    if _is_on_cpu(artifact):
        return cpu
    import torch

    return (
        f"{torch.cuda.get_device_name()}; {cpu}"
        if torch.cuda.is_available()
        else f"a GPU that torch cannot name; {cpu}"
    )


def _write(run: RunFolder, result: Result) -> None:
    timing = min(
        (timing for _, timing in single_runs(result.rows)), key=lambda timing: timing.setting.threads
    )
    threads = f"{timing.setting.threads} thread{'s' * (timing.setting.threads > 1)}"
    setting = f"batch {timing.setting.batch_size}, {threads}"
    atomic.write_bytes(
        result.plot, plot_pareto(points_of(result.rows), f"{run.root.name}: {result.measured_on}", setting)
    )
    atomic.write_json(run.benchmark / "benchmark.json", result.to_json())
