"""The tracker that writes files for TensorBoard, with the package's own writer and without TensorFlow.

Each training has a folder of its own there, named after the run and the time at which the training began, so
that one which goes on in another process, or is told again, goes on in the same curves.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import GraftError
from pipeline.machine.extras import require
from pipeline.tracking.described import Described
from pipeline.tracking.events import Evaluated, Event, Moment
from pipeline.tracking.plots import Plot, plots_of
from pipeline.tracking.scalars import Scalar, scalars_of
from pipeline.tracking.trainings import names_training

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

HPARAMS = "_hparams_/session_start_info"


def open_tensorboard(folder: Path, described: Described) -> TensorBoard:
    """Return the tracker that writes into a folder for TensorBoard.

    Args:
        folder: The folder, which is made if it is missing.
        described: The run.

    Raises:
        GraftError: The package is missing, or the folder cannot be written.
    """
    require("tensorboard")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise GraftError(
            f"tracking.tensorboard: {folder} cannot be written ({error.strerror or error}). "
            "Name another folder, or set it to false"
        ) from error
    return TensorBoard(folder, described)


class TensorBoard:
    """The tracker that writes into a folder for TensorBoard.

    Args:
        folder: The folder, in which each training has one of its own.
        described: The run.
    """

    def __init__(self, folder: Path, described: Described) -> None:
        self.folder = folder
        self.described = described
        self._training: Moment | None = None
        self._curves: Curves | None = None

    def log(self, moment: Moment) -> None:
        """Write the numbers of a moment, and the report's plots when there is a new one.

        Raises:
            OSError: They cannot be written, such as on a full disk. The next moment begins another file,
                since nobody reads on behind half a record.
        """
        if names_training(moment, is_open=self._training is not None):
            self.close()
            self._training = moment
        if self._training is None:
            return
        try:
            curves = self._open(self._training)
            curves.add(scalars_of(moment.event), self._plots(moment.event), moment.time.timestamp())
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file that is written, of which everything was written when it was told."""
        curves, self._curves = self._curves, None
        if curves is not None:
            with suppress(OSError):
                curves.close()

    def _open(self, training: Moment) -> Curves:
        """Return the curves of a training, which the moment at which it began names."""
        if self._curves is None:
            name = f"{self.described.name}-{training.time:%Y%m%d-%H%M%S-%f}"
            self._curves = Curves(self.folder / name)
        if not self._curves.has_choices:
            from tensorboard.plugins.hparams.summary_v2 import hparams_pb

            at_s = training.time.timestamp()
            self._curves.write(hparams_pb(dict(self.described.choices), start_time_secs=at_s), 0, at_s)
            self._curves.has_choices = True
        return self._curves

    def _plots(self, event: Event) -> tuple[Plot, ...]:
        if not isinstance(event, Evaluated):
            return ()
        return plots_of(self.described.folder.report.read_text(encoding="utf-8"))


class Curves:
    """The curves and plots of one training in a folder, of which none is written twice.

    Args:
        folder: The folder, with whatever earlier processes have written; it is made if it is missing.

    Attributes:
        has_choices: Whether the choices of the recipe are written.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        before = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
        before.Reload()
        tags = before.Tags()
        self._known = {
            (tag, point.step): point.value for tag in tags["scalars"] for point in before.Scalars(tag)
        }
        self._shown = {tag: before.Images(tag)[-1].encoded_image_string for tag in tags["images"]}
        self.has_choices = HPARAMS in before.summary_metadata
        # TensorBoard reads the files of a folder in the order of their names: a new one comes last.
        path = folder / f"events.out.tfevents.{time.time():017.6f}.graft"
        self._writer = RecordWriter(path.open("xb"))
        self._begin()

    def add(self, scalars: tuple[Scalar, ...], plots: tuple[Plot, ...], at_s: float) -> None:
        """Write what is not yet written, and make sure that those who watch see it.

        Args:
            scalars: Numbers.
            plots: Plots.
            at_s: The time, in seconds since 1970.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        for scalar in scalars:
            known = self._known.get((scalar.name, scalar.step))
            # They are kept in single precision.
            if known is None or not math.isclose(known, scalar.value, rel_tol=1e-6, abs_tol=1e-30):
                value = Summary.Value(tag=scalar.name, simple_value=scalar.value)
                self.write(Summary(value=[value]), scalar.step, at_s)
                self._known[scalar.name, scalar.step] = scalar.value
        for plot in plots:
            tag = f"report/{plot.name}"
            if self._shown.get(tag) != plot.png:
                width, height = plot.size_px
                image = Summary.Image(width=width, height=height, encoded_image_string=plot.png)
                self.write(Summary(value=[Summary.Value(tag=tag, image=image)]), 0, at_s)
                self._shown[tag] = plot.png

    def write(self, summary: Summary, step: int, at_s: float) -> None:
        """Write a summary to the disk.

        Args:
            summary: The summary.
            step: The epoch.
            at_s: The time, in seconds since 1970.
        """
        from tensorboard.compat.proto.event_pb2 import Event as Record

        self._writer.write(Record(wall_time=at_s, step=step, summary=summary).SerializeToString())
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _begin(self) -> None:
        """Write the record with which every such file begins."""
        from tensorboard.compat.proto.event_pb2 import Event as Record

        self._writer.write(Record(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        self._writer.flush()
