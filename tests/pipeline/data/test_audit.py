from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from pipeline.data.audit import WAITING, audit, review
from pipeline.data.labelled import Labelled
from pipeline.errors import DataError
from pipeline.modalities.content import Content
from pipeline.modalities.image.modality import judge_content
from pipeline.modalities.image.recipe import ImageRecipe
from pipeline.modalities.text import content as text
from pipeline.recipe.data import Data
from serving.model.runtimes.machine import cpu_limit
from tests.conftest import make_picture

RECIPE = ImageRecipe.model_validate({"name": "x", "backbone": {"name": "x"}, "data": {"source": "x"}})
PICTURES = judge_content(RECIPE)
TEXTS = Content(lambda data: text.check(data, 100), text.identity)
A, B, C = (make_picture("bars", index) for index in range(3))


def files(folder: Path, **contents: tuple[str, bytes | None]) -> list[Labelled]:
    found = []
    for name, (label, content) in contents.items():
        path = folder / name
        if content is not None:
            path.write_bytes(content)
        found.append(Labelled(str(path), label, path))
    return found


BAD = {"empty": ("x", b""), "cut": ("x", A[:-500]), "text": ("x", b"hello"), "missing": ("x", None)}


def test_audit_refuses_and_lists_every_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        audit(files(tmp_path, good=("x", B), **BAD), Data(source=""), PICTURES)
    assert "4 example(s)" in str(refused.value)
    assert all(str(tmp_path / name) in str(refused.value) for name in BAD)
    assert "good" not in str(refused.value)
    assert "data.on_unreadable: skip" in str(refused.value)


def test_audit_skips_and_counts_when_the_recipe_allows(tmp_path: Path) -> None:
    found = audit(files(tmp_path, good=("x", B), **BAD), Data(source="", on_unreadable="skip"), PICTURES)
    assert [item.example.path.name for item in found.kept] == ["good"]
    assert {Path(path).name for path in found.unreadable} == set(BAD)
    assert found.unreadable[str(tmp_path / "missing")] == "does not exist"


def test_audit_refuses_when_equal_files_have_different_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        audit(files(tmp_path, a=("x", A), copy=("y", A), b=("x", B)), Data(source=""), PICTURES)
    assert f"{tmp_path / 'a'} (x) = {tmp_path / 'copy'} (y)" in str(refused.value)


def test_audit_leaves_out_all_sides_of_a_conflict_when_skipping(tmp_path: Path) -> None:
    found = audit(
        files(tmp_path, a=("x", A), copy=("y", A), b=("x", B), c=("y", C)),
        Data(source="", on_conflict="skip"),
        PICTURES,
    )
    assert [item.example.path.name for item in found.kept] == ["b", "c"]
    assert found.conflicts == [{str(tmp_path / "a"): "x", str(tmp_path / "copy"): "y"}]


def test_audit_keeps_one_of_repeats_so_that_none_leaks_across_splits(tmp_path: Path) -> None:
    found = audit(files(tmp_path, a=("x", A), b=("x", A), c=("x", C)), Data(source=""), PICTURES)
    assert [item.example.path.name for item in found.kept] == ["a", "c"]
    assert found.repeats == {str(tmp_path / "b"): str(tmp_path / "a")}


def texts(*pairs: tuple[str, str]) -> list[Labelled]:
    return [Labelled(f"t.csv:{line}", label, text=words) for line, (words, label) in enumerate(pairs, 2)]


def test_audit_takes_texts_for_the_same_when_only_case_space_or_form_differ() -> None:
    found = audit(
        texts(("Good  day", "x"), ("good day", "x"), ("\uff47ood day", "x"), ("good days", "x")),
        Data(source=""),
        TEXTS,
    )
    assert [item.example.text for item in found.kept] == ["Good  day", "good days"]
    assert found.repeats == {"t.csv:3": "t.csv:2", "t.csv:4": "t.csv:2"}


def test_audit_drops_every_side_of_texts_with_several_labels_and_counts_them() -> None:
    data = Data(source="", on_conflict="skip")
    pairs = (("same", "x"), ("SAME", "y"), ("same ", "x"), ("other", "y"), ("own", "x"))
    found = audit(texts(*pairs), data, TEXTS)
    assert [item.example.text for item in found.kept] == ["other", "own"]
    assert found.conflicts == [{"t.csv:2": "x", "t.csv:3": "y", "t.csv:4": "x"}]


