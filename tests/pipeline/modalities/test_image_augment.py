from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from pipeline.errors import GraftError, RecipeError
from pipeline.modalities.image.augment_recipe import LEVELS
from pipeline.modalities.image.augmenter import Augmenter
from pipeline.modalities.image.examples import ImageExamples, decode_examples, enlarge
from pipeline.modalities.image.recipe import ImageAugment, ImageFinetune
from pipeline.modalities.image.transforms import RULES
from pipeline.recipe.reading import load_recipe, without_places
from serving.model.inputs.image.pixels import ImagePreprocessor, decode_image
from serving.model.inputs.image.spec import ImageInputSpec

SIDE = 24
NEEDED: dict[str, dict[str, object]] = {
    "GaussianBlur": {"kernel_size": 5},
    "Grayscale": {"num_output_channels": 3},
    "JPEG": {"quality": 50},
    "CenterCrop": {"size": SIDE},
    "Pad": {"padding": 0},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomAffine": {"degrees": 10},
    "RandomApply": {"transforms": ["RandomInvert"]},
    "RandomChoice": {"transforms": ["RandomInvert", "RandomEqualize"]},
    "RandomOrder": {"transforms": ["RandomInvert", "RandomEqualize"]},
    "RandomCrop": {"size": SIDE, "padding": 3},
    "RandomPosterize": {"bits": 3},
    "RandomResizedCrop": {"size": SIDE},
    "RandomRotation": {"degrees": 10},
    "RandomSolarize": {"threshold": 100},
    "Resize": {"size": SIDE},
}


