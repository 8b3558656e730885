"""The making of each model file, from the checkpoint or from its fp32 ONNX file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.artifacts.limits import limits_for
from pipeline.artifacts.onnx import OnnxModel, to_onnx
from pipeline.artifacts.sessions import answer
from pipeline.errors import DataError, GraftError
from pipeline.export.classifier import ServedClassifier
from pipeline.export.half import to_half
from pipeline.export.int8 import dynamic, static
from pipeline.export.int8.distilling import BATCH, Lessons
from pipeline.export.plan_wrapper import wrap_plan
from pipeline.export.profiles import MAX_BATCH_SIZE, ranges_for
from pipeline.export.temperature import scale_temperature
from pipeline.export.tensorrt import make_plan, require_tensorrt
from pipeline.files.layout import cache_folder
from pipeline.files.samples import Sample, evenly
from pipeline.measures.reference import Reference
from pipeline.measures.temperature import correction
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.training import Classifier, Training
from pipeline.recipe.sections import Format, LimitChanges
from serving.model.inputs.item import Feeds, Preprocessor
from serving.model.inputs.kind import InputSpec
from serving.model.records import Made
from serving.model.runtimes.session import Precision

log = logging.getLogger("graft")
Outcome = tuple[bytes | None, Made]
"""A file's bytes, or None where it cannot be made; and how it was made, or why it was not."""


@dataclass(frozen=True)
class ExportContext:
    """Everything that a run's model files are made with.

    Attributes:
        limits: The recipe's changes of limits, by format.
        modality: The training side of the kind of input.
        calibration_samples: Number of samples that 8-bit ranges are measured on, at most.
        samples: Every sample of the run.
        classifier: The checkpoint's network, in evaluation mode.
        preprocessor: The preprocessor of the network's input.
        input: The spec of the network's input.
        reference: The checkpoint's answers, with the temperature.
        metadata: Keys and values that describe the model in the metadata of every file.
        distillation_steps: Number of steps in which an 8-bit network may be trained on the checkpoint's
            answers; 0, the default, for none.
        seed: Seed of what is drawn by chance; 0 by default.
    """

    limits: Mapping[Format, LimitChanges]
    modality: Training
    calibration_samples: int
    samples: Sequence[Sample]
    classifier: Classifier
    preprocessor: Preprocessor
    input: InputSpec
    reference: Reference
    metadata: Mapping[str, str]
    distillation_steps: int = 0
    seed: int = 0

    def split(self, name: str) -> list[Sample]:
        """Return the samples of one split: ``train``, ``calibration``, ``validation`` or ``test``."""
        return [sample for sample in self.samples if sample.split == name]

    def feeds(self, samples: Sequence[Sample]) -> list[Feeds]:
        """Decode samples, each as a single input of the model."""
        return [self.preprocessor.collate([self.preprocessor.decode(each.read()).array]) for each in samples]


def export_source(context: ExportContext, tensors: Path) -> OnnxModel:
    """Export the checkpoint to the fp32 ONNX file, which everything else is compared with or made from.

    Args:
        context: Everything that files are made with.
        tensors: Path of the file of its tensors, which is written if they are too large for the ONNX file.

    Raises:
        GraftError: The network cannot be exported.
    """
    return _to_onnx(context, context.classifier, tensors)


def make_file(file: str, source: OnnxModel, context: ExportContext, folder: Path) -> Outcome:
    """Make a further file, or say why it cannot be made, which is no reason to lose the others.

    Args:
        file: Name of the file, a key of ``MAKERS``.
        source: The fp32 model.
        context: Everything that files are made with.
        folder: Folder for a file that belongs beside the one that is made, such as a TensorRT plan.

    Raises:
        DataError: Samples changed since the audit.
    """
    if source.tensors is not None:
        size = f"{source.size() / 1e9:.1f} GB"
        return None, Made(because=f"the fp32 model has {size}: past 2 GB only fp32 is served")
    try:
        return MAKERS[file](source.content, context, folder)
    except DataError:
        raise
    except Exception as error:  # exporters, quantisers and builders raise many unrelated types
        log.debug("export: %s", file, exc_info=True)
        return None, Made(because=f"it cannot be made: {reason_of(error)}")