def test_audit_names_the_line_of_each_text_that_serving_would_refuse() -> None:
    with pytest.raises(DataError) as refused:
        audit(texts(("fine", "x"), ("  ", "x"), ("a\0b", "y"), ("long" * 30, "y")), Data(source=""), TEXTS)
    assert all(f"t.csv:{line}: " in str(refused.value) for line in (3, 4, 5))
    assert "t.csv:2" not in str(refused.value)


def png(pixels: np.ndarray, **options: object) -> bytes:
    return encode(Image.fromarray(pixels), "PNG", **options)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(seed: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (12, 9, 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def many(folder: Path, label: str, contents: Sequence[bytes], prefix: str = "") -> list[Labelled]:
    return files(folder, **{f"{prefix}{label}{n}": (label, content) for n, content in enumerate(contents)})


def test_audit_finds_equal_pixels_of_other_formats_metadata_and_transparency(tmp_path: Path) -> None:
    picture = noise(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    hidden = picture.convert("RGBA")
    same = {
        "a": encode(picture, "PNG"),
        "commented": encode(picture, "PNG", pnginfo=_comment()),
        "bmp": encode(picture, "BMP"),
        "tiff": encode(picture, "TIFF"),
        "webp": encode(picture, "WEBP", lossless=True),
        "opaque": encode(hidden, "PNG"),
        "turned": encode(picture.transpose(Image.Transpose.ROTATE_90), "PNG", exif=turned),
    }
    other = {"b": encode(noise(1), "PNG"), "mirrored": encode(ImageOps.mirror(picture), "PNG")}
    found = audit(
        files(tmp_path, **{name: ("x", content) for name, content in (same | other).items()}),
        Data(source=""),
        PICTURES,
    )
    assert {item.example.path.name for item in found.kept} == {"a", "b", "mirrored"}
    assert len(found.repeats) == len(same) - 1
    assert set(found.repeats.values()) == {str(tmp_path / "a")}


def _comment() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "another")
    return info


def test_audit_finds_a_conflict_between_formats(tmp_path: Path) -> None:
    examples = files(tmp_path, a=("x", encode(noise(0), "PNG")), b=("y", encode(noise(0), "BMP")), c=("x", A))
    with pytest.raises(DataError, match="appear under different labels"):
        audit(examples, Data(source=""), PICTURES)


def test_audit_keeps_the_copy_of_the_later_split_and_counts_what_left_training() -> None:
    given = [
        *(("train", "t"), ("validation", "t"), ("test", "t"), ("train", "u"), ("train", "u")),
        *(("train", "v"), ("validation", "v"), (None, "w")),
    ]
    examples = [Labelled(f"{line}", "x", text=text, split=split) for line, (split, text) in enumerate(given)]
    found = audit(examples, Data(source=""), TEXTS)
    assert [item.example.source for item in found.kept] == ["2", "3", "6", "7"]
    assert found.repeats == {"0": "2", "1": "2", "4": "3", "5": "6"}
    assert found.left_train == 2
    assert found.found == {"x": 8}


def test_audit_refuses_when_nothing_of_a_label_is_left_although_it_may_skip(tmp_path: Path) -> None:
    examples = files(tmp_path, a=("good", A), b=("ba\nd", b"junk"), c=("ba\nd", b""))
    with pytest.raises(DataError, match=r"(?s)1 label.*ba\\nd: 2 of 2 cannot be read") as refused:
        audit(examples, Data(source="", on_unreadable="skip"), PICTURES)
    assert "data.labels.leave_out" in str(refused.value)


def test_audit_hands_a_few_batches_to_the_pool_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, most = 0, 0
    submit = ThreadPoolExecutor.submit

    def counting(pool: ThreadPoolExecutor, *arguments: Any) -> Any:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        future = submit(pool, *arguments)
        result = future.result

        def taken() -> Any:
            nonlocal waiting
            waiting -= 1
            return result()

        future.result = taken
        return future

    monkeypatch.setattr(ThreadPoolExecutor, "submit", counting)
    found = audit(texts(*((f"text {n}", "x") for n in range(5_000))), Data(source=""), TEXTS)
    assert [item.example.text for item in found.kept] == [f"text {n}" for n in range(5_000)]
    assert 1 <= most <= WAITING * cpu_limit()


def reviewed(folder: Path, contents: Sequence[bytes], image: Mapping[str, object], splits: str = "train"):
    recipe = ImageRecipe.model_validate(RECIPE.model_dump() | {"image": image})
    content = judge_content(recipe)
    kept = audit(many(folder, "x", contents), recipe.data, content).kept
    return review(kept, [splits] * len(kept), content)


def deep(kind: str, low: float, high: float, count: int = 4) -> list[bytes]:
    """Pictures of a deep type whose values reach from one number to another."""
    draw = np.random.default_rng(5)
    values = [draw.uniform(low, high, (9, 9)).astype(kind) for _ in range(count)]
    for value in values:
        value[0, :2] = low, high
    return [encode(Image.fromarray(value), "TIFF") for value in values]


@pytest.mark.parametrize(
    ("kind", "low", "high", "window"),
    [("u2", 3, 4090, "0, 4095"), ("i4", -1000, 3000, "-1000, 3000"), ("f4", 0.25, 0.75, "0, 1"),
     ("i4", 100, 70_000, "0, 131071"), ("f4", -2.5, 7.25, "-2.5, 7.25")],
)  # fmt: skip
def test_review_refuses_deep_greys_without_a_range_and_names_the_window(
    tmp_path: Path, kind: str, low: float, high: float, window: str
) -> None:
    with pytest.raises(DataError) as refused:
        reviewed(tmp_path, deep(kind, low, high), {})
    assert f"`image.window: [{window}]`" in str(refused.value)
    low, high = map(float, window.split(","))
    told = reviewed(tmp_path, deep(kind, low, high), {"window": [low, high]})
    assert (dict(told.remarks), told.warnings) == ({}, ())


def test_review_warns_when_deep_greys_use_less_than_half_of_their_range(tmp_path: Path) -> None:
    (warning,) = reviewed(tmp_path, deep("u2", 0, 20_000), {}).warnings
    assert "30.5% of the range" in warning
    assert "`image.window: [0, 32767]`" in warning
    assert reviewed(tmp_path, deep("u2", 0, 50_000), {}).warnings == ()


def test_review_measures_the_range_on_the_training_split_alone(tmp_path: Path) -> None:
    assert reviewed(tmp_path, deep("u2", 0, 20_000), {}, splits="test").warnings == ()


def test_review_names_a_few_pictures_of_one_colour_and_refuses_many(tmp_path: Path) -> None:
    flat = [encode(Image.new("RGB", (8, 8), (value, 0, 0)), "PNG") for value in (10, 200)]
    nearly = png(np.random.default_rng(0).integers(100, 107, (8, 8, 3), np.uint8))
    rest = [encode(noise(seed), "PNG") for seed in range(3)]
    told = reviewed(tmp_path, [*flat, nearly, *rest], {})
    assert set(told.remarks) == {str(tmp_path / f"x{n}") for n in range(3)}
    with pytest.raises(DataError, match="3 of 4 pictures are of one colour"):
        reviewed(tmp_path, [*flat, nearly, rest[0]], {})


def test_review_finds_shapes_that_exist_in_transparency_alone_only_where_it_is_dropped(
    tmp_path: Path,
) -> None:
    shapes = []
    for seed in range(3):
        shape = Image.new("RGBA", (9, 12))
        shape.putalpha(noise(seed, "L"))
        shapes.append(encode(shape, "PNG"))
    assert not reviewed(tmp_path, shapes, {}).remarks
    assert audit(many(tmp_path, "x", shapes), RECIPE.data, PICTURES).repeats == {}
    with pytest.raises(DataError, match=r"1 of 1 pictures .* image\.background"):
        reviewed(tmp_path, shapes, {"background": None})


def test_audit_takes_what_the_recipe_takes(tmp_path: Path) -> None:
    """A strip, and more pixels than by default."""
    strip = png(np.random.default_rng(0).integers(0, 256, (2400, 2, 3), np.uint8))
    large = encode(Image.effect_noise((300, 200), 90), "PNG")
    content = judge_content(
        ImageRecipe.model_validate(RECIPE.model_dump() | {"image": {"max_pixels": 50_000}})
    )
    found = audit(many(tmp_path, "x", [strip, large]), Data(source="", on_unreadable="skip"), content)
    assert [item.example.path.name for item in found.kept] == ["x0"]
    assert "image.max_pixels" in found.unreadable[str(tmp_path / "x1")]
    assert len(audit(many(tmp_path, "x", [strip, large]), Data(source=""), PICTURES).kept) == 2
