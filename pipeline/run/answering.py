"""The answers to many inputs, with all the threads and the batches that the inputs' kind gains from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from pipeline.reporting.progress import track
from serving.model.predictor import Predictor
from serving.model.schemas import ErrorBody, ErrorDetail, Prediction

T = TypeVar("T")
GROUP = 64  # inputs that are sorted by length together


def answer_all(
    predictor: Predictor, inputs: Sequence[T], read: Callable[[T], bytes], *, what: str, unit: str
) -> list[Prediction | ErrorDetail]:
    """Predict all inputs; one that cannot be read or decoded gets an error of its own.

    Args:
        predictor: The model.
        inputs: The inputs.
        read: Returns the bytes of an input; may raise OSError. It is called in several threads.
        what: Name of the work, as its progress shows it.
        unit: Name of the inputs, in the plural.

    Returns:
        The prediction or the error of each input, in order.
    """
    size = GROUP if predictor.runs_together else 1
    groups = [inputs[start : start + size] for start in range(0, len(inputs), size)]

    def answer(group: Sequence[T]) -> list[Prediction | ErrorDetail]:
        contents = [_read(each, read) for each in group]
        answers = iter(predictor.predict_many([each for each in contents if isinstance(each, bytes)]))
        return [_unwrap(next(answers)) if isinstance(each, bytes) else each for each in contents]

    with ThreadPoolExecutor(predictor.callers) as pool:
        answered: Iterator[Prediction | ErrorDetail] = chain.from_iterable(pool.map(answer, groups))
        return list(track(answered, total=len(inputs), what=what, unit=unit))


def _read(each: T, read: Callable[[T], bytes]) -> bytes | ErrorDetail:
    try:
        return read(each)
    except OSError as error:
        return ErrorDetail(code="unreadable_file", message=error.strerror or str(error))


def _unwrap(answer: Prediction | ErrorBody) -> Prediction | ErrorDetail:
    return answer.error if isinstance(answer, ErrorBody) else answer
