from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import GraftError
from pipeline.modalities.image.network import (
    ImageClassifier,
    Normalisation,
    create_network,
    create_pretrained,
    describe_input,
)
from pipeline.modalities.image.recipe import Image, ImageBackbone
from pipeline.modalities.image.sources.keras_modules import EvenPadding, Padding
from pipeline.modalities.image.sources.keras_start import find_application, start_keras

SMALL = "MobileNetV2(alpha=0.35)"
CLASSES = 7


def keras_model(name: str, size_px: int, *, top: bool = True) -> tuple[Any, Callable[..., Any]]:
    """Keras's own network with random weights, none of them at its first value, and its preparation."""
    application = find_application(name)
    keras = start_keras()
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    head = {"classes": CLASSES, "classifier_activation": None} if top else {"pooling": "avg"}
    model = application.function()(
        weights=None, include_top=top, input_shape=(size_px, size_px, 3), **head, **dict(application.options)
    )
    for layer in model.layers:
        for variable in layer.weights:
            if variable.name in {"beta", "bias", "moving_mean", "mean"}:
                variable.assign(rng.normal(0, 0.1, variable.shape))
            if variable.name in {"gamma", "moving_variance", "variance"}:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model, application.module().preprocess_input


def classifier_of(name: str, weights: Path) -> ImageClassifier:
    network = create_pretrained(ImageBackbone(name=f"keras:{name}", weights=str(weights)))
    return ImageClassifier(network, describe_input(network, Image())[1]).eval()


def pixels_of(size_px: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, size_px, size_px, 3), dtype=np.uint8)


