"""The repositories, loaded as they are by a real Triton core, and asked by Triton's own client."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.files.layout import RunFolder
from pipeline.package.triton.repository import write_models, write_repository
from pipeline.recipe.deploy import Deploy
from pipeline.recipe.reading import load_recipe
from serving.model.bundle import open_bundle
from serving.model.inputs.kind import JsonBody
from serving.model.inputs.registry import find_kind
from serving.model.predictor import load_predictor
from tests.conftest import make_picture, run_graft
from tests.pipeline.package.triton.core import PYTHON, CoreRefusedError, ask, running_core, why_no_core
from tests.serving.test_third_kind import ROWS, WEIGHTS, install, make_bundle

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_no_core()), reason=why_no_core())]

WARM_UPS = {"decoder": "example", "network": "blank"}
PICTURES = [make_picture(label, index) for label in ("bars", "plain") for index in (60, 61, 62)]
TEXTS = ["a very good day", "the rain was bad", "we saw the sun and it was so good " * 3, "awful"]


def write(run: Path, output: Path) -> Path:
    write_repository(load_recipe(run / "recipe.yaml"), RunFolder(run), output)
    return output


@pytest.fixture(scope="module")
def repositories(tiny_run: Path, text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("repositories")
    return [write(tiny_run, folder / "pictures"), write(text_run, folder / "texts")]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A package with a kind of input that Graft does not know, and the repository of such a bundle."""
    packages, folder = install(tmp_path_factory.mktemp("packages")), tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(packages)
        find_kind.cache_clear()
        write_models(open_bundle(make_bundle(folder / "bundle")), Deploy(), folder / "repository")
        yield packages, folder / "repository"
    find_kind.cache_clear()
    sys.modules.pop("graft_rows", None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("core")


@pytest.fixture(scope="module")
def url(repositories: list[Path], rows: tuple[Path, Path], place: Path) -> Iterator[str]:
    packages, repository = rows
    with running_core(place, *repositories, repository, packages=[packages]) as address:
        yield address


def expected(run: Path, items: list[bytes]) -> np.ndarray:
    predictor = load_predictor(run / "bundle")
    return np.concatenate([predictor.score([predictor.decode(item).array]) for item in items])


@pytest.mark.parametrize("kind", ["image", "text"])
def test_ensemble_answers_what_the_bundle_answers(
    url: str, tiny_run: Path, text_run: Path, kind: str
) -> None:
    run, name = (tiny_run, "tiny") if kind == "image" else (text_run, "tiny-text")
    items = PICTURES if kind == "image" else [text.encode() for text in TEXTS]
    wanted = expected(run, items)
    alone = [{"model": name, "input": kind, "items": [item]} for item in items]
    together = {"model": name, "input": kind, "items": items}
    classified = together | {"classes": 1}
    *rows, batch, labels = ask(url, [*alone, together, classified])
    np.testing.assert_allclose(np.concatenate(rows), wanted, atol=1e-5)
    np.testing.assert_allclose(batch, wanted, atol=1e-5)
    assert len({row.argmax() for row in wanted}) == 2, "otherwise labels that are swapped are not seen"
    names = load_predictor(run / "bundle").manifest.labels
    assert [row[0].split(":", 2)[2] for row in labels] == [names[row.argmax()] for row in wanted]


def test_kind_of_input_from_elsewhere_is_decoded_by_its_own_package(
    url: str, rows: tuple[Path, Path]
) -> None:
    body = find_kind("row").body
    assert isinstance(body, JsonBody)
    items = [body.encode(row, "row") for row in ROWS]
    (answer,) = ask(url, [{"model": "trends", "input": "row", "items": items}])
    powers = np.exp(np.array(ROWS) @ WEIGHTS)
    np.testing.assert_allclose(answer, powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert (rows[1] / "requirements.txt").read_text().splitlines()[-1] == "graft-rows==0.1"


def test_what_cannot_be_decoded_fails_its_own_request_alone(url: str, tiny_run: Path) -> None:
    good = {"model": "tiny", "input": "image", "items": PICTURES[:1]}
    bad = good | {"items": [b"no picture"]}
    answers = ask(url, [good, bad, good, bad, good])
    assert ["error" in answer for answer in answers] == [False, True, False, True, False]
    assert "not_an_image" in answers[1]["error"]
    np.testing.assert_allclose(answers[2], expected(tiny_run, PICTURES[:1]), atol=1e-5)


def test_server_tells_what_the_model_was_made_from(url: str, tiny_run: Path) -> None:
    manifest = json.loads((tiny_run / "bundle" / "manifest.json").read_text())
    for name in ("tiny", "tiny-network"):
        (configuration,) = ask(url, [{"model": name, "config": True}])
        told = {key: value["string_value"] for key, value in configuration["parameters"].items()}
        assert told["bundle_version"] == manifest["version"]
        assert told["artifact_sha256"] == manifest["artifacts"][0]["sha256"]
        assert told["receipt_sha256"] == manifest["artifacts"][0]["receipt"]["sha256"]


def test_script_compares_the_answers_with_those_of_graft(
    url: str, tiny_run: Path, repositories: list[Path], tmp_path: Path
) -> None:
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for file, picture in zip(files, PICTURES[1:4], strict=True):
        file.write_bytes(picture)
    predictions = tmp_path / "predictions.json"
    predictions.write_text(run_graft("predict", tiny_run, *files, "--json").stdout)

    def compare() -> subprocess.CompletedProcess[str]:
        command = [PYTHON, repositories[0] / "compare.py", predictions, "--url", url]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = compare()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3 answers, 0 beyond the limit")
    answers = json.loads(predictions.read_text())
    probabilities = answers[1]["probabilities"]
    answers[1]["probabilities"] = {label: 1 - value for label, value in probabilities.items()}
    predictions.write_text(json.dumps(answers))
    done = compare()
    assert done.returncode == 1
    assert str(files[1]) in done.stdout
    predictions.write_text("[]")
    assert compare().returncode == 1


def test_core_refuses_what_only_it_can_refuse(repositories: list[Path], tmp_path: Path) -> None:
    """The schema accepts a length of 0: this test tells that the core looks at the configuration itself."""
    broken = shutil.copytree(repositories[1], tmp_path / "broken")
    configuration = broken / "tiny-text-network" / "config.pbtxt"
    text = configuration.read_text()
    assert text.count("dims: [ -1 ]") == 2
    configuration.write_text(text.replace("dims: [ -1 ]", "dims: [ 0 ]", 1))
    (tmp_path / "core").mkdir()
    with pytest.raises(CoreRefusedError, match="dim"), running_core(tmp_path / "core", broken):
        pass


@pytest.mark.usefixtures("url")
def test_core_has_run_every_warm_up(place: Path) -> None:
    """One that fails would leave its model, and the server, not ready."""
    ran = re.findall(r"instance (\S+) is running warmup sample '(\w+)'", (place / "log").read_text())
    names = ("tiny", "tiny-text", "trends")
    expected = {(f"{name}-{part}_0_0", sample) for name in names for part, sample in WARM_UPS.items()}
    assert set(ran) == expected
