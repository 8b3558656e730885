"""Rows as a benchmark measures them, made up."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from pipeline.benchmark.rows import ColdStart, Facts, Row, Setting, Spread, Timing

PACES = st.lists(st.floats(0.9, 1.1), min_size=8, max_size=8)
FIGURES = st.floats(min_value=0.05, max_value=500, allow_nan=False)


def make_row(
    artifact: str,
    p50_ms: float,
    *,
    paces: Sequence[float] = (1.0,) * 8,
    threads: int = 1,
    batch_size: int = 1,
    accuracy: float = 0.9,
) -> Row:
    """A row whose rounds take so many times the median."""
    rounds = tuple(p50_ms * pace for pace in paces)
    spread = Spread(p50_ms, min(rounds), max(rounds))
    rate = 1000 * batch_size / p50_ms
    timing = Timing(
        Setting(artifact, threads, batch_size),
        100,
        spread,
        2 * p50_ms,
        3 * p50_ms,
        Spread(rate, rate, rate),
        rounds,
    )
    return Row(
        Facts(artifact, "onnxruntime-cpu", "fp32", None, 1.0, accuracy, accuracy),
        ColdStart(0.1, 80.0),
        timing,
    )


@st.composite
def measured_rows(draw: st.DrawFn) -> list[Row]:
    """Artifacts, onnx-fp32 among them, with one, two and four threads and batches of one and eight."""
    names = [
        "onnx-fp32",
        *draw(st.lists(st.sampled_from(["onnx-int8", "onnx-fp16", "openvino-bf16"]), unique=True)),
    ]
    return [
        make_row(
            name,
            draw(FIGURES),
            paces=draw(PACES),
            threads=threads,
            batch_size=batch_size,
            accuracy=draw(st.floats(0, 1)),
        )
        for name in draw(st.permutations(names))
        for threads in (1, 2, 4)
        for batch_size in (1, 8)
    ]