def predict(model: Any, prepare: Callable[..., Any], pixels: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(prepare(pixels.astype(np.float32)), verbose=0))


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder with one network's weights in each of Keras's files, pixels, and Keras's answers to them.

    The side of 47 is odd, and stays so after the first halving.
    """
    folder, pixels = tmp_path_factory.mktemp("keras"), pixels_of(47)
    model, prepare = keras_model(SMALL, 47)
    for name in ("w.keras", "w.weights.h5", "w.h5"):
        (model.save_weights if name == "w.weights.h5" else model.save)(folder / name)
    return folder, pixels, predict(model, prepare, pixels)


@pytest.fixture(scope="module")
def loaded(mobilenet: tuple[Path, np.ndarray, np.ndarray]) -> ImageClassifier:
    return classifier_of(SMALL, mobilenet[0] / "w.keras")


@pytest.mark.parametrize("name", ["w.keras", "w.weights.h5", "w.h5"])
def test_what_is_served_gives_keras_own_answers(
    mobilenet: tuple[Path, np.ndarray, np.ndarray], loaded: ImageClassifier, name: str
) -> None:
    folder, pixels, expected = mobilenet
    classifier = loaded if name == "w.keras" else classifier_of(SMALL, folder / name)
    with torch.inference_mode():
        logits = classifier(torch.from_numpy(pixels)).numpy()
    assert logits.shape == (2, CLASSES)
    assert np.abs(logits - expected).max() < 1e-4
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("name", ["VGG16", "MobileNetV3Small"])
def test_features_are_keras_own_whatever_its_preparation(tmp_path: Path, name: str) -> None:
    model, prepare = keras_model(name, 32, top=False)
    model.save_weights(tmp_path / "w.weights.h5")
    pixels = pixels_of(32)
    expected = predict(model, prepare, pixels)
    with torch.inference_mode():
        features = classifier_of(name, tmp_path / "w.weights.h5").embed(torch.from_numpy(pixels)).numpy()
    assert np.abs(features - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    assert np.ptp(expected) > 0.1


def test_weights_of_efficientnet_for_imagenet_are_normalised_as_keras_does_it_by_name(tmp_path: Path) -> None:
    deviations = np.array([0.229, 0.224, 0.225])
    model, _ = keras_model("EfficientNetB0", 32, top=False)
    mean = np.array([0.485, 0.456, 0.406])
    for variable in model.get_layer("normalization").weights:
        if variable.name in {"mean", "variance"}:
            variable.assign(mean if variable.name == "mean" else deviations)
    model.save_weights(tmp_path / "w.weights.h5")
    normalisation = classifier_of("EfficientNetB0", tmp_path / "w.weights.h5").normalisation
    assert np.allclose(normalisation.mean, mean)
    assert np.allclose(normalisation.std, deviations)


def test_a_rebuilt_network_has_the_same_tensors_and_few_groups_of_layers(loaded: ImageClassifier) -> None:
    rebuilt = create_network(f"keras:{SMALL}", CLASSES)
    states = loaded.network.state_dict(), rebuilt.state_dict()
    shapes = [[(name, value.shape) for name, value in state.items()] for state in states]
    assert shapes[0] == shapes[1]
    depths = loaded.depths([name for name, _ in loaded.network.named_parameters()])
    assert len(set(depths.values())) == 13
    assert depths["head.weight"] == 12
    assert depths["body.layers.Conv1.1.weight"] == 0


def test_training_changes_the_statistics_by_keras_own_momentum(
    mobilenet: tuple[Path, np.ndarray, np.ndarray], loaded: ImageClassifier
) -> None:
    classifier = copy.deepcopy(loaded).train()
    norms = [module for module in classifier.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = norms[0].running_mean.clone()
    classifier(torch.from_numpy(mobilenet[1])).sum().backward()
    assert not torch.equal(norms[0].running_mean, before)
    assert {round(norm.momentum, 6) for norm in norms} == {0.001}
    assert all(value.grad is not None for value in classifier.network.parameters())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("w.keras", b"\xff\0garbage", "does not fit MobileNetV2"),
        ("w.keras", b"garbage", "is no file of Keras's: it is text, which begins with `garbage`"),
        ("w.weights.h5", b"", "is no file of Keras's: it is empty"),
        ("w.pth", b"garbage", "is no file of Keras's"),
    ],
)
def test_files_that_are_none_are_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GraftError, match=reason) as refused:
        classifier_of(SMALL, tmp_path / name)
    assert "\n" not in str(refused.value)


def test_weights_of_another_width_are_refused(mobilenet: tuple[Path, np.ndarray, np.ndarray]) -> None:
    with pytest.raises(GraftError, match=r"does not fit MobileNetV2\(alpha=0.5\)"):
        classifier_of("MobileNetV2(alpha=0.5)", mobilenet[0] / "w.weights.h5")
    with pytest.raises(GraftError, match=r"layers with weights, the network"):
        classifier_of("MobileNet(alpha=0.25)", mobilenet[0] / "w.h5")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MobileNetV9", "has no `MobileNetV9`. Near it: MobileNet"),
        ("MobileNetV2(width=1)", "no argument `width`.*known here: alpha"),
        ("MobileNetV2(alpha=__import__('os'))", "plain values"),
        ("MobileNetV2(0.35)", "plain values"),
        ("MobileNetV2(alpha='wide')", "Keras does not create MobileNetV2"),
        ("NASNetMobile", "Keras does not create NASNetMobile"),
    ],
)
def test_names_that_are_none_are_refused_in_one_line(name: str, reason: str) -> None:
    with pytest.raises(GraftError, match=reason) as refused:
        create_network(f"keras:{name}")
    assert "\n" not in str(refused.value)


def test_weights_of_keras_that_cannot_be_had_name_the_files_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("pipeline.modalities.image.sources.keras_start.Application.create", unreachable)
    with pytest.raises(GraftError, match=r"Keras did not give .*no route.*FILE\.keras") as refused:
        create_pretrained(ImageBackbone(name="keras:VGG16"))
    assert ".pth" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_pointer_is_no_file_of_keras(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(GraftError, match=r"no file of Keras's: it is git-LFS's pointer.*git lfs pull"):
        create_pretrained(ImageBackbone(name=f"keras:{SMALL}", weights=str(path)))


def test_keras_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.machine.extras.find_spec", lambda _: None)
    with pytest.raises(GraftError, match=r"pip install 'graft-ml\[keras\]'"):
        create_network("keras:MobileNetV2")


def test_padding_is_that_of_the_size_at_hand() -> None:
    even, odd = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 5, 5)
    assert EvenPadding((1, 1))(even).shape == (1, 1, 5, 5)
    assert EvenPadding((1, 1))(odd).shape == (1, 1, 7, 7)
    assert Padding((3, 3), (2, 2))(even).shape == (1, 1, 5, 5)
    assert Padding((3, 3), (2, 2))(odd).shape == (1, 1, 7, 7)


def test_normalisation_of_caffe_leaves_pixels_at_their_scale() -> None:
    network = create_network("keras:VGG16")
    normalisation = Normalisation(network.pretrained_cfg["mean"], network.pretrained_cfg["std"])
    scale, shift = normalisation.scale_and_shift()
    assert torch.allclose(scale, torch.ones(3))
    assert torch.allclose(shift, -torch.tensor([123.68, 116.779, 103.939]))