def pictures(count: int = 4, side: int = SIDE, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def changed(augmenter: Augmenter, pixels: NDArray[np.uint8], seed: int = 0) -> torch.Tensor:
    return augmenter(pixels.copy(), "cpu", torch.Generator().manual_seed(seed))


choices = st.fixed_dictionaries(
    {"level": st.sampled_from(list(LEVELS))},
    optional={
        "horizontal_flip": st.booleans(),
        "vertical_flip": st.booleans(),
        "crop_scale": st.sampled_from([(0.05, 0.1), (0.5, 1.0), (1.0, 1.0)]),
        "rotation": st.floats(0, 180),
        "brightness": st.floats(0, 1),
        "hue": st.floats(0, 0.5),
        "blur": st.sampled_from([0.0, 1.0]),
        "erasing": st.sampled_from([0.0, 1.0]),
        "rand_augment": st.integers(0, 2),
    },
)


@settings(deadline=None, max_examples=25)
@given(choices, st.integers(16, 40), st.integers(1, 5), st.integers(0, 2**31))
def test_augmenter_keeps_shape_and_range_and_repeats_itself(
    choice: dict[str, object], side: int, count: int, seed: int
) -> None:
    augmenter = Augmenter(ImageAugment.model_validate(choice), (SIDE, SIDE))
    pixels = pictures(count, side)
    before = torch.get_rng_state()
    first, second = (changed(augmenter, pixels, seed) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state()), "the global state of chance is put back"
    assert first.shape == (count, SIDE, SIDE, 3)
    assert first.dtype in {torch.uint8, torch.float32}
    assert 0 <= first.min() <= first.max() <= 255
    assert torch.equal(first, second)


@pytest.mark.parametrize("level", list(LEVELS))
def test_augmenter_draws_as_much_whatever_the_level(level: str) -> None:
    generator = torch.Generator().manual_seed(3)
    Augmenter(ImageAugment.model_validate(level), (SIDE, SIDE))(pictures(), "cpu", generator)
    reference = torch.Generator().manual_seed(3)
    Augmenter(ImageAugment(level="none"), (SIDE, SIDE))(pictures(), "cpu", reference)
    assert torch.equal(generator.get_state(), reference.get_state())


def test_levels_are_distinct_and_each_changes_equal_pictures_differently() -> None:
    pixels = np.repeat(pictures(1), 8, axis=0)
    results = {
        level: changed(Augmenter(ImageAugment.model_validate(level), (SIDE, SIDE)), pixels)
        for level in LEVELS
    }
    assert np.array_equal(results.pop("none").numpy(), pixels)
    for level, result in results.items():
        assert len({picture.numpy().tobytes() for picture in result}) == 8, level
    distance = {
        name: (result.float() - torch.from_numpy(pixels)).abs().mean() for name, result in results.items()
    }
    assert len({result.numpy().tobytes() for result in results.values()}) == 3
    assert distance["strong"] > distance["crop"]


def test_no_level_mirrors_unless_the_recipe_says_so() -> None:
    for level in LEVELS:
        plain = ImageFinetune.model_validate({"augment": level}).augment
        assert not plain.flips
        mirrored = ImageFinetune.model_validate(
            {"augment": {"level": level, "horizontal_flip": True}}
        ).augment
        assert mirrored == plain.model_copy(update={"horizontal_flip": True})


def test_mirror_in_one_pass_with_a_crop_equals_a_mirror_before_it() -> None:
    pixels = pictures(16)
    both = ImageAugment(horizontal_flip=True, vertical_flip=True)
    only = ImageAugment(crop_scale=(1.0, 1.0), horizontal_flip=True, vertical_flip=True)
    full = both.model_copy(update={"rotation": 1e-9, "crop_scale": (1.0, 1.0)})
    exact = changed(Augmenter(only, (SIDE, SIDE)), pixels)
    assert torch.allclose(changed(Augmenter(full, (SIDE, SIDE)), pixels), exact.float(), atol=0.01)
    assert not torch.equal(exact, torch.from_numpy(pixels))


def test_rotation_by_a_right_angle_turns_a_picture() -> None:
    from pipeline.modalities.image.augment import Draw, change

    pixels = torch.from_numpy(pictures(1))
    numbers = torch.full((1, len(Draw)), 0.5)
    numbers[:, Draw.ROTATION] = 1.0
    turned = change(pixels, ImageAugment(level="none", rotation=90), numbers)
    assert torch.allclose(turned, torch.rot90(pixels, 1, (1, 2)).float(), atol=0.01)


def test_colours_change_as_torchvision_changes_them() -> None:
    from torchvision.transforms.v2 import functional

    from pipeline.modalities.image.augment import Draw, change

    # Away from black and white, where torchvision clamps after each change.
    pixels = torch.from_numpy(pictures(3)) // 4 + 96
    nchw = pixels.permute(0, 3, 1, 2).float() / 255
    for key, adjust in (
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ):
        numbers = torch.full((3, len(Draw)), 0.5)
        numbers[:, Draw[key.upper()]] = 1.0
        ours = change(pixels, ImageAugment.model_validate({"level": "none", key: 0.2}), numbers)
        assert torch.allclose(ours, adjust(nchw, 1.2).permute(0, 2, 3, 1) * 255, atol=0.1), key
    grey = pixels[..., :1].expand(-1, -1, -1, 3)
    numbers = torch.full((3, len(Draw)), 0.9)
    turned = change(grey, ImageAugment(level="none", hue=0.5, saturation=0.5), numbers)
    assert torch.allclose(turned, grey.float(), atol=0.1), "grey has neither hue nor saturation"


@pytest.mark.parametrize("name", [name for name in RULES if name != "RandomZoomOut"])
def test_each_transform_of_the_list_runs_and_repeats_itself(name: str) -> None:
    choice = ImageFinetune.model_validate({"augment": [{name: NEEDED.get(name, {})}]}).augment
    augmenter = Augmenter(choice, (SIDE, SIDE))
    results = [changed(augmenter, pictures(), seed) for seed in (1, 1)]
    assert results[0].dtype == torch.uint8
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["Lambda"], "transform 1 `Lambda` is none that a recipe may name"),
        (["RandomInvrt"], "did you mean `RandomInvert`"),
        ([{"RandomRotation": {"degrees": 900}}], r"RandomRotation\.degrees must be a number"),
        ([{"RandomRotation": {}}], "RandomRotation needs degrees"),
        ([{"RandomInvert": {"q": 1}}], r"RandomInvert\.q is no argument"),
        ([{"RandomInvert": {"p": True}}], r"RandomInvert\.p must be a number from 0 to 1"),
        ([{"RandomInvert": 3}], "must have its arguments by name"),
        ([{"RandomInvert": {}, "JPEG": {}}], "must be a name, or a mapping from one name"),
        ([{"RandomApply": {"transforms": ["Nope"]}}], "RandomApply, 1 `Nope` is none"),
        ([{"ColorJitter": {"hue": [0.3, 0.1]}}], "two numbers in order"),
        ({"transforms": "RandomInvert"}, "must be a list of transforms"),
        ("heavy", "Input should be"),
        ({"rotation": 200}, "less than or equal to 180"),
        ({"erasing": -0.1}, "greater than or equal to 0"),
        ({"crop_scale": [0, 1]}, "0 < low <= high <= 1"),
        (3, "valid dictionary"),
    ],
)
def test_recipe_refuses_what_cannot_be_a_change(given: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ImageFinetune.model_validate({"augment": given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{"Resize": {"size": 10}}], r"shape \(10, 10, 3\), and the network takes .* RandomResizedCrop"),
        ([{"RandomCrop": {"size": 99}}], "a transform fails on pictures of 24 x 24 pixels"),
        ([{"RandomZoomOut": {"p": 1.0}}], "and the network takes"),
        ([{"RandomApply": {"transforms": [{"CenterCrop": {"size": 8}}], "p": 0.2}}], r"shape \(8, 8, 3\)"),
    ],
)
def test_decoding_refuses_transforms_that_give_another_size_before_it_begins(
    given: object, words: str, tmp_path: Path
) -> None:
    spec = ImageInputSpec(height=SIDE, width=SIDE)
    choice = ImageFinetune.model_validate({"augment": given}).augment
    with pytest.raises(GraftError, match=words):
        decode_examples([Unread()], ImagePreprocessor(spec), tmp_path / "scratch", choice)


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class Unread:
    def read(self) -> bytes:
        raise AssertionError("nothing is read before the transforms are known to work")


