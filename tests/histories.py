"""Records of a training, for tests of what reads them."""

from __future__ import annotations

from pipeline.artifacts.history import HeadRecord, TrainedRecord

HEAD = HeadRecord(penalty=0.4, validation_loss=0.5, validation_accuracy=0.75)
UNTRAINED = TrainedRecord(
    mode="features",
    why="a test",
    epochs=3,
    batch_size=32,
    learning_rate=0.001,
    layer_decay=1.0,
    batch_norm_frozen=True,
)
