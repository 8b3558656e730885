from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipeline.errors import DataError
from pipeline.modalities.image import window
from pipeline.modalities.image.examples import decode_examples
from pipeline.modalities.image.modality import propose
from pipeline.modalities.image.network import create_network, describe_input
from pipeline.modalities.image.recipe import Image as Section
from pipeline.modalities.image.training import show
from pipeline.modalities.image.window import find_window, round_window
from pipeline.modalities.modality import Look
from serving.model.inputs.image.pixels import ImagePreprocessor
from serving.model.inputs.image.spec import ImageInputSpec


def write(folder: Path, kind: str, low: float, high: float, count: int = 3) -> list[Path]:
    paths = [folder / f"{kind}{low}-{n}.tif" for n in range(count)]
    for path in paths:
        Image.fromarray(np.linspace(low, high, 64).reshape(8, 8).astype(kind)).save(path)
    return paths


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [("u2", 2, 4000, (0, 4095)), ("u2", 0, 60_000, None), ("u1", 0, 255, None), ("f4", 0.1, 0.9, (0, 1)),
     ("i4", -1024, 3071, (-1024, 3071)), ("f4", 5, 5, (5, 5.00001))],
)  # fmt: skip
def test_find_window_proposes_what_the_recipe_needs(
    tmp_path: Path, kind: str, low: float, high: float, expected: tuple[float, float] | None
) -> None:
    found = find_window(write(tmp_path, kind, low, high))
    if kind == "f4" and low == high:
        assert found is not None
        assert found[0] <= 5 < found[1]
    else:
        assert found == expected


def test_find_window_passes_over_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    paths = [tmp_path / "missing", tmp_path / "notes.txt", *write(tmp_path, "u2", 0, 1000)]
    assert find_window(paths) == (0, 1023)
    assert find_window([]) is None
    assert find_window(paths[:2]) is None


def test_find_window_opens_few_pictures_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(window, "_measure", lambda path: opened.append(path.name))
    find_window([Path(str(index)) for index in range(1000)])
    assert len(opened) == len(set(opened)) == 64
    assert (opened[0], opened[32], opened[-1]) == ("0", "500", "984")


numbers = st.floats(-(2.0**100), 2.0**100, width=32)


@given(numbers, numbers)
@example(2.0**49, 2.0**49)
def test_round_window_holds_what_was_measured(one: float, other: float) -> None:
    low, high = sorted((one, other))
    start, end = round_window(low, high)
    assert start <= low <= high <= end
    assert start < end


def test_propose_gives_the_window_of_deep_pictures(tmp_path: Path) -> None:
    proposal = propose(Look(tmp_path, files=write(tmp_path, "u2", 0, 1000)))
    assert proposal is not None
    assert proposal.values == {"window": [0, 1023]}
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    plain = propose(Look(tmp_path, files=[tmp_path / "plain.png"]))
    assert plain is not None
    assert plain.values == {"window": None}
    assert propose(Look(tmp_path)) is None


@pytest.mark.parametrize(
    ("written", "stored"),
    [("white", "#ffffff"), ("#AbCdEf", "#abcdef"), ("rgb(1, 2, 3)", "#010203"), (None, None)],
)
def test_describe_input_stores_the_background_in_one_notation(
    written: str | None, stored: str | None
) -> None:
    section = Section(size=64, background=written, window=(1, 9), max_pixels=7)
    spec, _ = describe_input(create_network("tf_efficientnet_lite0"), section)
    assert (spec.background, spec.window, spec.max_pixels, spec.rules) == (stored, (1, 9), 7, 2)
    assert ImageInputSpec.model_validate(json.loads(spec.model_dump_json())) == spec


@pytest.mark.parametrize(
    "section",
    [{"background": "whyte"}, {"background": "#ffffff80"}, {"background": ""}, {"window": [1, 1]},
     {"window": [3, 2]}, {"window": [0, float("inf")]}, {"window": [0]}, {"max_pixels": 0},
     {"max_pixels": 1_000_000_001}],
)  # fmt: skip
def test_recipe_refuses_what_is_no_colour_window_or_limit(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Section.model_validate(section)


class Sample:
    source = "cats/broken.png"

    def read(self) -> bytes:
        return b"broken"


def test_decode_examples_names_the_file_that_cannot_be_decoded(tmp_path: Path) -> None:
    preprocessor = ImagePreprocessor(ImageInputSpec(height=8, width=8))
    with pytest.raises(DataError, match=r"^cats/broken\.png: Not a readable picture"):
        decode_examples([Sample()], preprocessor, tmp_path / "scratch")


@pytest.mark.parametrize("kind", ["f4", "u2", "i4"])
def test_show_gives_deep_pictures_their_own_range(tmp_path: Path, kind: str) -> None:
    (path,) = write(tmp_path, kind, 0, 1000, count=1)
    shown = thumbnail(path.read_bytes())
    assert shown.min() < 20
    assert shown.max() > 235


def test_show_lays_pictures_over_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(buffer, "PNG")
    assert (thumbnail(buffer.getvalue()) > 250).all()


def thumbnail(data: bytes) -> np.ndarray:
    import base64

    picture = show(data).picture
    assert picture is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))))