class Sample:
    def __init__(self, data: bytes) -> None:
        self.read = lambda: data


def test_crops_come_from_more_pixels_and_evaluation_keeps_its_own(tmp_path: Path) -> None:
    spec = ImageInputSpec(height=32, width=32, crop_pct=0.9)
    files = [png(pictures(1, 90, seed)[0]) for seed in range(3)]
    samples, preprocessor = [Sample(data) for data in files], ImagePreprocessor(spec)
    found = decode_examples(samples, preprocessor, tmp_path / "scratch", ImageAugment())
    assert found.larger is not None
    assert found.larger.shape == (3, 38, 38, 3), "1 / sqrt(0.7) times the side"
    plain = np.stack([decode_image(data, spec) for data in files])
    assert np.array_equal(found.batch(np.arange(3), "cpu")["image"].numpy(), plain)
    assert all(np.array_equal(found[index], plain[index]) for index in range(3))
    assert found.batch(np.arange(3), "cpu", torch.Generator())["image"].shape == (3, 32, 32, 3)
    bare = decode_examples(samples, preprocessor, tmp_path / "scratch")
    assert bare.larger is None
    assert np.array_equal(bare.batch(np.arange(3), "cpu", torch.Generator())["image"].numpy(), plain)


@pytest.mark.parametrize(("scale", "side"), [((1.0, 1.0), 100), ((0.7, 1.0), 120), ((0.1, 1.0), 130)])
def test_enlarge_follows_the_smallest_crop_up_to_a_limit(scale: tuple[float, float], side: int) -> None:
    larger = enlarge(ImageInputSpec(height=100, width=100), ImageAugment(crop_scale=scale))
    assert (larger.height, larger.width) == (side, side)


@pytest.mark.parametrize(("axis", "dimension"), [("horizontal", 2), ("vertical", 1)])
def test_mirrored_examples_are_the_same_pictures_the_other_way_round(axis: str, dimension: int) -> None:
    examples = ImageExamples(pictures(), ImageAugment(level="none"), pictures(side=30))
    mirrored = examples.mirrored(axis)  # type: ignore[arg-type]
    expected = np.flip(examples.pixels, dimension)
    assert np.array_equal(mirrored.batch(np.array([2, 0]), "cpu")["image"].numpy(), expected[[2, 0]])
    assert np.array_equal(mirrored[1], expected[1])
    assert mirrored[1].flags.c_contiguous
    assert np.array_equal(mirrored.mirrored(axis).pixels, examples.pixels)  # type: ignore[arg-type]


def saved(path: Path, *names: str, **arguments: object) -> Path:
    transforms = [{"__class_fullname__": name, "p": 1.0, **arguments} for name in names]
    document = {
        "__version__": "2.0.8",
        "transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": transforms},
    }
    path.write_text(json.dumps(document))
    return path