def _to_onnx(context: ExportContext, classifier: Classifier, tensors: Path | None = None) -> OnnxModel:
    """Export a network, with its calibration, as a model whose output is called ``probabilities``."""
    return to_onnx(
        ServedClassifier(classifier, context.reference.temperature).eval(),
        context.preprocessor.collate([context.preprocessor.blank()] * 2),
        output_name="probabilities",
        metadata=context.metadata,
        dynamic_axes=context.modality.DYNAMIC_AXES,
        tensors=tensors,
    )


def _make_half(_source: bytes, context: ExportContext, _folder: Path) -> Outcome:
    """Make the fp16 file from the checkpoint."""
    content = _to_onnx(context, to_half(context.classifier)).content
    return _recalibrate(content, context, Made(method="float16 backbone between float32 ends"))


def _make_int8(source: bytes, context: ExportContext, folder: Path) -> Outcome:
    """Make the 8-bit file from the fp32 one, by the method that suits its network.

    The method is chosen on calibration samples, or on validation where there are none; the test split is not
    read.
    """
    is_static = static.is_convolutional(source)
    limits, _ = limits_for("int8", context.limits.get("onnx-int8"))
    samples = context.split("calibration") or context.split("validation")
    chosen = [samples[index] for index in evenly(len(samples), context.calibration_samples)]
    feeds = context.feeds(chosen)
    if is_static:
        lessons = partial(_lessons, context, folder) if context.distillation_steps else None
        quantised = static.make_int8(source, feeds, limits, lessons)
    else:
        quantised = dynamic.make_int8(source, feeds, limits)
    kept = quantised.kept
    log.info("export: int8, %s%s", quantised.method, f"; fp32 stay {', '.join(kept)}" if kept else "")
    record = Made(
        method=quantised.method,
        calibrated_on=f"{len(chosen)} samples of {chosen[0].split}",
        kept_fp32=kept,
        # A dynamic scale is that of a whole batch, so that an answer would depend on its neighbours.
        max_batch_size=None if is_static else 1,
    )
    return _recalibrate(quantised.model, context, record)


def _lessons(context: ExportContext, folder: Path) -> Lessons:
    """Decode what an 8-bit network is trained on: samples of the training split, without their labels.

    Args:
        context: Everything that files are made with.
        folder: Folder for a file that decoded samples may be kept in, and that is removed with them.
    """
    samples = context.split("train")
    chosen = [samples[index] for index in evenly(len(samples), context.distillation_steps * BATCH)]
    examples = context.modality.decode_examples(chosen, context.preprocessor, folder / "training")
    return Lessons(examples, context.modality.UNIT, context.distillation_steps, context.seed)


def _recalibrate(content: bytes, context: ExportContext, record: Made) -> Outcome:
    """Give a file the temperature of its own confidence, fitted on validation as the checkpoint's was."""
    exact = context.reference.validation
    by_hash = {sample.sha256: sample for sample in context.split("validation")}
    answers = answer(content, context.feeds([by_hash[sha256] for sha256 in exact.sha256]))
    if not np.isfinite(answers).all():
        return None, record.model_copy(update={"because": "its answers are not finite: a value overflows"})
    factor = correction(answers, exact, context.reference.temperature)
    temperature = context.reference.temperature * factor
    return scale_temperature(content, factor), record.model_copy(update={"temperature": temperature})


def _make_plan(source: bytes, context: ExportContext, folder: Path, *, precision: Precision) -> Outcome:
    """Build a TensorRT plan in a folder, and make the ONNX file that stands for it."""
    try:
        require_tensorrt()  # before the work on a file that nothing could be built from
        record = Made()
        if precision != "fp32":
            half, record = _make_half(source, context, folder)
            if half is None:
                return None, record
            source = half
        plan = make_plan(
            source,
            precision,
            folder,
            f"model-tensorrt-{precision}",
            ranges_for(context.input),
            timing_cache=cache_folder() / "tensorrt.timings",
        )
    except GraftError as error:
        return None, Made(because=str(error))
    changes = {"method": "TensorRT plan, strongly typed", "max_batch_size": MAX_BATCH_SIZE, "plan": plan}
    return wrap_plan(source, plan), record.model_copy(update=changes)


MAKERS: Mapping[str, Callable[[bytes, ExportContext, Path], Outcome]] = {
    "model-fp16.onnx": _make_half,
    "model-int8.onnx": _make_int8,
    "model-tensorrt-fp32.onnx": partial(_make_plan, precision="fp32"),
    "model-tensorrt-fp16.onnx": partial(_make_plan, precision="fp16"),
}