def test_albumentations_pipeline_follows_the_seed_and_leaves_global_chance_alone(tmp_path: Path) -> None:
    place = saved(tmp_path / "pipeline.json", "RandomBrightnessContrast", "Affine")
    augmenter = Augmenter(ImageAugment(albumentations=str(place)), (SIDE, SIDE))
    before = np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]  # noqa: NPY002
    same = np.repeat(pictures(1), 4, axis=0)
    first, again, other = (changed(augmenter, same, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({picture.numpy().tobytes() for picture in first}) == 4
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[index, union-attr]  # noqa: NPY002
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def test_albumentations_pipeline_is_read_from_what_the_library_saves(tmp_path: Path) -> None:
    saved(tmp_path / "first.json", "HorizontalFlip")
    ours = Augmenter(ImageAugment(albumentations=str(tmp_path / "first.json")), (SIDE, SIDE))
    import albumentations

    for data_format in ("json", "yaml"):
        path = tmp_path / f"pipeline.{data_format}"
        albumentations.save(albumentations.HorizontalFlip(p=1), path, data_format=data_format)
        theirs = Augmenter(ImageAugment(albumentations=str(path)), (SIDE, SIDE))
        assert np.array_equal(changed(theirs, pictures()).numpy(), np.flip(pictures(), 2))
    assert np.array_equal(changed(ours, pictures()).numpy(), np.flip(pictures(), 2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: saved(path, "Lambda"), "has Lambda, which needs more than the picture"),
        (
            lambda path: saved(path, "albumentations.pytorch.transforms.ToTensorV2"),
            "has albumentations.*ToTensorV2",
        ),
        (lambda path: saved(path, "BBoxSafeRandomCrop"), "needs more than the picture"),
        (lambda path: saved(path, "NoSuchThing"), "is no pipeline of Albumentations"),
        (lambda path: saved(path, "Resize", height=8, width=8), r"shape \(8, 8, 3\), and the network"),
        (lambda path: path.write_text("{"), "cannot be read as JSON or YAML"),
        (lambda path: path.write_text("[1]"), "is no saved pipeline"),
        (lambda path: None, "does not exist. Correct the path"),
    ],
)
def test_albumentations_pipeline_is_refused_when_it_cannot_be_used(tmp_path: Path, make, words: str) -> None:
    path = tmp_path / "pipeline.json"
    make(path)
    with pytest.raises(GraftError, match=words):
        Augmenter(ImageAugment(albumentations=str(path)), (SIDE, SIDE))


def test_albumentations_names_the_extra_when_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipeline.machine.extras.find_spec", lambda name: None)
    with pytest.raises(GraftError, match=r"graft-ml\[albumentations\]"):
        Augmenter(ImageAugment(albumentations=str(saved(tmp_path / "a.json", "NoOp"))), (SIDE, SIDE))


def test_recipe_finds_its_pipeline_from_its_folder_and_the_place_is_no_choice(tmp_path: Path) -> None:
    recipe = {
        "name": "x",
        "data": {"source": "pictures"},
        "backbone": {"name": "resnet18"},
        "finetune": {"augment": {"albumentations": "pipeline.json", "horizontal_flip": True}},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    read = load_recipe(tmp_path / "recipe.yaml")
    assert read.finetune.places() == {"finetune.augment.albumentations": str(tmp_path / "pipeline.json")}
    moved = read.model_copy(update={"finetune": read.finetune.with_places(lambda place: "elsewhere" + place)})
    assert without_places(moved) == without_places(read)
    assert read.finetune.packages() == ("albumentations", "albucore", "opencv-python-headless")
    assert ImageFinetune().packages() == ()
    recipe["finetune"]["augment"] = ["Lambda"]  # type: ignore[index]
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    with pytest.raises(RecipeError, match=r"finetune\.augment\.transforms: transform 1 `Lambda`"):
        load_recipe(tmp_path / "recipe.yaml")


def test_recipe_is_checked_without_torch() -> None:
    code = (
        "import sys; from pipeline.modalities.image.recipe import ImageFinetune;"
        "ImageFinetune.model_validate({'augment': [{'RandomRotation': {'degrees': 5}}]});"
        "assert not {'torch', 'torchvision', 'numpy', 'albumentations'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
